"""Labelled slices as cohorts on disk, each format with true spacing and a fresh header."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan import __version__
from labelgan.data.case import is_safe_id
from labelgan.data.pictures import encode_png
from labelgan.data.preprocess import to_unit
from labelgan.errors import ConfigError, DataError
from labelgan.files import fsync_folder, write_json_atomic

FORMAT_VERSION = 1


@dataclass(frozen=True)
class LabelledSlice:
    """One slice to write.

    Attributes:
        id: fit for a file name.
        images_CHW: float32 intensities, air at 0.
        z_scores_CHW: the same as z-scores, for formats that keep them.
        mask_HW: uint8 in {0, 1}.
    """

    id: str
    images_CHW: np.ndarray
    z_scores_CHW: np.ndarray
    mask_HW: np.ndarray


@dataclass(frozen=True)
class CohortFacts:
    """What all slices of a cohort share: channels, (rows, columns), and spacing along (slices, rows, columns) in mm."""

    channels: tuple[str, ...]
    size: tuple[int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), RAS+, of the array [column, row, slice]: rows run to posterior, columns to the left, centre at 0."""
        thickness, row, column = self.spacing_mm
        affine = np.diag([-column, -row, thickness, 1.0])
        affine[:2, 3] = column * (self.size[1] - 1) / 2, row * (self.size[0] - 1) / 2
        return affine


@dataclass(frozen=True)
class Exporter:
    """One format: its layout as `check` calls it, how a slice and the files around them are written."""

    layout: str
    description: str
    begin: Callable[[Path, CohortFacts], None]
    write: Callable[[Path, LabelledSlice, CohortFacts], None]
    end: Callable[[Path, CohortFacts, list[str]], None]


def nifti_bytes(volume_XYZ: np.ndarray, affine: np.ndarray, compresslevel: int = 6) -> bytes:
    """Encodes a gzipped NIfTI-1 with a header made from nothing; the same voxels give the same bytes."""
    import nibabel as nib

    image = nib.Nifti1Image(np.ascontiguousarray(volume_XYZ), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=compresslevel, mtime=0)


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_nifti(path: Path, plane_HW: np.ndarray, facts: CohortFacts) -> None:
    _write_bytes(path, nifti_bytes(plane_HW.T[:, :, None], facts.affine))


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _nothing(root: Path, facts: CohortFacts) -> None:
    pass


def _nothing_after(root: Path, facts: CohortFacts, ids: list[str]) -> None:
    pass


def _require_t1_flair(format: str) -> Callable[[Path, CohortFacts], None]:
    def begin(root: Path, facts: CohortFacts) -> None:
        if not set(facts.channels) <= {"FLAIR", "T1"}:
            shown = ", ".join(facts.channels)
            raise ConfigError(f"--format {format}", f"holds FLAIR and T1, not {shown}; use nnunet, png or npz")

    return begin


def _write_wmh(root: Path, slice_: LabelledSlice, facts: CohortFacts) -> None:
    folder = root / "synthetic" / slice_.id
    for channel, image_HW in zip(facts.channels, slice_.images_CHW, strict=True):
        _write_nifti(folder / "pre" / f"{channel}.nii.gz", image_HW, facts)
    # float32: on integer references the challenge's scorer truncates its thresholds, and background counts as lesion
    _write_nifti(folder / "wmh.nii.gz", slice_.mask_HW.astype(np.float32), facts)


_BIDS_SUFFIX = {"FLAIR": "FLAIR", "T1": "T1w"}


def _begin_bids(root: Path, facts: CohortFacts) -> None:
    _require_t1_flair("bids")(root, facts)
    made_by = {"Name": "LabelGAN", "Version": __version__}
    about = {"Name": "LabelGAN synthetic slices", "BIDSVersion": "1.9.0"}
    _write_json(root / "dataset_description.json", {**about, "DatasetType": "raw", "GeneratedBy": [made_by]})
    _write_json(
        root / "derivatives" / "labelgan" / "dataset_description.json",
        {**about, "Name": "LabelGAN synthetic lesion masks", "DatasetType": "derivative", "GeneratedBy": [made_by]},
    )
    (root / "README").write_text(
        "Synthetic slices with lesion masks, made by LabelGAN. They show no patient. Not for diagnosis.\n",
        encoding="utf-8",
    )


def _write_bids(root: Path, slice_: LabelledSlice, facts: CohortFacts) -> None:
    subject = f"sub-{slice_.id}"
    for channel, image_HW in zip(facts.channels, slice_.images_CHW, strict=True):
        _write_nifti(root / subject / "anat" / f"{subject}_{_BIDS_SUFFIX[channel]}.nii.gz", image_HW, facts)
    folder = root / "derivatives" / "labelgan" / subject / "anat"
    _write_nifti(folder / f"{subject}_space-orig_label-lesion_mask.nii.gz", slice_.mask_HW, facts)


