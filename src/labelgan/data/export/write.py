"""Cohorts out to disk, each format with true spacing and a fresh header: one place to add another format.

A format is a module with a writer (see `export_records.Writer`) and a line in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from labelgan.core.errors import DataError
from labelgan.core.files import fsync_folder, is_safe_id
from labelgan.data.curation import seal_samples
from labelgan.data.export.bids import BidsWriter
from labelgan.data.export.dicom import DicomWriter
from labelgan.data.export.files import nifti_bytes
from labelgan.data.export.monai import MonaiWriter
from labelgan.data.export.nnunet import NnunetWriter
from labelgan.data.export.pairs import NpzWriter, PngWriter
from labelgan.data.export.records import CohortFacts, ExportFacts, ExportFormat, Fold, LabelledSlice, LabelledVolume
from labelgan.data.export.wmh import WmhWriter

__all__ = [
    "EXPORTERS",
    "FORMATS",
    "CohortFacts",
    "LabelledSlice",
    "LabelledVolume",
    "export_cohort",
    "nifti_bytes",
    "write_cases",
]

FORMAT_VERSION = 1

FORMATS: dict[str, ExportFormat] = {
    "wmh": ExportFormat("wmh", "the WMH challenge's tree, NIfTI", WmhWriter),
    "bids": ExportFormat("bids", "BIDS derivative, NIfTI, with the masks under derivatives", BidsWriter),
    "nnunet": ExportFormat("nnunet", "nnU-Net raw, NIfTI, with splits_final.json", NnunetWriter, folds=True),
    "monai": ExportFormat("pairs", "NIfTI pairs with MONAI datalists", MonaiWriter, folds=True),
    "png": ExportFormat("pairs", "8-bit pictures, images/ and masks/", PngWriter),
    "npz": ExportFormat("pairs", "NumPy archives of z-scores, images/ and masks/", NpzWriter),
    "dicom": ExportFormat(None, "DICOM series and DICOM Segmentations (extra: dicom)", DicomWriter),
}

# Those that can be read back, and so those that `sample` writes.
EXPORTERS = {name: format for name, format in FORMATS.items() if format.layout is not None}


def write_cases(
    format: str,
    volumes: Iterable[LabelledVolume],
    out: Path,
    facts: ExportFacts,
    folds: Callable[[], Sequence[Fold]] = tuple,
) -> list[str]:
    """Writes cases as they come; memory holds one.

    Args:
        format: key of ``FORMATS``.
        volumes: what to write; ids must be unique and fit for file names.
        out: folder to write into; the caller gives a new one.
        facts: what the cases share.
        folds: called after the last case.

    Returns:
        The ids, in order.

    Raises:
        ConfigError: the format cannot hold these channels, or needs a package that is not there.
        DataError: an id is unsafe or comes twice.
    """
    out.mkdir(parents=True, exist_ok=True)
    writer = FORMATS[format].open(out, facts)
    ids: dict[str, None] = {}
    for volume in volumes:
        if not is_safe_id(volume.id) or volume.id in ids:
            raise DataError(out, f"case id {volume.id!r} is unsafe or comes twice")
        writer.write(volume)
        ids[volume.id] = None
    writer.end(folds())
    return list(ids)


def export_cohort(
    format: str,
    slices: Iterable[LabelledSlice],
    out: Path,
    facts: CohortFacts,
    manifest: Callable[[], dict[str, Any]],
) -> None:
    """Writes synthetic slices as they come, then ``manifest.json`` with their hashes; see `write_cases`.

    Args:
        format: key of ``FORMATS``.
        slices: what to write.
        out: folder to write into; the caller gives a new one.
        facts: what the slices share.
        manifest: called after the last slice; ``samples`` are the ids where it says nothing more of them.
    """
    volumes = (LabelledVolume.of_slice(slice_, facts) for slice_ in slices)
    ids = write_cases(format, volumes, out, ExportFacts(facts.channels, "synthetic"))
    shared = {"channels": list(facts.channels), "size": list(facts.size), "spacing_mm": list(facts.spacing_mm)}
    head = {"format": FORMAT_VERSION, "layout": FORMATS[format].layout, **shared}
    seal_samples(out, {**head, "samples": [{"id": identifier} for identifier in ids], **manifest()})
    fsync_folder(out)
