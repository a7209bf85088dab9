"""Cohorts and their cases, which hold paths until their voxels are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from labelgan.core.errors import DataError
from labelgan.core.files import SAFE_ID_WORDS, is_safe_id
from labelgan.data.manifests import NO_MANIFEST, CohortManifest
from labelgan.data.volume import ImageRef, Volume


def require_safe_ids(cases: Iterable[Case], root: Path) -> None:
    """Raises DataError naming the first case whose id could not become a file name."""
    for case in cases:
        if not is_safe_id(case.id):
            raise DataError(root, f"unsafe id {case.id[:70]!r}: rename it; {SAFE_ID_WORDS}")


@dataclass(frozen=True)
class Case:
    """One scan session of one patient: its images on one grid, and its mask if there is one.

    Attributes:
        id: unique in the cohort, fit for a file name.
        patient: who was scanned; several cases may share a patient.
        images: channel name to image, FLAIR before T1 where both are present, else in the layout's order.
        mask: expert mask, or None.
        site: scanner or centre, where the layout tells.
        session: session label, where the layout tells.
        split: ``training`` or ``test``, where the layout tells.
        brain_mask: brain mask file beside the images, where there is one.
        synthetic: True where an export of scans and synthetic slices together says that it is one of these.
    """

    id: str
    patient: str
    images: Mapping[str, ImageRef]
    mask: ImageRef | None = None
    site: str | None = None
    session: str | None = None
    split: str | None = None
    brain_mask: ImageRef | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))

    def load_image(self, channel: str) -> Volume:
        """Reads one channel as float32. Raises DataError naming the file when it cannot be read."""
        from labelgan.data.reading.read import read_volume

        return read_volume(self.images[channel])

    def load_mask(self) -> Volume | None:
        """Reads the mask as uint8 with values 0, 1, 2, or gives None. Raises DataError naming the file."""
        from labelgan.data.reading.read import read_mask

        return None if self.mask is None else read_mask(self.mask)


@dataclass(frozen=True)
class Note:
    """Something that a layout met and did not use, or had to choose: `check` tells it as a warning."""

    case: str | None
    path: Path
    reason: str


@dataclass(frozen=True)
class Cohort:
    """The cases under one root folder, in one layout.

    Attributes:
        root: the folder.
        layout: name in ``layouts.LAYOUTS``.
        cases: in a stable order (sorted by site, then id).
        channels: channel names that cases have, in store order.
        labels: stored mask value to 0, 1 or 2, as the dataset's own description maps them.
        notes: what the layout met and did not use.
        manifest: its ``manifest.json``, read once, with the cohort.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...] = ()
    labels: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({0: 0, 1: 1, 2: 2}))
    notes: tuple[Note, ...] = ()
    manifest: CohortManifest = NO_MANIFEST

    # `read_cohort`, which stands above this module and puts itself here when it is imported
    reader: ClassVar[Callable[[Path, str | None], Cohort]]

    @classmethod
    def load(cls, root: str | Path, layout: str | None = None) -> Cohort:
        """Reads a folder's cases, paths only; see `layouts.read_cohort`.

        Example:
            >>> for case in Cohort.load("scans"):  # doctest: +SKIP
            ...     print(case.id, case.load_image("FLAIR").data.shape)
        """
        return cls.reader(Path(root), layout)

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, case_id: str) -> Case:
        """The case of an id; raises KeyError when there is none."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise KeyError(case_id)

    @property
    def slices_only(self) -> bool:
        """Whether its cases are single slices by its manifest, as ``labelgan sample`` writes them."""
        return self.manifest.is_synthetic

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids in order of first appearance."""
        return tuple(dict.fromkeys(case.patient for case in self.cases))
