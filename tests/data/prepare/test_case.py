from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError
from labelgan.core.rng import generator_for
from labelgan.data.case import Case
from labelgan.data.prepare.case import from_unit, prepare_case, to_unit
from labelgan.data.reading.read import voxel_hash
from labelgan.data.volume import ImageRef, Volume

SHAPE = (20, 24, 8)
AFFINE = np.diag([-1.0, 1.0, 3.0, 1.0])


def arrays() -> dict[str, np.ndarray]:
    random = generator_for(3, "preprocess")
    x, y, z = np.indices(SHAPE)
    head = ((x - 9.5) / 8) ** 2 + ((y - 11.5) / 9) ** 2 + ((z - 4) / 3.5) ** 2 < 1
    lesion = (abs(x - 12) < 2) & (abs(y - 12) < 2) & (abs(z - 4) < 2)
    return {
        "FLAIR": (head * (100 + random.normal(0, 8, SHAPE)) + lesion * 60).astype(np.float32),
        "T1": (head * (200 + random.normal(0, 15, SHAPE)) - lesion * 40).astype(np.float32),
        "mask": lesion.astype(np.uint8),
        "brain": head.astype(np.uint8),
    }


def write(folder: Path, name: str, data: np.ndarray, affine: np.ndarray = AFFINE) -> ImageRef:
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return ImageRef(path)


@pytest.fixture
def case(tmp_path) -> Case:
    refs = {name: write(tmp_path, name, data) for name, data in arrays().items()}
    images = {name: refs[name] for name in ("FLAIR", "T1")}
    return Case("c1", "p1", images, mask=refs["mask"], brain_mask=refs["brain"])


def config(**settings) -> PrepareConfig:
    return PrepareConfig.build({"size": (32, 16), "brain_mask": "file", "min_brain_fraction": 0.0, **settings})


def test_every_channel_has_mean_0_and_sd_1_inside_the_brain_of_the_volume(case):
    prepared = prepare_case(case, config(size=(24, 24)))
    assert prepared.images_ZCHW.dtype == np.float32
    for channel in (0, 1):
        inside = prepared.images_ZCHW[:, channel][prepared.brains_ZHW]
        assert inside.mean() == pytest.approx(0, abs=1e-4)
        assert inside.std() == pytest.approx(1, abs=1e-4)
    outside = prepared.images_ZCHW[:, 0][~prepared.brains_ZHW]
    assert outside.max() < -1  # air is kept, as it was, not set to 0
    flair = arrays()["FLAIR"][arrays()["brain"] > 0]
    assert prepared.intensity["FLAIR"] == pytest.approx({"mean": flair.mean(), "sd": flair.std()}, rel=1e-5)


def test_a_resampled_mask_holds_the_labels_that_it_had(tmp_path, case):
    """Between background and label 2 lies no lesion, as it would where a mask is interpolated."""
    mask = 2 * arrays()["mask"]
    other = Case("c1", "p1", case.images, mask=write(tmp_path, "other", mask), brain_mask=case.brain_mask)
    prepared = prepare_case(other, config(spacing_mm=0.7))
    assert prepared.geometry.resampled
    assert set(np.unique(prepared.masks_ZHW)) == {0, 2}


def test_slices_and_masks_are_those_of_the_scan(case):
    prepared = prepare_case(case, config())
    data = arrays()
    expected = prepared.geometry.to_store(data["mask"], order="label")[prepared.z]
    np.testing.assert_array_equal(prepared.masks_ZHW, expected)
    assert prepared.masks_ZHW.sum() == data["mask"].sum()
    assert prepared.lesion_voxels_cropped == 0
    assert prepared.z.tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(prepared.z_fraction, np.linspace(0, 1, 7), rtol=1e-6)
    assert prepared.hashes["T1"] == voxel_hash(Volume(data["T1"], AFFINE))


def test_padding_has_the_value_of_air(case):
    prepared = prepare_case(case, config(size=(32, 32)))
    air = -prepared.intensity["FLAIR"]["mean"] / prepared.intensity["FLAIR"]["sd"]  # intensity 0
    np.testing.assert_allclose(prepared.images_ZCHW[:, 0, :4], air, rtol=1e-5)


def test_lesion_outside_the_crop_is_counted(case, tmp_path):
    write(tmp_path, "mask", np.roll(arrays()["mask"], 3, axis=1))  # rows 14 to 16 of 24, of which 8 to 15 are kept
    prepared = prepare_case(case, config(size=(8, 8)))
    assert prepared.lesion_voxels_cropped == 9
    assert (prepared.masks_ZHW == 1).sum() == 18


