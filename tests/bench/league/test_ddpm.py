"""The diffusion model of the league."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bench.league.ddpm import DdpmConfig, denoise, sample_ddpm, train_ddpm
from labelgan import api
from labelgan.core.errors import LeakError
from labelgan.data.layouts.detect import read_cohort
from labelgan.seg.train import train_segmenter
from tiny import tiny_seg_config

TINY = DdpmConfig(channels=(8, 8), attention=(False, True), head=8, groups=4, batch_size=4, sampling_steps=4)


@pytest.fixture(scope="module")
def run(phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("ddpm") / "run"
    assert train_ddpm(phantom_store, out, TINY, seconds=0.0, exclude=["P001"], device="cpu").steps == 1
    return out


@pytest.fixture(scope="module")
def cohort(run):
    return sample_ddpm(run, run.parent / "cohort", 6, seed=3, device="cpu")


class Knows(torch.nn.Module):
    """The best velocity there is where all slices are one: v = (√ᾱ x − x₀) / √(1 − ᾱ)."""

    def __init__(self, slice_CHW: torch.Tensor, kept: torch.Tensor) -> None:
        super().__init__()
        self.slice, self.kept = slice_CHW, kept

    def forward(self, images_NCHW: torch.Tensor, level_N: torch.Tensor) -> torch.Tensor:
        kept = self.kept[level_N][:, None, None, None]
        return (kept.sqrt() * images_NCHW - self.slice) / (1 - kept).sqrt()


def test_denoising_with_the_best_velocity_ends_at_the_slice():
    from monai.networks.schedulers.ddpm import DDPMScheduler

    slice_CHW = torch.linspace(-0.9, 0.9, 3 * 8 * 8).reshape(3, 8, 8)
    network = Knows(slice_CHW, DDPMScheduler(1000, schedule="cosine").alphas_cumprod)
    found = denoise(network, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), DdpmConfig())
    assert torch.allclose(found, slice_CHW.expand(2, -1, -1, -1), atol=1e-4)


def test_check_accepts_the_samples(cohort):
    report = api.check(cohort)
    assert report.ok
    assert sum(case.mask is not None for case in report.cohort.cases) == 6


def test_a_sample_does_not_depend_on_how_many_there_are(run, cohort, tmp_path):
    fewer = sample_ddpm(run, tmp_path / "cohort", 5, seed=3, device="cpu")
    other = sample_ddpm(run, tmp_path / "other", 1, seed=4, device="cpu")
    name = "images/syn000004.npz"
    with np.load(cohort / name) as one, np.load(fewer / name) as two:
        np.testing.assert_allclose(one["pixels"], two["pixels"], atol=1e-4)
    with np.load(cohort / "images/syn000000.npz") as one, np.load(other / "images/syn000000.npz") as two:
        assert np.abs(one["pixels"] - two["pixels"]).mean() > 0.01


def test_its_samples_tell_whom_they_were_made_from(cohort, phantom_store, tmp_path):
    seen = read_cohort(cohort).manifest.seen
    assert seen is not None
    assert {case.patient for case in seen.own} == {case.patient for case in phantom_store.cases} - {"P001"}
    assert len(read_cohort(cohort).cases) == len(json.loads((cohort / "manifest.json").read_text())["samples"])
    config = tiny_seg_config("li2018", "train.steps=2", "train.members=1")
    train_segmenter(phantom_store, tmp_path / "fits", config, synthetic=cohort, exclude=["P001"])
    with pytest.raises(LeakError, match="held-out"):
        train_segmenter(phantom_store, tmp_path / "leaks", config, synthetic=cohort, exclude=["P002"])
