from __future__ import annotations

import numpy as np
from mixes import FACTS, a_slice, a_volume, scan_mask
from nibabel import nifti1

from labelgan.data.export.records import ExportFacts, LabelledVolume
from labelgan.data.export.wmh import WmhWriter
from labelgan.data.layouts.detect import read_cohort


def test_sites_and_splits_are_the_folders_of_the_published_tree(tmp_path):
    writer = WmhWriter(tmp_path, ExportFacts(("FLAIR", "T1"), "mixed"))
    writer.write(a_volume("p1", site="Utrecht", split="training"))
    writer.write(a_volume("p2", site="GE3T", split="test", mask_XYZ=None))
    writer.write(a_volume("p3"))
    writer.write(LabelledVolume.of_slice(a_slice("s1"), FACTS))
    writer.end(())
    cases = {case.id: case for case in read_cohort(tmp_path).cases}
    assert {name: (case.site, case.split) for name, case in cases.items()} == {
        "p1": ("Utrecht", "training"),
        "p2": ("GE3T", "test"),
        "p3": ("site", None),
        "s1": ("synthetic", None),
    }
    assert cases["p2"].mask is None
    mask = cases["p1"].load_mask()
    assert mask is not None
    assert np.array_equal(mask.data, scan_mask("p1"))  # the 2 of other pathology too
    stored = nifti1.load(tmp_path / "training" / "Utrecht" / "p1" / "wmh.nii.gz")
    assert stored.get_data_dtype() == np.float32
