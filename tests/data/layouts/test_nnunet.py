from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trees import lesion_mask, nnunet_cohort, save, save_picture, voxels

from labelgan.core.errors import DataError
from labelgan.data.layouts.detect import read_cohort


def test_channels_splits_and_labels(tmp_path: Path) -> None:
    nnunet_cohort(tmp_path)
    save(tmp_path / "imagesTs" / "t1_0000.nii.gz", voxels("t1"))
    save(tmp_path / "imagesTs" / "t1_0001.nii.gz", voxels("t1", 1))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("FLAIR", "T1")
    assert [(case.id, case.split, case.mask is None) for case in cohort.cases] == [
        ("c1", "training", False),
        ("c2", "training", False),
        ("t1", "test", True),
    ]
    assert cohort.cases[0].images["FLAIR"].path.name == "c1_0001.nii.gz"
    assert cohort.cases[0].images["T1"].path.name == "c1_0000.nii.gz"
    assert dict(cohort.labels) == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "tumour": 1}, {0: 0, 1: 1}),
        ({"background": 0, "anything": 1}, {0: 0, 1: 1}),
        ({"0": "background", "1": "WMH", "2": "other pathology"}, {0: 0, 1: 1, 2: 2}),
        ({"background": 0, "other": 1, "lesion": 2}, {0: 0, 1: 2, 2: 1}),
        ({"background": 0, "lesion": 1, "ignore": 3}, {0: 0, 1: 1, 3: 2}),
        ({"background": 0, "whole tumor": [1, 2, 3], "core": [2]}, {0: 0, 1: 1, 2: 1, 3: 1}),
        ({"background": 0, "grey matter": 1, "lesion": 2}, {0: 0, 1: 2, 2: 1}),
    ],
)
def test_labels(tmp_path: Path, labels: dict[str, object], expected: dict[int, int]) -> None:
    cohort = read_cohort(nnunet_cohort(tmp_path, labels))
    assert dict(cohort.labels) == expected
    mask = cohort.cases[0].mask
    assert mask is not None
    assert dict(mask.labels) == expected
    assert bool(cohort.notes) == any(name in labels for name in ("core", "grey matter"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "which one is the lesion.*a, b"),
        ({"labels": {"background": 0}}, "which one is the lesion.*none"),
        ({"labels": {"background": 0, "lesion": "x"}}, "whole number"),
        ({"labels": {"background": 0, "lesion": 1.5}}, "whole number"),
        ({"labels": {"background": 0, "lesion": float("inf")}}, "whole number"),  # found by fuzzing
        ({"labels": {"background": 0, "lesion": [1, 10**400]}}, "whole number"),
        ({"labels": None}, "labels is missing"),
        ({"channel_names": {}}, "channel_names"),
        ({"channel_names": {"first": "T1"}}, "no numbers"),
        ({"file_ending": 3}, "file_ending"),
    ],
)
def test_descriptions_that_say_too_little(tmp_path: Path, change: dict, reason: str) -> None:
    path = nnunet_cohort(tmp_path) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=reason) as caught:
        read_cohort(tmp_path)
    assert caught.value.subject == str(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff", "[" * 100_000])
def test_damaged_descriptions(tmp_path: Path, content: str) -> None:
    path = nnunet_cohort(tmp_path) / "dataset.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        read_cohort(tmp_path)
    assert caught.value.subject == str(path)


def test_colour_pictures(tmp_path: Path) -> None:
    colours = (voxels("rgb", shape=(5, 6, 3)) % 250).astype(np.uint8)
    save_picture(tmp_path / "imagesTr" / "a_0000.png", colours)
    save_picture(tmp_path / "labelsTr" / "a.png", (lesion_mask("a", shape=(5, 6)) == 1).astype(np.uint8))
    description = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "lesion": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(description | {"file_ending": ".png"}))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("R", "G", "B")
    np.testing.assert_array_equal(cohort.cases[0].load_image("G").data[..., 0].T, colours[..., 1])
