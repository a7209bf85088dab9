from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mixes import FACTS, a_slice, a_volume

from labelgan.data.export.monai import DATALIST, MonaiWriter, fold_datalist
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume, Origin

# monai's front warns of what it imports
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def write(root, *volumes: LabelledVolume, origin: Origin = "real", folds: tuple[Fold, ...] = ()) -> None:
    writer = MonaiWriter(root, ExportFacts(("FLAIR", "T1"), origin))
    for volume in volumes:
        writer.write(volume)
    writer.end(folds)


def test_monais_own_loader_reads_the_datalists_and_the_files(tmp_path):
    from monai.data.decathlon_datalist import load_decathlon_datalist
    from monai.transforms.compose import Compose
    from monai.transforms.io.dictionary import LoadImaged
    from monai.transforms.utility.dictionary import EnsureChannelFirstd

    slice_ = LabelledVolume.of_slice(a_slice("s1"), FACTS)
    volumes = [a_volume("p1"), a_volume("p2"), slice_, a_volume("p3", split="test")]
    write(tmp_path, *volumes, origin="mixed", folds=(Fold(("p2", "s1"), ("p1",)),))
    everything = load_decathlon_datalist(str(tmp_path / DATALIST), data_list_key="training")
    assert [item["id"] for item in everything] == ["p1", "p2", "s1"]
    assert [item["synthetic"] for item in everything] == [False, False, True]
    fold = tmp_path / fold_datalist(0)
    names = {
        key: [item["id"] for item in load_decathlon_datalist(str(fold), True, key)] for key in ("training", "test")
    }
    assert names == {"training": ["p2", "s1"], "test": ["p3"]}
    (validated,) = load_decathlon_datalist(str(fold), True, "validation")
    keys = ["image", "label"]
    loaded: Any = Compose([LoadImaged(keys), EnsureChannelFirstd("label")])(validated)
    axial = a_volume("p1").axial()
    for channel, name in enumerate(("FLAIR", "T1")):
        assert np.array_equal(np.asarray(loaded["image"][channel]), axial.images[name])
    assert axial.mask_XYZ is not None
    assert np.array_equal(np.asarray(loaded["label"][0]), axial.mask_XYZ)
    np.testing.assert_allclose(np.asarray(loaded["image"].affine), axial.affine, atol=1e-6)
    assert validated["patient"] == "p1"


def test_cases_without_a_mask_are_for_test(tmp_path):
    from monai.data.decathlon_datalist import load_decathlon_datalist

    write(tmp_path, a_volume("p1"), a_volume("p2", mask_XYZ=None))
    (item,) = load_decathlon_datalist(str(tmp_path / DATALIST), False, "test")
    assert (item["id"], "label" in item) == ("p2", False)
