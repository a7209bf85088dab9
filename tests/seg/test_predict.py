from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from torch import nn

from labelgan.config.base import PrepareConfig
from labelgan.config.seg import SegConfig, SegPredictConfig
from labelgan.core.errors import CheckpointError, ConfigError, DataError
from labelgan.data.case import Case
from labelgan.data.check.seen import sealed_model
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.store import SliceStore
from labelgan.data.volume import ImageRef
from labelgan.seg.predict import Ensemble, manifest_facts, to_lesions


class Bright(nn.Module):
    """A network that finds what is bright in the first channel: sure above z = 1."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return 20 * (images_NCHW[:, :1] - 1)


class Constant(nn.Module):
    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logit = float(np.log(probability / (1 - probability)))

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images_NCHW[:, :1], self.logit)


class LeftHalf(nn.Module):
    """Sure of the columns before the middle."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(images_NCHW[:, :1], -20)
        logits[..., : logits.shape[-1] // 2] = 20
        return logits


def ensemble_of(*networks: nn.Module, prepare: PrepareConfig | None = None, **predict) -> Ensemble:
    config = SegConfig(predict=SegPredictConfig(**predict))
    prepare = prepare or PrepareConfig.build({"size": (48, 48)})
    return Ensemble(list(networks), ("FLAIR", "T1"), prepare, config, torch.device("cpu"))


@pytest.fixture(scope="module")
def case(phantom_cohort) -> Case:
    return read_cohort(phantom_cohort).cases[2]


def test_probabilities_are_the_members_mean_whatever_the_batch():
    images = np.zeros((5, 2, 32, 32), np.float32)
    for batch_size in (1, 2, 8):
        ensemble = ensemble_of(Constant(0.2), Constant(0.9), Constant(0.7), batch_size=batch_size)
        probability = ensemble.probabilities(images)
        assert (probability.shape, probability.dtype) == ((5, 32, 32), np.float32)
        np.testing.assert_allclose(probability, 0.6, rtol=1e-5)


def test_flips_average_over_the_mirror_image():
    images = np.zeros((2, 2, 32, 32), np.float32)
    plain = ensemble_of(LeftHalf()).probabilities(images)
    assert (plain[..., :16] > 0.99).all()
    assert (plain[..., 16:] < 0.01).all()
    np.testing.assert_allclose(ensemble_of(LeftHalf(), flips=True).probabilities(images), 0.5, atol=1e-6)


def test_a_bright_mask_lies_where_the_scan_is_bright(case):
    """The way back to the native grid: what is found is found where it is."""
    prediction = ensemble_of(Bright(), emptied=0).predict(case)
    flair, mask = case.load_image("FLAIR").data, prediction.mask_XYZ
    assert mask.shape == flair.shape
    looked_at = prediction.probability_XYZ.any(axis=(0, 1))
    assert looked_at.sum() >= 6
    assert (
        flair[..., looked_at][mask[..., looked_at] == 1].min() > flair[..., looked_at][mask[..., looked_at] == 0].max()
    )


def stored_as(case: Case, axes: str, folder: Path) -> Case:
    """The same scan with its axes in another order and direction."""
    images = {}
    for name, ref in case.images.items():
        image = nib.load(ref.path)  # pyright: ignore[reportPrivateImportUsage]
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))  # pyright: ignore
        path = folder / f"{name}.nii.gz"
        nib.save(image.as_reoriented(turn), path)  # pyright: ignore
        images[name] = ImageRef(path)
    return dataclasses.replace(case, images=images, mask=None)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "ARI"])
@pytest.mark.parametrize("spacing", [None, 4.0])
def test_the_grid_is_the_inputs_and_the_voxels_the_same_patients(case, tmp_path, axes, spacing):
    prepare = PrepareConfig.build({"size": (64, 64), "spacing_mm": spacing})
    turned = stored_as(case, axes, tmp_path)
    prediction = ensemble_of(Bright(), prepare=prepare).predict(turned)
    image = nib.load(turned.images["FLAIR"].path)  # pyright: ignore[reportPrivateImportUsage]
    assert prediction.mask_XYZ.shape == image.shape  # pyright: ignore
    np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)  # pyright: ignore
    straight = ensemble_of(Bright(), prepare=prepare).predict(case)
    assert straight.mask_XYZ.any()

    back = ornt_transform(io_orientation(prediction.affine), io_orientation(straight.affine))
    there, here = (np.nan_to_num(found.probability_XYZ) for found in (prediction, straight))
    there = apply_orientation(there, back)
    # sums in another order round another way, and the network is steep: a z-score of float16 moves by up to 0.002
    np.testing.assert_allclose(there, here, atol=0.02)
    sure = np.abs(here - 0.45) > 0.02
    assert sure.mean() > 0.95
    assert np.array_equal(apply_orientation(prediction.mask_XYZ, back)[sure], straight.mask_XYZ[sure])


