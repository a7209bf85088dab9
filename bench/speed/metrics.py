"""Times `score_masks` beside the same five metrics through SimpleITK's filters, and compares every value.

The rival follows the definitions of the WMH Segmentation Challenge filter by filter (threshold, mask, in-plane erosion,
point transform, connected components), one process, volumes already in memory on both sides.

Run: ``python -m bench.speed.metrics [--short]``. Prints one table; the target is a ratio of 20.
"""

from __future__ import annotations

import math
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import SimpleITK
from scipy.spatial import KDTree

from bench.speed.measure import Bench, Figure, main, median_ratio, take_turns
from labelgan.core.rng import generator_for
from labelgan.data.prepare.itk import to_itk
from labelgan.data.volume import Volume
from labelgan.scoring.metrics import METRICS, Scores, score_masks

TARGET = 20.0
VOLUMES = (
    ((240, 240, 48), (0.958, 0.958, 3.0), 20),
    ((240, 240, 48), (0.958, 0.958, 3.0), 80),
    ((256, 256, 192), (1.0, 1.0, 1.0), 20),
    ((256, 256, 192), (1.0, 1.0, 1.0), 80),
)
VALUE_TOLERANCE = {"hd95_mm": 1e-6}


def make_masks(shape: tuple[int, int, int], spacing: tuple[float, ...], lesions: int) -> tuple[np.ndarray, np.ndarray]:
    """A float32 reference with ``lesions`` ellipsoids in a brain-sized region, a few of them label 2, and a prediction.

    Of the predicted lesions most lie a little beside the reference's and some lie elsewhere; some are missed.
    """
    random = generator_for(0, "bench", "metrics", *shape, lesions)
    reference, prediction = np.zeros(shape, np.float32, order="F"), np.zeros(shape, np.float32, order="F")
    mm, middle = np.array(spacing), np.array(shape) * np.array(spacing) / 2

    def place(target: np.ndarray, centre: np.ndarray, radii: np.ndarray, value: float) -> None:
        low = np.maximum(0, np.floor((centre - radii) / mm)).astype(int)
        high = np.minimum(shape, np.ceil((centre + radii) / mm) + 1).astype(int)
        axes = [np.arange(a, b) * size for a, b, size in zip(low, high, mm, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        inside = (((grid - centre) / radii) ** 2).sum(-1) <= 1
        target[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = value

    for lesion in range(lesions):
        direction = random.standard_normal(3)
        centre = middle + direction / np.linalg.norm(direction) * random.uniform(15, 55) * np.array([0.9, 1.1, 0.8])
        radii = np.exp(random.normal(1.3, 0.5)) * random.uniform(0.7, 1.4, 3)
        place(reference, centre, radii, 2.0 if lesion % 12 == 11 else 1.0)
        if random.random() < 0.8:
            place(prediction, centre + random.normal(0, 0.8, 3), radii * random.uniform(0.8, 1.2, 3), 1.0)
        if random.random() < 0.2:
            place(prediction, middle + random.uniform(-50, 50, 3), np.full(3, random.uniform(1.5, 3.5)), 1.0)
    return reference, prediction


def score_with_filters(reference: Any, prediction: Any) -> dict[str, float]:
    """The five metrics of two SimpleITK images, each step a filter where there is one."""
    lesion = SimpleITK.BinaryThreshold(reference, 0.5, 1.5, 1, 0)
    not_other = SimpleITK.BinaryThreshold(reference, 1.5, 2.5, 0, 1)
    masked = SimpleITK.Mask(prediction, not_other)
    lowest = 1 if "integer" in masked.GetPixelIDTypeAsString() else 0.5
    predicted = SimpleITK.BinaryThreshold(masked, lowest, 1000, 1, 0)

    voxels = [SimpleITK.GetArrayFromImage(image).ravel().astype(bool) for image in (lesion, predicted)]
    dsc = 2 * np.count_nonzero(voxels[0] & voxels[1]) / (np.count_nonzero(voxels[0]) + np.count_nonzero(voxels[1]))

    points = [_surface_points(image, reference) for image in (lesion, predicted)]
    there = KDTree(points[0], leafsize=100).query(points[1])[0]
    back = KDTree(points[1], leafsize=100).query(points[0])[0]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))

    sums = []
    for image in (lesion, predicted):
        statistics = SimpleITK.StatisticsImageFilter()
        statistics.Execute(image)
        sums.append(statistics.GetSum())

    recall, precision = _touched(lesion, predicted), _touched(predicted, lesion)
    return {
        "dsc": dsc,
        "hd95_mm": float(hd95),
        "avd_percent": abs(sums[0] - sums[1]) / sums[0] * 100,
        "lesion_recall": recall,
        "lesion_f1": 2 * recall * precision / (recall + precision) if recall + precision else 0.0,
    }


def _surface_points(mask: Any, geometry: Any) -> np.ndarray:
    """(n, 3) physical points of the in-plane boundary voxels."""
    edge = SimpleITK.Subtract(mask, SimpleITK.BinaryErode(mask, (1, 1, 0)))
    indices = np.argwhere(SimpleITK.GetArrayFromImage(edge))[:, ::-1]
    return np.array([geometry.TransformIndexToPhysicalPoint(index) for index in indices.tolist()])


def _touched(lesions: Any, other: Any) -> float:
    """Part of the 26-connected lesions of one image that meet the other."""
    components = SimpleITK.ConnectedComponent(lesions, True)
    hit = SimpleITK.Multiply(components, SimpleITK.Cast(other, SimpleITK.sitkUInt32))
    count = len(np.unique(SimpleITK.GetArrayFromImage(components))) - 1
    return (len(np.unique(SimpleITK.GetArrayFromImage(hit))) - 1) / count if count else 1.0


def compare(ours: Scores, rival: dict[str, float]) -> None:
    """Stops the bench where a value differs by more than 1e-9 relative (HD95: 1e-6 mm)."""
    for name in METRICS:
        value = ours[name]
        tolerance = VALUE_TOLERANCE.get(name, 1e-9 * abs(rival[name]))
        if value is None or not math.isclose(value, rival[name], rel_tol=0, abs_tol=tolerance):
            raise SystemExit(f"{name} differs: {value} here, {rival[name]} through the filters")


def figures(short: bool) -> list[Figure]:
    """Times every volume; the short run takes the smaller ones."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    for shape, spacing, lesions in VOLUMES:
        small = shape[2] < 100
        if short and not small:
            continue
        reference, prediction = make_masks(shape, spacing, lesions)
        affine = np.diag([*spacing, 1.0])
        images = to_itk(Volume(reference, affine)), to_itk(Volume(prediction, affine))
        compare(score_masks(reference, prediction, affine=affine), score_with_filters(*images))
        both = partial(score_masks, reference, prediction, affine=affine), partial(score_with_filters, *images)
        ours, rival = take_turns(both, 3 if short or not small else 6)
        voxels = np.count_nonzero(reference == 1)
        rows.append(
            Figure(
                name=f"`score_masks`, {'×'.join(map(str, shape))}, {lesions} lesions of {voxels:,} voxels",
                against="SimpleITK's filters",
                ratio=median_ratio(rival, ours),
                better="higher",
                target=TARGET,
                detail=f"{median(ours) * 1e3:.0f} ms; {median(rival) * 1e3:,.0f} ms",
                short=small,
            )
        )
    return rows


BENCH = Bench(
    name="metrics",
    title="The five metrics",
    command="python -m bench.speed.metrics",
    text="""
Times faster than the same five definitions filter by filter in SimpleITK (threshold, mask, in-plane erosion, point
transform, connected components, a k-d tree for the distances). One thread each, volumes in memory; every value is first
compared, and the bench stops where one differs.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
