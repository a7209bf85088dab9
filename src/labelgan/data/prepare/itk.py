"""Bias field correction and rigid registration by SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelgan.data.volume import Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(volume: Volume) -> Any:
    """Makes a SimpleITK image of a volume, its axes and millimetres kept."""
    import SimpleITK

    affine = _RAS_TO_LPS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def from_itk(image: Any) -> np.ndarray:
    """(X, Y, Z) array of a SimpleITK image."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(image).T


def correct_bias_field(volume: Volume, mask: np.ndarray) -> Volume:
    """Divides out the slow change of gain over the head: N4, Tustison et al., IEEE TMI 29 (2010) 1310-1320.

    The field is found on a grid four times coarser along axes of 32 voxels or more, and applied on the full one.

    Args:
        volume: image of any scale; intensities should be zero or more.
        mask: (X, Y, Z) boolean, where the field is measured.

    Returns:
        The corrected volume, float32.
    """
    import SimpleITK

    flat = volume.data.shape[2] == 1
    data, region = (volume.data[..., 0], mask[..., 0]) if flat else (volume.data, mask)
    floor = 1e-3 * float(data[region].mean()) if region.any() else 1.0  # N4 works on logarithms
    positive = np.maximum(data, max(floor, 1e-6)).astype(np.float32)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(positive.T))
    inside = SimpleITK.GetImageFromArray(np.ascontiguousarray(region.T.astype(np.uint8)))
    shrink = [4 if count >= 32 else 1 for count in data.shape]
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50, 50, 30])
    n4.Execute(SimpleITK.Shrink(image, shrink), SimpleITK.Shrink(inside, shrink))
    field = np.exp(from_itk(n4.GetLogBiasFieldAsImage(image)))
    corrected = (data / field).astype(np.float32)
    return Volume(corrected[..., None] if flat else corrected, volume.affine)


def register_rigidly(moving: Volume, fixed: Volume) -> Volume:
    """Brings one volume onto another's grid by the rotation and translation of greatest mutual information.

    Starts from the scanner's coordinates, as the scans of one session share them. Samples are drawn from a fixed seed.

    Returns:
        The moving image on the fixed grid, float32, linear; its own minimum outside its field of view.
    """
    import SimpleITK

    target, image = to_itk(fixed), to_itk(moving)
    target, image = SimpleITK.Cast(target, SimpleITK.sitkFloat32), SimpleITK.Cast(image, SimpleITK.sitkFloat32)
    start = SimpleITK.Euler3DTransform()
    start.SetCenter(target.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in target.GetSize()]))
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.2, seed=1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=100, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    thick = min(fixed.data.shape) < 32
    method.SetShrinkFactorsPerLevel([1] if thick else [4, 2])
    method.SetSmoothingSigmasPerLevel([1] if thick else [2, 1])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(target, image)
    moved = SimpleITK.Resample(
        image, target, start, SimpleITK.sitkLinear, float(moving.data.min()), SimpleITK.sitkFloat32
    )
    return Volume(from_itk(moved), fixed.affine)
