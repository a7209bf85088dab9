from __future__ import annotations

import numpy as np
import pytest
from mixes import a_volume
from PIL import Image

from labelgan.data.export.pairs import NpzWriter, PngWriter, channel_marks
from labelgan.data.export.records import ExportFacts
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.case import to_unit

FACTS = ExportFacts(("FLAIR", "T1"), "real")


@pytest.mark.parametrize("writer", [PngWriter, NpzWriter])
def test_a_scan_is_a_patient_of_many_slices(tmp_path, writer):
    volumes = [a_volume("p1"), a_volume("p2")]
    for volume in volumes:
        writer(tmp_path, FACTS).write(volume)
    (tmp_path / "manifest.json").write_text('{"channels": ["FLAIR", "T1"]}')
    cohort = read_cohort(tmp_path)
    assert cohort.patients == ("p1", "p2")
    for volume in volumes:
        cases = sorted((case for case in cohort.cases if case.patient == volume.patient), key=lambda case: case.id)
        for case, slice_ in zip(cases, volume.axial_slices(), strict=True):
            mask, image = case.load_mask(), case.load_image("T1")
            assert mask is not None
            assert slice_.mask_HW is not None
            assert np.array_equal(mask.data[:, :, 0].T, slice_.mask_HW)
            exact = slice_.z_scores_CHW[1]
            if writer is PngWriter:  # to the nearest grey, but for the rounding of tanh
                assert np.abs(image.data[:, :, 0].T - (to_unit(exact) + 1) * 127.5).max() <= 0.5 + 1e-3
            else:
                np.testing.assert_allclose(image.data[:, :, 0].T, exact)
                np.testing.assert_allclose(image.affine, slice_.affine)


def test_masks_are_white_where_nothing_but_lesions_is_marked(tmp_path):
    PngWriter(tmp_path, FACTS).write(a_volume("p1"))
    values = {}
    for path in sorted((tmp_path / "masks").iterdir()):
        with Image.open(path) as picture:
            values[path.stem] = set(np.unique(np.asarray(picture)).tolist())
    assert values.pop("p1_z000") == {0, 1, 2}  # the slice with other pathology
    assert set.union(*values.values()) == {0, 255}


@pytest.mark.parametrize("writer", [PngWriter, NpzWriter])
def test_without_a_mask_there_is_no_mask_file(tmp_path, writer):
    writer(tmp_path, FACTS).write(a_volume(mask_XYZ=None))
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_marks_are_names_that_readers_know_or_numbers():
    assert channel_marks(["T2"]) == [""]
    assert channel_marks(["FLAIR", "T1"]) == ["_FLAIR", "_T1"]
    assert channel_marks(["FLAIR", "DWI"]) == ["_0000", "_0001"]