class Broken(nn.Module):
    """A network whose weights overflowed."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images_NCHW[:, :1], torch.nan)


def test_a_network_that_gives_nan_is_told_of_and_leaves_no_empty_mask(case):
    with pytest.raises(DataError, match="P003: the networks give no probabilities but NaN"):
        ensemble_of(Constant(0.9), Broken()).predict(case)


class Counting(Constant):
    def __init__(self) -> None:
        super().__init__(0.9)
        self.slices = 0

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        self.slices += len(images_NCHW)
        return super().forward(images_NCHW)


def test_the_networks_do_not_look_at_slices_that_are_emptied(case):
    prepare = PrepareConfig.build({"size": (48, 48), "drop_empty": False})
    for emptied, looked_at in ((0, 12), (0.125, 10), (0.25, 6)):
        network = Counting()
        prediction = ensemble_of(network, prepare=prepare, emptied=emptied).predict(case)
        assert network.slices == looked_at
        assert (prediction.probability_XYZ.max(axis=(0, 1)) > 0.8).sum() == looked_at


def found_slices(volume_XYZ: np.ndarray) -> list[bool]:
    return np.any(volume_XYZ, axis=(0, 1)).tolist()  # pyright: ignore[reportReturnType]


def test_the_ends_are_emptied(case):
    whole = found_slices(ensemble_of(Constant(0.9), emptied=0).predict(case).mask_XYZ)
    found = ensemble_of(Constant(0.9), emptied=0.25).predict(case)
    assert sum(whole) > 6
    assert found_slices(found.mask_XYZ) == [False] * 3 + whole[3:-3] + [False] * 3
    assert found_slices(found.probability_XYZ) == found_slices(found.mask_XYZ)


def test_every_slice_is_predicted_though_training_took_some(case):
    thinned = PrepareConfig.build({"size": (48, 48), "every": 3})
    assert np.array_equal(
        ensemble_of(Bright(), prepare=thinned).predict(case).mask_XYZ, ensemble_of(Bright()).predict(case).mask_XYZ
    )


def test_an_expert_mask_is_not_looked_at(case, tmp_path):
    broken = tmp_path / "wmh.nii.gz"
    broken.write_bytes(b"not a mask")
    found = ensemble_of(Bright()).predict(dataclasses.replace(case, mask=ImageRef(broken)))
    assert np.array_equal(found.mask_XYZ, ensemble_of(Bright()).predict(case).mask_XYZ)


def test_thresholds_and_small_lesions():
    probability = np.zeros((8, 8, 4), np.float32)
    probability[1, 1, 1], probability[2, 2, 2] = 0.9, 0.46  # joined by a corner
    probability[6, 6, 1] = 0.8
    probability[5, 1, 3] = 0.45
    assert to_lesions(probability, SegPredictConfig()).sum() == 3
    assert to_lesions(probability, SegPredictConfig(threshold=0.5)).sum() == 2
    kept = to_lesions(probability, SegPredictConfig(min_voxels=2))
    assert (kept.dtype, int(kept.sum())) == (np.uint8, 2)
    assert not kept[6, 6, 1]
    assert to_lesions(probability, SegPredictConfig(min_voxels=3)).sum() == 0


# Loading


def test_a_trained_ensemble_predicts_what_its_slices_say(tiny_segmenter, phantom_store, phantom_cohort):
    """Scan to slices to probabilities is the store's way: the same slices give the same numbers."""
    ensemble = Ensemble.load(tiny_segmenter, settings=["predict.emptied=0"])
    assert len(ensemble.networks) == 2
    case = read_cohort(phantom_cohort).cases[0]
    expected = ensemble.probabilities(phantom_store.volume("P001").images_NCHW)
    prediction = ensemble.predict(case)
    assert np.array_equal(
        prediction.probability_XYZ, phantom_store.to_native("P001", expected, order="image"), equal_nan=True
    )
    assert not prediction.trained_on
    assert ensemble.predict(read_cohort(phantom_cohort).cases[1]).trained_on


def test_early_weights_are_another_answer(tiny_segmenter, phantom_store):
    images = phantom_store.volume("P001").images_NCHW
    final, early = (
        Ensemble.load(tiny_segmenter, settings=settings).probabilities(images)
        for settings in ((), ["predict.early=true"])
    )
    assert not np.array_equal(final, early)


