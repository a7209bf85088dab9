"""Brain masks: where intensities are measured, and which slices count.

A method takes the case's images turned to [z, y, x] and gives one boolean mask. To add one, write it and enter it in
`BRAIN_MASKS`.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from labelgan.config import PrepareConfig
from labelgan.data.case import Case
from labelgan.data.geometry import SliceGeometry
from labelgan.errors import ConfigError, DataError


@dataclass(frozen=True)
class BrainTask:
    """What a method may look at.

    Attributes:
        case: the case, for its files and name.
        images: channel name to (Z, Y, X) float array, in store order of channels; all finite and of one shape.
        geometry: the case's geometry, for axes and spacing.
        config: the settings of the preparation.
    """

    case: Case
    images: Mapping[str, np.ndarray]
    geometry: SliceGeometry
    config: PrepareConfig

    @property
    def first(self) -> np.ndarray:
        """The first channel: FLAIR where there is one."""
        return next(iter(self.images.values()))


def brain_mask(task: BrainTask) -> np.ndarray:
    """Gives the case's brain by the method that the configuration names.

    Returns:
        (Z, Y, X) boolean mask with at least one voxel.

    Raises:
        DataError: an image holds one value only, or the method has no brain to offer for this case.
        ConfigError: the method needs a package that is not installed.
    """
    for channel, image in task.images.items():
        if image.min() == image.max():
            raise DataError(task.case.images[channel].path, f"the {channel} image holds one value only")
    mask = BRAIN_MASKS[task.config.brain_mask](task)
    if not mask.any():
        raise DataError(task.case.id, f"brain mask '{task.config.brain_mask}' is empty")
    return mask


def auto_mask(task: BrainTask) -> np.ndarray:
    """Finds the brain in the first channel by shape and relative brightness; see `find_brain`."""
    return find_brain(task.first)


def find_brain(image_ZYX: np.ndarray) -> np.ndarray:
    """Scale-free brain mask of one volume."""
    from scipy import ndimage

    head = image_ZYX > otsu_threshold(image_ZYX)
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(head))
    if count == 0:
        return image_ZYX > image_ZYX.min()
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return fill_holes(largest)


def otsu_threshold(values: np.ndarray, bins: int = 256) -> float:
    """Otsu's threshold (1979): the split that leaves the least variance within the two classes."""
    low, high = np.percentile(values, (0.0, 99.5))
    if high <= low:
        return float(low)
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + np.nanargmax(between)])


def fill_holes(mask_ZYX: np.ndarray) -> np.ndarray:
    """Fills the holes of each axial slice by itself."""
    from scipy import ndimage

    return np.stack([np.asarray(ndimage.binary_fill_holes(plane)) for plane in mask_ZYX])


def li2018_mask(task: BrainTask) -> np.ndarray:
    """FLAIR at or above a fixed threshold, holes filled per slice: Li et al., NeuroImage 183 (2018) 650-665.

    The thresholds, 70 and 30, hold for the intensity scale of the WMH challenge's scanners alone.
    """
    if "FLAIR" not in task.images:
        raise DataError(task.case.id, "brain mask 'li2018' needs a FLAIR image")
    return fill_holes(task.images["FLAIR"] >= task.config.li2018_threshold)


def file_mask(task: BrainTask) -> np.ndarray:
    """The brain mask file that the layout found beside the images; any value above zero is brain."""
    from labelgan.data.reading import read_volume

    if task.case.brain_mask is None:
        raise DataError(task.case.id, "brain mask 'file' was asked for and the case has no brain mask file")
    volume = read_volume(task.case.brain_mask)
    if volume.data.shape != task.geometry.native_shape:
        raise DataError(
            task.case.brain_mask.path, f"shape {volume.data.shape}, but the images' is {task.geometry.native_shape}"
        )
    return task.geometry.to_axial(volume.data > 0)


def deepbet_mask(task: BrainTask) -> np.ndarray:
    """The brain that deepbet finds, on T1 where present: Fisch et al., Human Brain Mapping 45 (2024) e26540."""
    if importlib.util.find_spec("deepbet") is None:
        raise ConfigError("brain_mask=deepbet", "the deepbet package is missing: pip install 'labelgan[bet]'")
    import nibabel
    from deepbet import run_bet  # pyright: ignore[reportMissingImports]

    image = task.images.get("T1", task.first)
    native = task.geometry.from_axial(image).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image.nii.gz"), Path(folder, "mask.nii.gz")
        nibabel.save(nibabel.Nifti1Image(native, np.asarray(task.geometry.native_affine)), source)
        run_bet([str(source)], mask_paths=[str(target)], no_gpu=True)
        mask = np.asarray(nibabel.load(target).dataobj) > 0  # pyright: ignore[reportAttributeAccessIssue]
    return task.geometry.to_axial(mask)


BRAIN_MASKS: dict[str, Callable[[BrainTask], np.ndarray]] = {
    "auto": auto_mask,
    "li2018": li2018_mask,
    "file": file_mask,
    "deepbet": deepbet_mask,
}
