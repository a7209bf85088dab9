"""Brain masks: where intensities are measured, and which slices count.

A method takes the case's images turned to [z, y, x] and gives one boolean mask. To add one, write it and enter it in
`BRAIN_MASKS`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError
from labelgan.data.case import Case
from labelgan.data.geometry import SliceGeometry
from labelgan.data.prepare.brain_search import fill_holes, find_brain


@dataclass(frozen=True)
class BrainTask:
    """Material of a method.

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
    """Finds the brain in the first channel by shape and relative brightness; see `brain_search.find_brain`."""
    return find_brain(task.first)


def li2018_mask(task: BrainTask) -> np.ndarray:
    """FLAIR at or above a fixed threshold, holes filled per slice: Li et al., NeuroImage 183 (2018) 650-665.

    The thresholds, 70 and 30, hold for the intensity scale of the WMH challenge's scanners alone.
    """
    if "FLAIR" not in task.images:
        raise DataError(task.case.id, "brain mask 'li2018' needs a FLAIR image")
    return fill_holes(task.images["FLAIR"] >= task.config.li2018_threshold)


def file_mask(task: BrainTask) -> np.ndarray:
    """The brain mask file that the layout found beside the images; any value above zero is brain."""
    from labelgan.data.reading.read import read_volume

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
    try:
        from deepbet import run_bet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        missing = f"the deepbet package cannot be used ({error}): pip install 'labelgan[bet]'"
        raise ConfigError("brain_mask=deepbet", missing) from None
    from nibabel import nifti1

    native = task.geometry.from_axial(task.images.get("T1", task.first)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "image.nii.gz"), Path(folder, "mask.nii.gz")
        nifti1.save(nifti1.Nifti1Image(native, np.asarray(task.geometry.native_affine)), source)
        try:
            run_bet([str(source)], mask_paths=[str(target)], no_gpu=True, skip_broken=False)
            image = nifti1.load(target)
            mask = np.asarray(image.dataobj) > 0
        except Exception as error:  # a foreign package: whatever it raises is about this case
            raise DataError(task.case.id, f"deepbet failed: {type(error).__name__}: {error}") from error
    return SliceGeometry.of(mask.shape, np.asarray(image.affine), task.config.size).to_axial(mask)


BRAIN_MASKS: dict[str, Callable[[BrainTask], np.ndarray]] = {
    "auto": auto_mask,
    "li2018": li2018_mask,
    "file": file_mask,
    "deepbet": deepbet_mask,
}
