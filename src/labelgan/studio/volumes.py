"""Native volumes for the viewer: voxels and affine in a header made from nothing, so that no field of a scan leaks."""

from __future__ import annotations

import numpy as np

from labelgan.data.export.write import nifti_bytes
from labelgan.core.errors import DataError
from labelgan.studio.images import CaseImages

MASK = "mask"


def volume_bytes(images: CaseImages, channel: str) -> bytes:
    """A channel, or the mask, as gzipped NIfTI.

    Raises:
        DataError: the case has no such channel, or no mask.
    """
    if channel == MASK:
        if images.mask_XYZ is None:
            raise DataError(MASK, "this case has no mask")
        return nifti_bytes(images.mask_XYZ, images.affine, compresslevel=1)
    if channel not in images.volumes:
        raise DataError(channel, "this case has no such channel")
    return nifti_bytes(_compact(images.volumes[channel]), images.affine, compresslevel=1)


def _compact(volume: np.ndarray) -> np.ndarray:
    """Whole numbers as int16: half the bytes, and they pack better."""
    limits = np.iinfo(np.int16)
    if volume.min() >= limits.min and volume.max() <= limits.max and (volume == np.rint(volume)).all():
        return volume.astype(np.int16)
    return volume.astype(np.float32)
