"""The slice store: prepared slices as memory-mapped arrays, with what is known of every case and slice.

Opening and reading a store needs NumPy and pydantic alone, so that training can run on a machine without the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.check.fingerprint import PRINTS_SHAPE, Prints, to_text
from labelgan.data.check.leaks import NOT_ONE_PERSON, KnownScan, find_meetings, twin_warnings
from labelgan.data.geometry import Order
from labelgan.data.manifests import MANIFEST, STORE_FORMAT, Manifest, StoredCase, read_manifest
from labelgan.data.slices import Slices

_AGAIN = "prepare the store again"
PRINTS_FILE = "fingerprints.npy"
INDEX_DTYPE = np.dtype(
    [
        ("case", np.int32),
        ("z", np.int32),
        ("z_fraction", np.float32),
        ("lesion_voxels", np.int32),
        ("other_voxels", np.int32),
        ("brain_voxels", np.int32),
    ]
)


class StoreManifest(Manifest):
    """Manifest of a slice store."""

    model_config = ConfigDict(frozen=True, strict=False, extra="forbid")

    advice = _AGAIN

    format: Literal["labelgan-store"] = STORE_FORMAT
    format_version: Literal[1] = 1
    labelgan_version: str
    layout: str
    channels: tuple[str, ...] = Field(min_length=1)
    size: tuple[int, int]
    fingerprints: bool = False
    slices: int = Field(ge=1)
    cases: tuple[StoredCase, ...] = Field(min_length=1)

    @classmethod
    def recognise(cls, content: Any, path: Path) -> None:
        if not isinstance(content, dict) or content.get("format") != STORE_FORMAT:
            raise cls.fault(path, f"is not the manifest of a slice store (format '{STORE_FORMAT}')")
        if (found := content.get("format_version", 1)) != 1:
            raise cls.fault(path, f"has format {found!r}; this version reads 1; {cls.advice}")

    @model_validator(mode="after")
    def _rows_follow_each_other(self) -> Self:
        row = 0
        for case in self.cases:
            if case.first != row:
                raise ValueError(f"case {case.id} starts at row {case.first}, expected {row}")
            if set(case.hashes) != set(self.channels) or set(case.intensity) != set(self.channels):
                raise ValueError(f"case {case.id} does not have the channels {', '.join(self.channels)}")
            row += case.count
        if row != self.slices:
            raise ValueError(f"the cases have {row} slices, the store {self.slices}")
        if len({case.id for case in self.cases}) != len(self.cases):
            raise ValueError("two cases share an id")
        return self


@dataclass(frozen=True, eq=False)
class SliceStore:
    """An open store; open one with `SliceStore.open`.

    Attributes:
        path: its folder.
        manifest: what ``manifest.json`` holds.
        config: the settings it was prepared with.
        index: (N,) records with the fields of `INDEX_DTYPE`; ``case`` counts into ``cases``, ``z`` is the slice of the
            case's geometry, ``z_fraction`` its height in the brain from 0 to 1, the rest are pixels of the slice.
        images: (N, C, H, W) float16 z-scores, memory-mapped and read-only.
        masks: (N, H, W) uint8, 0 background, 1 lesion, 2 other pathology, likewise.
        brains: (N, H, W) uint8, 0 or 1, likewise.
        prints: (cases, C, 2, V, H, 64) uint8 fingerprints of `check.fingerprint`, 0 where a case has none, likewise;
            None in stores without, as earlier versions made them.
    """

    path: Path
    manifest: StoreManifest
    config: PrepareConfig
    index: np.ndarray
    images: np.ndarray
    masks: np.ndarray
    brains: np.ndarray
    prints: np.ndarray | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a store without loading it.

        Raises:
            DataError: naming the file that is missing, or that does not agree with the manifest.
        """
        path = Path(path)
        if not (path / MANIFEST).is_file():
            raise DataError(path, "is not a slice store: it has no manifest.json")
        manifest = read_manifest(path, StoreManifest)
        rows, (height, width) = manifest.slices, manifest.size
        index = _open_array(path / "index.npy", (rows,), INDEX_DTYPE)
        if not np.array_equal(
            index["case"], np.repeat(np.arange(len(manifest.cases)), [c.count for c in manifest.cases])
        ):
            raise DataError(path / "index.npy", f"its cases are not those of the manifest; {_AGAIN}")
        return cls(
            path=path,
            manifest=manifest,
            config=PrepareConfig.from_toml(path / "config.toml"),
            index=index,
            images=_open_array(path / "images.npy", (rows, len(manifest.channels), height, width), np.float16),
            masks=_open_array(path / "masks.npy", (rows, height, width), np.uint8),
            brains=_open_array(path / "brains.npy", (rows, height, width), np.uint8),
            prints=_open_array(
                path / PRINTS_FILE, (len(manifest.cases), len(manifest.channels), *PRINTS_SHAPE), np.uint8
            )
            if manifest.fingerprints
            else None,
        )

    def __len__(self) -> int:
        return self.manifest.slices

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self.manifest)  # another process maps the arrays anew and gets no copy

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in order."""
        return self.manifest.channels

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        return self.manifest.size

    @property
    def cases(self) -> tuple[StoredCase, ...]:
        """The cases in order of their rows."""
        return self.manifest.cases

    def read(self, rows: Any) -> Slices:
        """Reads slices by row: a list, an array or a slice of them, in the order given, repeats allowed."""
        images_NCHW = self.images[rows].astype(np.float32)
        return Slices(images_NCHW, np.array(self.masks[rows]), self.brains[rows] > 0, **self.facts(rows))

    def facts(self, rows: Any) -> dict[str, np.ndarray]:
        """Heights, cases, patients and names of rows, as `Slices` has them."""
        index, (cases, patients) = self.index[rows], self._ids
        names = np.char.add(np.char.add(cases[index["case"]], "/z"), index["z"].astype(str))
        return {
            "heights_N": np.array(index["z_fraction"], np.float32),
            "cases": cases[index["case"]],
            "patients": patients[index["case"]],
            "names": names,
        }

    @cached_property
    def _ids(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([case.id for case in self.cases]), np.array([case.patient for case in self.cases])

    def case(self, case_id: str) -> StoredCase:
        """The case of an id; raises ConfigError when the store has none."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise ConfigError(case_id, f"no such case in the store {self.path}")

    def case_of(self, row: int) -> StoredCase:
        """The case that a row belongs to."""
        return self.cases[int(self.index["case"][row])]

    def rows_of(self, case_ids: Iterable[str]) -> np.ndarray:
        """Rows of the cases named, case by case in the order given; raises ConfigError for an unknown id."""
        cases = [self.case(case_id) for case_id in case_ids]
        ranges = [np.arange(case.first, case.first + case.count) for case in cases]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)

    def volume(self, case_id: str) -> Slices:
        """All slices of a case, from the lowest up; which ones they are stands in ``index["z"]``."""
        case = self.case(case_id)
        return self.read(slice(case.first, case.first + case.count))

    def to_native(self, case_id: str, slices_ZHW: np.ndarray, fill: float = 0, order: Order = "label") -> np.ndarray:
        """Brings one array per slice of a case, such as predicted masks, to the (X, Y, Z) grid of its scan."""
        case = self.case(case_id)
        z = self.index["z"][case.first : case.first + case.count]
        return case.geometry.to_native(slices_ZHW, fill, order, z)

    def kept_cases(self, exclude: Collection[str] = ()) -> tuple[StoredCase, ...]:
        """Cases whose id and patient are not excluded; raises ConfigError naming excluded ids that nobody has."""
        require_known(exclude, ((case.id, case.patient) for case in self.cases), self.path)
        return tuple(case for case in self.cases if case.id not in exclude and case.patient not in exclude)

    def select(self, *, exclude: Collection[str] = (), labelled_only: bool = True) -> np.ndarray:
        """Rows to train on.

        Args:
            exclude: ids of cases or patients to hold out. All cases of a patient named by patient id are left out.
            labelled_only: leave out cases without an expert mask.

        Raises:
            ConfigError: an excluded id is neither a case nor a patient of the store.
        """
        return self.rows_of(case.id for case in self.kept_cases(exclude) if case.labelled or not labelled_only)

    def hold_out(self, exclude: Collection[str]) -> tuple[StoredCase, ...]:
        """All cases of the patients whom ``exclude`` names by patient or case id.

        Raises:
            ConfigError: an id is nobody's.
            LeakError: a case that stays is one that is held out, by voxels, mask or fingerprint.
        """
        require_known(exclude, ((case.id, case.patient) for case in self.cases), self.path)
        patients = {case.patient for case in self.cases if case.id in exclude or case.patient in exclude}
        held_out = tuple(case for case in self.cases if case.patient in patients)
        kept = tuple(case for case in self.cases if case.patient not in patients)
        for meeting in find_meetings(self.known(kept), self.known(held_out))[:1]:
            ours, held = kept[meeting.first].id, held_out[meeting.second].id
            raise LeakError(
                self.path,
                f"case {ours} is the held-out case {held} ({meeting.words}); exclude it too, mend the cohort, or "
                f"prepare it anew, {NOT_ONE_PERSON}",
            )
        return held_out

    def guard_notes(self, exclude: Collection[str]) -> list[str]:
        """Lines about whom a training leaves out beyond the names in ``exclude``, and about patients who look alike."""
        held_out = self.hold_out(exclude)
        lines = []
        for patient in dict.fromkeys(case.patient for case in held_out):
            cases = [case.id for case in held_out if case.patient == patient]
            if patient not in exclude and not set(cases) <= set(exclude):
                named = ", ".join(name for name in cases if name in exclude)
                lines.append(f"--exclude {named} leaves out patient {patient} whole: {', '.join(cases)}")
        return [*lines, *twin_warnings(self.known(self.cases))]

    def known(self, cases: Iterable[StoredCase]) -> tuple[KnownScan, ...]:
        """By what cases of the store are known, whatever their names."""
        return tuple(
            KnownScan(case.id, case.patient, case.hashes, case.mask_hash, self._prints_of(case)) for case in cases
        )

    def _prints_of(self, case: StoredCase) -> Prints:
        if self.prints is None:
            return {}
        prints = self.prints[int(self.index["case"][case.first])]
        return {name: np.array(part) for name, part in zip(self.channels, prints, strict=True) if part.any()}

    def identity(self, case: StoredCase, slices: int | None = None) -> dict[str, Any]:
        """Who a case is, for the manifest of a network that saw so many of its slices, or must see none.

        Of its fingerprints the part that may travel is told.
        """
        return {
            "id": case.id,
            "patient": case.patient,
            "site": case.site,
            **({} if slices is None else {"slices": slices}),
            "hashes": dict(case.hashes),
            "mask_hash": case.mask_hash,
            "fingerprints": {name: to_text(prints) for name, prints in self._prints_of(case).items()},
        }

    def training_hashes(self, exclude: Collection[str] = ()) -> dict[str, dict[str, str]]:
        """Case id to channel to voxel hash, of the cases that are not excluded: what a generator's manifest lists."""
        return {case.id: dict(case.hashes) for case in self.kept_cases(exclude)}


def _reopened(path: Path, manifest: StoreManifest) -> SliceStore:
    return replace(SliceStore.open(path), manifest=manifest)


def require_known(exclude: Collection[str], known: Iterable[tuple[str, str]], where: Path) -> None:
    """Raises ConfigError naming the ids in ``exclude`` that are no case's and no patient's."""
    if isinstance(exclude, str):
        raise TypeError("exclude is a collection of ids, not one string")
    names = {name for pair in known for name in pair}
    if unknown := sorted(set(exclude) - names):
        raise ConfigError(f"--exclude {','.join(unknown)}", f"no such case or patient in {where}")


def _open_array(path: Path, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Maps an array file read-only; raises DataError when its type, shape or length is not the one expected."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, f"cannot be opened as an array: {error}; {_AGAIN}") from None
    if (
        not isinstance(array, np.ndarray)
        or array.shape != shape
        or array.dtype != dtype
        or not array.flags.c_contiguous
    ):
        found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(path, f"holds {found}, the manifest says {shape} {np.dtype(dtype)}; {_AGAIN}")
    return array
