from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from labelgan.core.errors import DataError
from labelgan.data.export.write import nifti_bytes
from labelgan.data.layouts.detect import read_cohort
from labelgan.report.overlays import FALSE_ALARM_RGB, HIT_RGB, MISS_RGB, draw_overlay, write_overlays
from labelgan.scoring.files import score_paths


def coloured(pixels: np.ndarray) -> dict[str, int]:
    names = {"hit": HIT_RGB, "miss": MISS_RGB, "false alarm": FALSE_ALARM_RGB}
    return {name: int((pixels == colour).all(axis=-1).sum()) for name, colour in names.items()}


@pytest.fixture
def predictions(phantom_cohort, tmp_path) -> Path:
    """P001 right, P002 empty, P003 shifted by a voxel."""
    for case in read_cohort(phantom_cohort).cases:
        mask = case.load_mask()
        assert mask is not None
        lesion = (mask.data == 1).astype(np.uint8)
        found = {"P001": lesion, "P002": 0 * lesion, "P003": np.roll(lesion, 1, axis=0)}[case.id]
        path = tmp_path / "predictions" / case.id / "result.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(nifti_bytes(found, mask.affine))
    return tmp_path / "predictions"


def test_the_worst_come_first_and_colours_count_voxels(phantom_cohort, predictions, tmp_path):
    told: list[tuple[int, int, str]] = []
    overlays, failures = write_overlays(
        phantom_cohort, predictions, tmp_path / "out", slices=99, progress=lambda *progress: told.append(progress)
    )
    assert failures == []
    assert [overlay.case for overlay in overlays] == ["P002", "P003", "P001"]
    assert [overlay.path.name for overlay in overlays] == ["001_P002.png", "002_P003.png", "003_P001.png"]
    scores = {row.case: row.scores.dsc for row in score_paths(phantom_cohort, predictions).rows}
    for overlay in overlays:
        assert overlay.dsc == pytest.approx(scores[overlay.case])
        counts = coloured(np.asarray(Image.open(overlay.path)))
        assert counts == {"hit": overlay.hits, "miss": overlay.misses, "false alarm": overlay.false_alarms}
    assert overlays[0].hits == overlays[2].misses == 0
    assert min(overlays[1].misses, overlays[1].false_alarms) > 0
    assert told[-1] == (3, 3, "P003")


def test_the_scan_is_shown_untouched_above():
    image = np.random.default_rng(0).normal(size=(3, 10, 12))
    hits, misses, alarms = np.zeros((3, 3, 10, 12), bool)
    hits[1, 2, 3] = misses[1, 2, 4] = alarms[1, 2, 5] = True
    pixels = draw_overlay(image, hits, misses, alarms, slices=1)
    assert pixels.shape == (22, 12, 3)
    assert [tuple(pixels[12 + 2, x]) for x in (3, 4, 5)] == [HIT_RGB, MISS_RGB, FALSE_ALARM_RGB]
    marked = np.zeros((10, 12), bool)
    marked[2, 3:6] = True
    assert np.array_equal(pixels[:10][~marked], pixels[12:][~marked])
    assert (pixels[:10] == pixels[:10, :, :1]).all()


def test_slices_with_most_errors_are_chosen():
    image, empty = np.zeros((5, 8, 8)), np.zeros((5, 8, 8), bool)
    image += np.arange(5)[:, None, None]
    misses, hits = empty.copy(), empty.copy()
    misses[4, :2], misses[1, :1] = True, True
    hits[3, :3] = True

    def greys(slices: int, *parts: np.ndarray) -> list[int]:
        return draw_overlay(image, *parts, slices=slices)[0, :: 8 + 2, 0].tolist()

    assert greys(2, hits, misses, empty) == [0, 255]  # 1 and 4
    assert len(greys(3, hits, misses, empty)) == 3
    assert len(set(greys(3, empty, empty, empty))) == 3  # none has any: the middle ones


def test_colours_differ_in_brightness_too():
    """Read in grey, the three are still three: by at least 30 of 255 (Rec. 709 luma)."""
    luma = sorted(float(np.dot(colour, (0.2126, 0.7152, 0.0722))) for colour in (HIT_RGB, MISS_RGB, FALSE_ALARM_RGB))
    assert min(np.diff(luma)) > 30


def test_empty_on_both_sides_is_right(phantom_cohort, tmp_path):
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    for path in cohort.glob("*/*/wmh.nii.gz"):
        mask = nib.load(path)  # pyright: ignore[reportPrivateImportUsage]
        path.write_bytes(nifti_bytes(np.zeros(mask.shape, np.uint8), mask.affine))  # pyright: ignore
        target = tmp_path / "p" / path.parent.name / "result.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    overlays, failures = write_overlays(cohort, tmp_path / "p", tmp_path / "out")
    assert failures == []
    assert [overlay.dsc for overlay in overlays] == [1.0] * 3


def test_what_cannot_be_drawn_is_named(phantom_cohort, predictions, tmp_path):
    (predictions / "P001" / "result.nii.gz").write_bytes(nifti_bytes(np.zeros((4, 4, 4), np.uint8), np.eye(4)))
    (predictions / "P002" / "result.nii.gz").write_bytes(b"nothing")
    overlays, failures = write_overlays(phantom_cohort, predictions, tmp_path / "out")
    assert [overlay.case for overlay in overlays] == ["P003"]
    assert [case for case, _ in failures] == ["P001", "P002"]
    assert "shape (4, 4, 4) differs from the reference's (48, 48, 12)" in str(failures[0][1])
    with pytest.raises(DataError):
        write_overlays(phantom_cohort, tmp_path / "nowhere", tmp_path / "out")
