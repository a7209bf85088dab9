from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import labelgan
from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError
from labelgan.data.geometry import SliceGeometry
from labelgan.data.prepare.cohort import PackedBrain
from labelgan.data.prepare.crop import Reach, crop_warning, fitting_spacing, require_lesions_inside
from labelgan.study.cohort import cropped_lesions, know_cohort
from labelgan.study.run import StudySources, scan_cohorts


def test_a_reach_is_measured_from_the_centre_of_the_field_of_view():
    brain_ZYX = np.zeros((3, 20, 30), bool)
    brain_ZYX[1, 12:15, 10:12] = True
    geometry = SliceGeometry.of((30, 20, 3), np.diag([2.0, 1.5, 3.0, 1.0]), (16, 16))
    # rows: the furthest border lies 14 + 0.5 - 9.5 = 5 pixels of 1.5 mm off; columns 14.5 + 0.5 - 10 = 5 of 2 mm
    assert Reach.of(brain_ZYX, geometry) == Reach((15.0, 20.0), (1.5, 2.0))


@pytest.mark.parametrize(
    ("extent_mm", "size", "expected"),
    [
        ((60.0, 60.0), (64, 64), None),  # 62 pixels of 1 mm hold it
        ((62.0, 62.0), (64, 64), None),
        ((186.0, 100.0), (64, 64), 3.0),
        ((187.0, 100.0), (64, 64), 3.05),  # rounded up to 0.05 mm
        ((100.0, 186.0), (128, 64), 3.0),
    ],
)
def test_the_spacing_is_the_least_that_holds_every_brain(extent_mm, size, expected):
    found = fitting_spacing([Reach((10.0, 10.0), (1.0, 1.0)), Reach(extent_mm, (1.0, 1.0))], size)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_a_packed_brain_comes_back():
    brain = np.random.default_rng(0).random((7, 5, 3)) < 0.3
    assert np.array_equal(PackedBrain.of(brain).unpacked(), brain)


@dataclass
class Counts:
    brain_voxels: int
    brain_voxels_cropped: int
    lesion_voxels: int
    lesion_voxels_cropped: int


def test_what_lies_outside_is_said_in_one_line():
    assert crop_warning([Counts(100, 0, 10, 0)]) is None
    line = crop_warning([Counts(100, 30, 10, 5), Counts(100, 0, 0, 0)])
    assert line is not None
    assert line.startswith("15 % of the brains and 50 % of the lesion voxels lie outside the slices (1 cases)")


def test_more_than_the_limit_is_refused():
    require_lesions_inside(1, 100, 0.01, "scans")
    require_lesions_inside(0, 0, 0.01, "scans")
    with pytest.raises(
        DataError, match=r"^scans: 2 % of the lesion voxels lie outside .*--spacing auto.*max_cropped=1"
    ):
        require_lesions_inside(2, 100, 0.01, "scans")


def test_auto_slices_hold_every_brain_where_native_ones_do_not(phantom_cohort, tmp_path):
    warned: list[str] = []
    with pytest.raises(DataError, match="of the lesion voxels lie outside the slices"):
        labelgan.prepare(phantom_cohort, tmp_path / "refused", size=(16, 16))
    assert not (tmp_path / "refused").exists()
    cut = labelgan.prepare(phantom_cohort, tmp_path / "cut", size=(16, 16), max_cropped=1, warn=warned.append)
    assert sum(case.brain_voxels_cropped for case in cut.cases) > 0
    assert any("lie outside the slices" in line for line in warned)
    warned.clear()
    fitted = labelgan.prepare(phantom_cohort, tmp_path / "fitted", size=(16, 16), spacing_mm="auto", warn=warned.append)
    assert not any("outside" in line for line in warned)
    assert sum(case.brain_voxels_cropped + case.lesion_voxels_cropped for case in fitted.cases) == 0
    spacing = fitted.config.spacing_mm
    assert isinstance(spacing, float)  # resolved: what predicts with it needs no cohort
    same = labelgan.prepare(phantom_cohort, tmp_path / "same", size=(16, 16), spacing_mm=spacing)
    assert np.array_equal(np.asarray(same.images), np.asarray(fitted.images))


def test_a_study_refuses_slices_that_cut_lesions_off_before_anything_is_trained(study_cohort, tmp_path):
    whole = PrepareConfig(size=(48, 48))
    cut = PrepareConfig(size=(8, 8))
    cohort = know_cohort(study_cohort, tmp_path / "cohort.json", prepare=whole)
    assert cropped_lesions(cohort, whole)[0] == 0
    assert cropped_lesions(cohort, whole)[1] > 0
    again = know_cohort(study_cohort, tmp_path / "cohort.json", prepare=cut)
    assert cropped_lesions(again, whole) == cropped_lesions(cohort, whole)  # kept
    assert cropped_lesions(again, cut)[0] > 0
    with pytest.raises(DataError, match="of the lesion voxels lie outside the slices"):
        scan_cohorts(StudySources(study_cohort), tmp_path, prepare=cut)
    scan_cohorts(StudySources(study_cohort), tmp_path, prepare=PrepareConfig(size=(8, 8), max_cropped=1))
    scan_cohorts(StudySources(study_cohort), tmp_path, prepare=PrepareConfig(size=(8, 8), spacing_mm="auto"))