def _end_bids(root: Path, facts: CohortFacts, ids: list[str]) -> None:
    rows = "".join(f"sub-{identifier}\n" for identifier in ids)
    (root / "participants.tsv").write_text("participant_id\n" + rows, encoding="utf-8")
    (root / ".bidsignore").write_text("manifest.json\ncard.md\n", encoding="utf-8")


def _write_nnunet(root: Path, slice_: LabelledSlice, facts: CohortFacts) -> None:
    for number, image_HW in enumerate(slice_.images_CHW):
        _write_nifti(root / "imagesTr" / f"{slice_.id}_{number:04d}.nii.gz", image_HW, facts)
    _write_nifti(root / "labelsTr" / f"{slice_.id}.nii.gz", slice_.mask_HW, facts)


def _end_nnunet(root: Path, facts: CohortFacts, ids: list[str]) -> None:
    _write_json(
        root / "dataset.json",
        {
            "channel_names": {str(number): channel for number, channel in enumerate(facts.channels)},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": len(ids),
            "file_ending": ".nii.gz",
            "name": "LabelGAN synthetic slices",
        },
    )


def _write_png(root: Path, slice_: LabelledSlice, facts: CohortFacts) -> None:
    # 8 bits of the generator's own fixed map of z-scores: every cohort's pictures share one scale.
    grey_CHW = np.round((to_unit(slice_.z_scores_CHW) + 1) * 127.5).astype(np.uint8)
    marks = (
        [f"_{name}" for name in facts.channels]
        if _MARKS.issuperset(facts.channels)
        else ["_0000", "_0001", "_0002", "_0003"]
    )
    for grey_HW, mark in zip(grey_CHW, marks if len(grey_CHW) > 1 else [""], strict=False):
        _write_bytes(root / "images" / f"{slice_.id}{mark}.png", encode_png(grey_HW))
    _write_bytes(root / "masks" / f"{slice_.id}.png", encode_png(slice_.mask_HW * np.uint8(255)))


_MARKS = {"FLAIR", "T1", "T2", "PD"}  # channel names that readers of the pairs layout know in a file's name


def _write_npz(root: Path, slice_: LabelledSlice, facts: CohortFacts) -> None:
    pixels_HWC = np.moveaxis(slice_.z_scores_CHW, 0, -1).astype(np.float32)
    for folder, pixels in (("images", pixels_HWC), ("masks", slice_.mask_HW.astype(np.uint8))):
        _write_bytes(
            root / folder / f"{slice_.id}.npz", _npz_bytes(pixels=np.ascontiguousarray(pixels), affine=facts.affine)
        )


def _npz_bytes(**arrays: np.ndarray) -> bytes:
    """As numpy.savez_compressed, without the time of day."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


EXPORTERS: dict[str, Exporter] = {
    "wmh": Exporter("wmh", "the WMH challenge's tree, NIfTI", _require_t1_flair("wmh"), _write_wmh, _nothing_after),
    "bids": Exporter("bids", "BIDS with the masks under derivatives", _begin_bids, _write_bids, _end_bids),
    "nnunet": Exporter("nnunet", "nnU-Net raw, NIfTI", _nothing, _write_nnunet, _end_nnunet),
    "png": Exporter("pairs", "8-bit pictures, images/ and masks/", _nothing, _write_png, _nothing_after),
    "npz": Exporter("pairs", "NumPy archives of z-scores, images/ and masks/", _nothing, _write_npz, _nothing_after),
}


def export_cohort(
    format: str,
    slices: Iterable[LabelledSlice],
    out: Path,
    facts: CohortFacts,
    manifest: Callable[[], dict[str, Any]],
) -> None:
    """Writes slices as they come, then ``manifest.json``; memory holds one slice.

    Args:
        format: key of `EXPORTERS`.
        slices: what to write; ids must be unique and fit for file names.
        out: folder to write into; the caller gives a new one.
        facts: what the slices share.
        manifest: called after the last slice.

    Raises:
        ConfigError: the format cannot hold these channels.
        DataError: an id is unsafe or comes twice.
    """
    exporter = EXPORTERS[format]
    out.mkdir(parents=True, exist_ok=True)
    exporter.begin(out, facts)
    ids: list[str] = []
    seen: set[str] = set()
    for slice_ in slices:
        if not is_safe_id(slice_.id) or slice_.id in seen:
            raise DataError(out, f"slice id {slice_.id!r} is unsafe or comes twice")
        exporter.write(out, slice_, facts)
        ids.append(slice_.id)
        seen.add(slice_.id)
    exporter.end(out, facts, ids)
    shared = {"channels": list(facts.channels), "size": list(facts.size), "spacing_mm": list(facts.spacing_mm)}
    write_json_atomic(
        out / "manifest.json", {"format": FORMAT_VERSION, "layout": exporter.layout, **shared, **manifest()}
    )
    fsync_folder(out)