def test_what_cannot_be_loaded_is_told(tiny_segmenter, tmp_path):
    with pytest.raises(ConfigError, match=r"^--set train\.lr=1: is settled by the training; only predict"):
        Ensemble.load(tiny_segmenter, settings=["train.lr=1"])
    with pytest.raises(ConfigError, match=r"unknown setting 'predict\.treshold'"):
        Ensemble.load(tiny_segmenter, settings=["predict.treshold=1"])
    out = tmp_path / "seg"
    shutil.copytree(tiny_segmenter, out)
    (out / "members/1/early.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"early\.safetensors: is not there: training kept no early weights"):
        Ensemble.load(out, settings=["predict.early=true"])
    shutil.copy(out / "members/1/weights.safetensors", out / "members/0/weights.safetensors")
    with pytest.raises(CheckpointError, match=r"members/0/weights\.safetensors: its SHA-256 is not the one in the"):
        Ensemble.load(out)
    shutil.copy(out / "members/0/weights.safetensors", out / "members/0/early.safetensors")
    with pytest.raises(CheckpointError, match=r"members/0/early\.safetensors: its SHA-256 is not the one in the"):
        Ensemble.load(out, settings=["predict.early=true"])
    shutil.copy(out / "config.toml", out / "members/0/weights.safetensors")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["members"][0].pop("sha256")
    (out / "manifest.json").write_text(json.dumps(sealed_model(manifest)))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: is not a whole safetensors file"):
        Ensemble.load(out)
    text = (out / "manifest.json").read_text().replace('"complete"', '"training"')
    (out / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"not complete \(status: training\); go on with segment train --resume"):
        Ensemble.load(out)


def test_a_missing_channel_is_named(tiny_segmenter, case):
    lonely = dataclasses.replace(case, images={"T1": case.images["T1"]})
    with pytest.raises(DataError, match=r"^P003: has no FLAIR image$"):
        Ensemble.load(tiny_segmenter).predict(lonely)


def test_one_channel_is_enough(phantom_cohort, tmp_path):
    from labelgan.data.prepare.cohort import prepare_store
    from labelgan.seg.train import train_segmenter
    from tiny import tiny_seg_config

    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    for path in cohort.glob("*/*/pre/T1.nii.gz"):
        path.unlink()
    store = prepare_store(cohort, tmp_path / "store", PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0}))
    assert isinstance(store, SliceStore)
    assert store.channels == ("FLAIR",)
    out = train_segmenter(store, tmp_path / "seg", tiny_seg_config("li2018", "train.members=1")).folder
    ensemble = Ensemble.load(out)
    assert ensemble.channels == ("FLAIR",)
    assert ensemble.predict(read_cohort(phantom_cohort).cases[0]).mask_XYZ.shape == (48, 48, 12)


def test_a_predictions_manifest_names_the_segmenters_cases(tiny_segmenter):
    facts = manifest_facts(tiny_segmenter)
    assert [case["id"] for case in facts["training_cases"]] == ["P002", "P003"]
    assert len(facts["members"]) == 2


def test_memory_holds_one_batch_whatever_the_volume():
    seen = []

    class Counting(Constant):
        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            seen.append(len(images_NCHW))
            return super().forward(images_NCHW)

    ensemble_of(Counting(0.5), batch_size=3).probabilities(np.zeros((10, 2, 32, 32), np.float32))
    assert seen == [3, 3, 3, 1]


def test_joined_folders_are_one_ensemble(tiny_segmenter: Path, phantom_cohort: Path) -> None:
    case = read_cohort(phantom_cohort).cases[0]
    alone = Ensemble.load(tiny_segmenter, device="cpu").predict(case)
    twice = Ensemble.load_joined([tiny_segmenter, tiny_segmenter], device="cpu")
    assert len(twice.networks) == 2 * len(Ensemble.load(tiny_segmenter, device="cpu").networks)
    np.testing.assert_allclose(twice.predict(case).probability_XYZ, alone.probability_XYZ, rtol=1e-6, atol=1e-7)
    assert twice.predict(case).trained_on == alone.trained_on
    assert set(alone.known.hashes) == {"FLAIR", "T1"}


def test_joined_folders_are_of_one_preparation(tiny_segmenter: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_segmenter, other)
    text = (other / "prepare.toml").read_text()
    (other / "prepare.toml").write_text(text.replace("spacing_mm = 6.0", "spacing_mm = 5.0"))
    with pytest.raises(CheckpointError, match="another preparation"):
        Ensemble.load_joined([tiny_segmenter, other], device="cpu")
