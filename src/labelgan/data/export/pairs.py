"""Export as pairs of pictures or NumPy archives, one a slice: ``images/`` and ``masks/``."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelgan.data.export.files import write_bytes
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume
from labelgan.data.pictures import encode_png
from labelgan.data.prepare.case import to_unit
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

_MARKS = {"FLAIR", "T1", "T2", "PD"}  # channel names that readers of the pairs layout know in a file's name


def channel_marks(channels: Sequence[str]) -> list[str]:
    """Gives the endings of a case's file names, channel by channel: ``_FLAIR``, or ``_0000`` where it has no name."""
    if len(channels) == 1:
        return [""]
    if _MARKS.issuperset(channels):
        return [f"_{name}" for name in channels]
    return [f"_{number:04d}" for number in range(len(channels))]


class PngWriter:
    """8-bit pictures: tanh(z / 4), the generator's own fixed map of z-scores, so that all cohorts share one scale.

    A mask is 0 and 255; where a slice holds other pathology too, it is 0, 1 and 2.
    """

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        self.root, self.marks = root, channel_marks(facts.channels)

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's slices."""
        for slice_ in volume.axial_slices():
            grey_CHW = np.round((to_unit(slice_.z_scores_CHW) + 1) * 127.5).astype(np.uint8)
            for grey_HW, mark in zip(grey_CHW, self.marks, strict=True):
                write_bytes(self.root / "images" / f"{slice_.name}{mark}.png", encode_png(grey_HW))
            if slice_.mask_HW is not None:
                plain = not (slice_.mask_HW == OTHER_PATHOLOGY).any()
                mask_HW = (slice_.mask_HW == LESION) * np.uint8(255) if plain else slice_.mask_HW
                write_bytes(self.root / "masks" / f"{slice_.name}.png", encode_png(np.ascontiguousarray(mask_HW)))

    def end(self, folds: Sequence[Fold]) -> None:
        """Nothing stands around the pairs."""


class NpzWriter:
    """NumPy archives of z-scores and of masks, each with its affine."""

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        self.root = root

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's slices."""
        for slice_ in volume.axial_slices():
            parts: dict[str, np.ndarray] = {"images": np.moveaxis(slice_.z_scores_CHW, 0, -1).astype(np.float32)}
            if slice_.mask_HW is not None:
                parts["masks"] = slice_.mask_HW.astype(np.uint8)
            for folder, pixels in parts.items():
                content = _npz_bytes(pixels=np.ascontiguousarray(pixels), affine=slice_.affine)
                write_bytes(self.root / folder / f"{slice_.name}.npz", content)

    def end(self, folds: Sequence[Fold]) -> None:
        """Nothing stands around the pairs."""


def _npz_bytes(**arrays: np.ndarray) -> bytes:
    """As numpy.savez_compressed, without the time of day."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()
