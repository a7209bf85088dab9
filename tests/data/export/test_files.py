from __future__ import annotations

import json

import numpy as np
import pytest
from nibabel import nifti1
from trees import AFFINE

from labelgan.core.errors import ConfigError
from labelgan.data.export.files import require_flair_t1, write_json, write_nifti, write_table


def test_nifti_in_new_folders(tmp_path):
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_nifti(tmp_path / "a" / "b" / "c.nii.gz", volume, AFFINE)
    image = nifti1.load(tmp_path / "a" / "b" / "c.nii.gz")
    assert np.array_equal(np.asanyarray(image.dataobj), volume)
    np.testing.assert_allclose(np.asarray(image.affine), AFFINE)


def test_json_has_no_numbers_that_are_none(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))


def test_tables_say_where_nothing_is_known(tmp_path):
    write_table(tmp_path / "t.tsv", [{"id": "a", "site": "x"}, {"id": "b", "site": ""}])
    assert (tmp_path / "t.tsv").read_text() == "id\tsite\na\tx\nb\tn/a\n"


def test_other_channels_are_named():
    require_flair_t1("wmh", ("T1", "FLAIR"))
    with pytest.raises(ConfigError, match=r"^--format wmh: holds FLAIR and T1, not FLAIR, PD; use nnunet, png or npz$"):
        require_flair_t1("wmh", ("FLAIR", "PD"))
