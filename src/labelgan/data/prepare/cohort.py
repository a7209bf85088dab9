"""A whole cohort to a slice store, one case in memory at a time."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError, LabelganError
from labelgan.core.files import is_free, new_folder, read_json, write_json_atomic, write_text_atomic
from labelgan.core.progress import Report
from labelgan.core.version import __version__
from labelgan.data.case import Case, Cohort, require_safe_ids
from labelgan.data.check.fingerprint import PRINTS_SHAPE
from labelgan.data.check.leaks import twin_warnings
from labelgan.data.manifests import STORE_FORMAT, Intensity, StoredCase
from labelgan.data.prepare.case import PreparedCase, measure_brain, prepare_case
from labelgan.data.prepare.crop import crop_warning, fitting_spacing, require_lesions_inside
from labelgan.data.prepare.face import face_warning
from labelgan.data.store import INDEX_DTYPE, PRINTS_FILE, SliceStore, StoreManifest, require_known
from labelgan.data.volume import LESION, OTHER_PATHOLOGY


class ArrayWriter:
    """Appends to an ``.npy`` file whose length is not known beforehand; the header is completed on leaving."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: Any) -> None:
        self.row_shape, self.dtype, self.rows = row_shape, np.dtype(dtype), 0
        self.stream = path.open("wb")
        self._write_header()
        self.start = self.stream.tell()

    def _write_header(self) -> None:
        # NumPy leaves room in the header for the first axis to grow, so that its length stays the same.
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(self.stream, header)

    def append(self, rows: np.ndarray) -> None:
        """Adds rows, converted to the file's type."""
        assert rows.shape[1:] == self.row_shape, (rows.shape, self.row_shape)
        self.stream.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
        self.rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.stream:
            if kind is None:
                self.stream.seek(0)
                self._write_header()
                assert self.stream.tell() == self.start
                self.stream.flush()
                os.fsync(self.stream.fileno())


def prepare_store(
    data: Path,
    out: Path,
    config: PrepareConfig | None = None,
    *,
    exclude: Collection[str] = (),
    force: bool = False,
    progress: Report | None = None,
    warn: Callable[[str], None] | None = None,
) -> SliceStore:
    """Makes the slice store of a cohort: ``labelgan prepare``. The store appears whole, or not at all.

    Args:
        data: root folder of the cohort, in any layout.
        out: folder to make.
        config: settings; None takes the defaults.
        exclude: ids of cases or patients to leave out.
        force: replace ``out`` where it is a slice store already.
        progress: called as (cases done, cases, case id) before each case and once at the end.
        warn: called with a line where cases may show a face, parts of brains or lesions lie outside the slices, or two
            patients' scans look like one scan.

    Raises:
        DataError: the cohort cannot be read; the message names the file. Or another process makes the same store, or
            more than ``max_cropped`` of the lesion voxels lie outside the slices.
        ConfigError: ``out`` is in the way, or ``exclude`` names nobody.
        LeakError: the cohort is an export of scans and synthetic slices together.
    """
    from labelgan.data.layouts.detect import read_cohort, require_unmixed

    data, out = Path(data), Path(out)
    config = PrepareConfig.build({}) if config is None else config
    _require_free(out, force)
    cohort = read_cohort(data)
    require_unmixed(cohort)
    require_known(exclude, ((case.id, case.patient) for case in cohort.cases), data)
    with new_folder(out, replace=force) as building:
        faces = _write_store(cohort, building, config, exclude, progress)
        _require_free(out, force)
    store = SliceStore.open(out)
    if warn is not None:
        warnings = (crop_warning(store.cases), face_warning(cohort, faces), *twin_warnings(store.known(store.cases)))
        for warning in warnings:
            if warning is not None:
                warn(warning)
    return store


def _require_free(out: Path, force: bool) -> None:
    if is_free(out):
        return
    try:
        content = read_json(out / "manifest.json")
        is_store = isinstance(content, dict) and content.get("format") == STORE_FORMAT
    except DataError:
        is_store = False
    if not is_store:
        raise ConfigError(out, "exists, is not empty and is not a slice store: it is left alone")
    if not force:
        raise ConfigError(out, "is a slice store already; --force replaces it")


