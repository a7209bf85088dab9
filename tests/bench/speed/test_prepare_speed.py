"""Tests of `prepare_speed`: the plain loop makes the slices that `prepare` makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.speed.prepare_speed import THRESHOLD, fitted, plain_loop, resampled
from labelgan import api


def test_the_plain_loop_makes_the_very_slices(tmp_path: Path) -> None:
    api.phantom(tmp_path / "cohort", 1, 0, shape=(64, 64, 12))
    plain_loop(tmp_path / "cohort", tmp_path / "plain", None)
    (case,) = (path.name.removesuffix("_images.npy") for path in (tmp_path / "plain").glob("*_images.npy"))
    theirs = {what: np.load(tmp_path / "plain" / f"{case}_{what}.npy") for what in ("images", "mask", "brain")}
    given = {"size": (200, 200), "brain_mask": "li2018", "li2018_threshold": THRESHOLD, "drop_empty": False}
    store = api.prepare(tmp_path / "cohort", tmp_path / "store", **given)
    assert len(store) == len(theirs["images"]) == 12
    inside = theirs["brain"].astype(bool)
    # rows and columns run the other way in a store
    assert 0.02 < inside.mean() < 0.08  # the phantom fills a tenth of a slice
    assert np.array_equal(store.brains[:, ::-1, ::-1], theirs["brain"])
    assert np.array_equal(store.masks[:, ::-1, ::-1], theirs["mask"])
    for channel in (0, 1):
        ours = np.asarray(store.images[:, channel, ::-1, ::-1])[inside].astype(np.float32)
        assert np.allclose(ours, theirs["images"][:, channel][inside].astype(np.float32), atol=2e-2)


def test_resampling_keeps_the_field_of_view_and_labels() -> None:
    volume = np.zeros((3, 40, 60), np.float32)
    volume[:, 10:30, 20:50] = 1
    half = resampled(volume, (1.0, 1.0, 3.0), 2.0, label=True)
    assert half.shape == (3, 20, 30)
    assert set(np.unique(half)) == {0.0, 1.0}
    assert half.mean() == volume.mean()


def test_fitting_crops_and_pads_about_the_centre() -> None:
    volume = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)
    out = fitted(volume, (6, 4))
    assert out.shape == (2, 6, 4)
    assert np.array_equal(out[:, 1:5], volume[:, :, 1:5])
    assert (out[:, [0, 5]] == 0).all()