def test_every_keeps_each_kth_slice_and_empty_ones_are_dropped(case):
    everything = prepare_case(case, config(drop_empty=False))
    assert everything.z.tolist() == list(range(8))
    assert prepare_case(case, config(every=3)).z.tolist() == [1, 4, 7]
    assert prepare_case(case, config(every=50)).z.tolist() == [3]
    filled = prepare_case(case, config(min_brain_fraction=0.4))
    assert 0 < len(filled.z) < 7
    assert (filled.brains_ZHW.sum(axis=(1, 2)) >= 0.4 * 24 * 16)[[0, -1]].all()


def test_slice_with_lesion_is_never_dropped(case):
    kept = prepare_case(case, config(min_brain_fraction=1.0))
    assert kept.z.tolist() == [3, 4, 5]
    unlabelled = prepare_case(Case("c1", "p1", case.images, brain_mask=case.brain_mask), config(min_brain_fraction=1.0))
    assert len(unlabelled.z) == 1  # the one with the most brain


def test_missing_channel_names_the_case(case):
    with pytest.raises(DataError, match="c1: has no T2 image"):
        prepare_case(case, config(), channels=("FLAIR", "T2"))


def test_channels_come_in_the_order_asked_for(case):
    forth, back = prepare_case(case, config()), prepare_case(case, config(), channels=("T1", "FLAIR"))
    np.testing.assert_array_equal(forth.images_ZCHW, back.images_ZCHW[:, ::-1])


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("T1", lambda data: np.where(data > 190, np.nan, data), "not finite"),
        ("T1", lambda data: np.full_like(data, 3), "one value"),
        ("T1", lambda data: data[:-1], "shape"),
        ("FLAIR", lambda data: np.where(arrays()["brain"] > 0, np.float32(9), np.float32(0)), "one value only inside"),
        ("mask", lambda data: data[:, :-1], "shape"),
    ],
)
def test_unfit_file_is_named(case, tmp_path, name, change, reason):
    write(tmp_path, name, change(arrays()[name]))
    with pytest.raises(DataError, match=rf"{name}\.nii\.gz.*{reason}"):
        prepare_case(case, config())


def test_grid_that_lies_elsewhere_is_refused_and_its_distance_told(case, tmp_path):
    shifted = AFFINE.copy()
    shifted[0, 3] = 5
    write(tmp_path, "T1", arrays()["T1"], shifted)
    with pytest.raises(DataError, match=r"T1\.nii\.gz.*5 mm"):
        prepare_case(case, config())


def test_picture_is_one_slice(tmp_path):
    from PIL import Image

    picture = np.zeros((30, 40), np.uint8)
    picture[5:25, 8:30] = generator_for(1).integers(100, 200, (20, 22))
    Image.fromarray(picture).save(tmp_path / "a.png")
    prepared = prepare_case(
        Case("a", "a", {"grey": ImageRef(tmp_path / "a.png")}), PrepareConfig.build({"size": (32, 40)})
    )
    assert prepared.images_ZCHW.shape == (1, 1, 32, 40)
    restored = prepared.images_ZCHW[0, 0] * prepared.intensity["grey"]["sd"] + prepared.intensity["grey"]["mean"]
    np.testing.assert_allclose(restored[1:31], picture, atol=1e-3)
    assert prepared.z_fraction.tolist() == [0.5]


@given(st.floats(-25, 25))
def test_unit_map_is_inverted(z):
    array = np.array([z])
    np.testing.assert_allclose(from_unit(to_unit(array)), array, atol=1e-5)
    tensor = torch.tensor([z], dtype=torch.float64)
    np.testing.assert_allclose(to_unit(tensor).numpy(), to_unit(array), rtol=1e-12)
    np.testing.assert_allclose(from_unit(to_unit(tensor)).numpy(), array, atol=1e-5)


def test_unit_map_stays_finite_at_its_ends():
    ends = np.array([-1.0, 1.0, 5.0], np.float32)
    assert np.isfinite(from_unit(ends)).all()
    assert torch.isfinite(from_unit(torch.tensor(ends))).all()
    np.testing.assert_allclose(from_unit(ends)[1:], 4 * np.arctanh(1 - 1e-6), rtol=0.02)


def test_numpy_values_never_load_torch():
    code = """
import sys, numpy
from labelgan.data.prepare.case import from_unit, to_unit
from_unit(to_unit(numpy.ones(3)))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