def _write_store(
    cohort: Cohort, folder: Path, config: PrepareConfig, exclude: Collection[str], progress: Report | None
) -> int:
    """Writes the files of a store; gives the number of cases that may show a face."""
    cases = [case for case in cohort.cases if case.id not in exclude and case.patient not in exclude]
    if not cases:
        raise DataError(cohort.root, "no case is left to prepare: --exclude names them all")
    require_safe_ids(cases, cohort.root)
    channels = cohort.channels or tuple(cases[0].images)
    found: dict[str, PackedBrain] = {}
    if config.spacing_mm == "auto":
        spacing_mm, found = _fit_spacing(cases, config, channels, progress)
        config = config.model_copy(update={"spacing_mm": spacing_mm})
    height, width = config.size
    stored: list[StoredCase] = []
    faces = 0
    owners: dict[tuple[str, ...], tuple[str, str]] = {}
    with (
        ArrayWriter(folder / "images.npy", (len(channels), height, width), np.float16) as images,
        ArrayWriter(folder / "masks.npy", (height, width), np.uint8) as masks,
        ArrayWriter(folder / "brains.npy", (height, width), np.uint8) as brains,
        ArrayWriter(folder / "index.npy", (), INDEX_DTYPE) as index,
        ArrayWriter(folder / PRINTS_FILE, (len(channels), *PRINTS_SHAPE), np.uint8) as prints,
    ):
        for number, case in enumerate(cases):
            if progress is not None:
                progress(number, len(cases), case.id)
            brain = found[case.id].unpacked() if case.id in found else None
            prepared = prepare_case(case, config, channels, brain)
            voxels = tuple(prepared.hashes[channel] for channel in channels)
            owner_case, owner = owners.setdefault(voxels, (case.id, case.patient))
            if owner != case.patient:
                reason = f"patient {case.patient} has the voxels of case {owner_case} of patient {owner}"
                raise DataError(case.images[channels[0]].path, f"{reason}; --exclude one of them")
            faces += prepared.face
            stored.append(_record(prepared, index.rows))
            images.append(prepared.images_ZCHW)
            masks.append(prepared.masks_ZHW)
            brains.append(prepared.brains_ZHW)
            index.append(_index_rows(prepared, number))
            none = np.zeros(PRINTS_SHAPE, np.uint8)
            prints.append(np.stack([prepared.known.prints.get(name, none) for name in channels])[None])
    lesions, cropped = (
        sum(getattr(case, key) for case in stored) for key in ("lesion_voxels", "lesion_voxels_cropped")
    )
    require_lesions_inside(cropped, lesions, config.max_cropped, cohort.root)
    try:
        manifest = StoreManifest(
            labelgan_version=__version__,
            layout=cohort.layout,
            channels=channels,
            size=config.size,
            fingerprints=config.fingerprints,
            slices=index.rows,
            cases=tuple(stored),
        )
    except ValueError as error:
        raise LabelganError(cohort.root, f"cannot be described: {error}") from None
    if not config.fingerprints:
        (folder / PRINTS_FILE).unlink()
    write_text_atomic(folder / "config.toml", config.to_toml())
    write_json_atomic(folder / "manifest.json", manifest.model_dump(mode="json"))
    if progress is not None:
        progress(len(cases), len(cases), "")
    return faces


@dataclass(frozen=True)
class PackedBrain:
    """A brain mask, compressed: some kilobytes a case between the two passes over a cohort."""

    shape: tuple[int, ...]
    packed: bytes

    @classmethod
    def of(cls, brain_XYZ: np.ndarray) -> Self:
        """Compresses a boolean mask."""
        return cls(brain_XYZ.shape, zlib.compress(np.packbits(brain_XYZ).tobytes(), 1))

    def unpacked(self) -> np.ndarray:
        """Gives the mask back."""
        bits = np.unpackbits(np.frombuffer(zlib.decompress(self.packed), np.uint8), count=math.prod(self.shape))
        return bits.reshape(self.shape).astype(bool)


def _fit_spacing(
    cases: Sequence[Case], config: PrepareConfig, channels: tuple[str, ...], progress: Report | None
) -> tuple[float | None, dict[str, PackedBrain]]:
    """The pixel size at which slices hold every brain, and the brains that were found for it."""
    found, reaches = {}, []
    for number, case in enumerate(cases):
        if progress is not None:
            progress(number, len(cases), f"brain of {case.id}")
        brain, reach = measure_brain(case, config, channels)
        found[case.id] = PackedBrain.of(brain)
        reaches.append(reach)
    return fitting_spacing(reaches, config.size), found


def _record(prepared: PreparedCase, first: int) -> StoredCase:
    case = prepared.case
    slice_mm, row_mm, column_mm = prepared.geometry.spacing_mm
    return StoredCase(
        id=case.id,
        patient=case.patient,
        site=case.site,
        session=case.session,
        split=case.split,
        labelled=case.mask is not None,
        first=first,
        count=len(prepared.z),
        pixel_mm=(row_mm, column_mm),
        slice_mm=slice_mm,
        brain_voxels=prepared.brain_voxels,
        brain_voxels_cropped=prepared.brain_voxels_cropped,
        lesion_voxels=prepared.lesion_voxels,
        lesion_voxels_cropped=prepared.lesion_voxels_cropped,
        hashes=dict(prepared.hashes),
        mask_hash=prepared.known.mask_hash,
        intensity={channel: Intensity(**values) for channel, values in prepared.intensity.items()},
        geometry=prepared.geometry,
    )


def _index_rows(prepared: PreparedCase, number: int) -> np.ndarray:
    rows = np.empty(len(prepared.z), dtype=INDEX_DTYPE)
    rows["case"] = number
    rows["z"] = prepared.z
    rows["z_fraction"] = prepared.z_fraction
    rows["lesion_voxels"] = (prepared.masks_ZHW == LESION).sum(axis=(1, 2))
    rows["other_voxels"] = (prepared.masks_ZHW == OTHER_PATHOLOGY).sum(axis=(1, 2))
    rows["brain_voxels"] = prepared.brains_ZHW.sum(axis=(1, 2))
    return rows
