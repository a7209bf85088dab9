from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from nibabel import nifti1
from nibabel.funcs import as_closest_canonical

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError
from labelgan.data.case import Case
from labelgan.data.geometry import SliceGeometry
from labelgan.data.prepare.brain import BRAIN_MASKS, BrainTask, brain_mask
from labelgan.data.volume import ImageRef

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


def task_of(
    method: str, images: dict[str, np.ndarray] | None = None, brain: Path | None = None, **settings
) -> BrainTask:
    if images is None:
        z, y, x = np.indices((4, 24, 20))
        ball = ((x - 9.5) / 7) ** 2 + ((y - 11.5) / 8) ** 2 + ((z - 1.5) / 3) ** 2 < 1
        images = {"FLAIR": np.where(ball, 100.0, 0.0), "T1": np.where(ball, 60.0, 5.0)}
    case = Case(
        "c1",
        "p1",
        {name: ImageRef(Path(f"{name}.nii.gz")) for name in images},
        brain_mask=None if brain is None else ImageRef(brain),
    )
    shape = next(iter(images.values())).shape[::-1]
    config = PrepareConfig.build({"brain_mask": method, **settings})
    return BrainTask(case, images, SliceGeometry.of(shape, AFFINE, (24, 24)), config)


def test_the_choices_are_those_of_the_configuration():
    assert set(BRAIN_MASKS) == {"auto", "li2018", "file", "deepbet"}
    for method in BRAIN_MASKS:
        PrepareConfig.build({"brain_mask": method})


@pytest.mark.parametrize("method", ["auto", "li2018"])
def test_finds_the_ball(method):
    task = task_of(method)
    np.testing.assert_array_equal(brain_mask(task), task.images["FLAIR"] > 0)


def test_li2018_takes_the_threshold_itself_and_fills_holes_per_slice():
    flair = np.zeros((3, 8, 8))
    flair[:, 1:7, 1:7] = 70
    flair[:, 3:5, 3:5] = 69.9
    flair[1, 3, 0:5] = 10  # an open notch is no hole
    mask = brain_mask(task_of("li2018", {"FLAIR": flair}))
    assert mask[0].sum() == mask[2].sum() == 36
    assert mask[1].sum() == 36 - 6  # the row 3, columns 1 to 4, and the hole that now opens to the outside
    assert brain_mask(task_of("li2018", {"FLAIR": flair}, li2018_threshold=60))[0].sum() == 36
    with pytest.raises(DataError, match="empty"):
        brain_mask(task_of("li2018", {"FLAIR": flair}, li2018_threshold=700))
    with pytest.raises(DataError, match=r"c1.*FLAIR"):
        brain_mask(task_of("li2018", {"T1": flair}))


def test_file_is_turned_with_the_images(tmp_path):
    mask_XYZ = np.zeros((20, 24, 4), np.uint8)
    mask_XYZ[2:9, 5:12, 1] = 255
    nibabel.save(nibabel.Nifti1Image(mask_XYZ, AFFINE), tmp_path / "brain.nii.gz")
    task = task_of("file", brain=tmp_path / "brain.nii.gz")
    found = brain_mask(task)
    np.testing.assert_array_equal(task.geometry.from_axial(found), mask_XYZ > 0)
    assert found[1].sum() == 49


def test_file_that_is_absent_or_of_another_shape_is_named(tmp_path):
    with pytest.raises(DataError, match=r"c1.*no brain mask file"):
        brain_mask(task_of("file"))
    nibabel.save(nibabel.Nifti1Image(np.ones((20, 24, 5), np.uint8), AFFINE), tmp_path / "brain.nii.gz")
    with pytest.raises(DataError, match=r"brain\.nii\.gz.*shape"):
        brain_mask(task_of("file", brain=tmp_path / "brain.nii.gz"))


@pytest.mark.parametrize("method", ["auto", "li2018", "file"])
def test_constant_image_is_refused_by_name(method):
    with pytest.raises(DataError, match=r"T1\.nii\.gz.*one value"):
        brain_mask(task_of(method, {"FLAIR": np.arange(60.0).reshape(3, 4, 5), "T1": np.ones((3, 4, 5))}))


def test_deepbet_that_is_not_installed_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepbet", None)
    with pytest.raises(ConfigError, match=r"pip install 'labelgan\[bet\]'"):
        brain_mask(task_of("deepbet"))


def test_deepbet_gets_the_t1_and_its_mask_comes_back(monkeypatch):
    """A stand-in for the package, with its call: lists of paths, masks written to files."""

    def run_bet(input_paths, brain_paths=None, mask_paths=None, no_gpu=False, skip_broken=True):
        assert brain_paths is None
        assert no_gpu
        assert not skip_broken
        assert mask_paths is not None
        for source, target in zip(input_paths, mask_paths, strict=True):
            image = nifti1.load(source)
            mask = nibabel.Nifti1Image((image.get_fdata() > 30).astype(np.uint8), image.affine)
            nibabel.save(as_closest_canonical(mask), target)  # in an orientation of its own

    monkeypatch.setitem(sys.modules, "deepbet", SimpleNamespace(run_bet=run_bet))
    task = task_of("deepbet")
    np.testing.assert_array_equal(brain_mask(task), task.images["T1"] > 30)


def test_deepbet_that_fails_is_one_line_with_the_case(monkeypatch):
    def run_bet(*_, **__):
        raise RuntimeError("no voxels left")

    monkeypatch.setitem(sys.modules, "deepbet", SimpleNamespace(run_bet=run_bet))
    with pytest.raises(DataError, match="c1: deepbet failed: RuntimeError: no voxels left"):
        brain_mask(task_of("deepbet"))
