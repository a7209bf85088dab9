from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelgan.data.case import Cohort
from labelgan.data.export.mix import export_sources
from labelgan.data.export.sources import Source
from real_data import real_cohort

pytestmark = pytest.mark.real


def few(name: str, count: int) -> tuple[Path, list[str], list[str]]:
    """A cohort, some of its case ids, and the others, which are left out."""
    ids = [case.id for case in Cohort.load(real_cohort(name))]
    return real_cohort(name), ids[:count], ids[count:]


@pytest.mark.parametrize("name", ["ms3seg-wmh", "Dataset501_LGG"])
@pytest.mark.parametrize("format", ["wmh", "bids", "nnunet", "monai"])
def test_scans_keep_voxels_labels_and_geometry(name: str, format: str, tmp_path: Path) -> None:
    root, ids, others = few(name, 1 if name == "ms3seg-wmh" else 2)  # of a hundred times the voxels
    export_sources([root], tmp_path / "out", format, exclude=others)
    written = Cohort.load(tmp_path / "out")
    assert len(written) == len(ids)
    for case, identifier in zip(written, ids, strict=True):
        source = Cohort.load(root)[identifier]
        for channel in source.images:
            volume, wanted = case.load_image(channel), source.load_image(channel)
            assert np.array_equal(volume.data, wanted.data)
            np.testing.assert_allclose(volume.affine, wanted.affine, atol=1e-4)
        mask, drawn = case.load_mask(), source.load_mask()
        assert mask is not None
        assert drawn is not None
        assert np.array_equal(mask.data, drawn.data)


@pytest.mark.parametrize("name", ["ms3seg-wmh", pytest.param("open-ms-bids", marks=pytest.mark.drill)])
def test_segmentations_have_every_lesion_voxel(name: str, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    root, ids, others = few(name, 1)
    export_sources([root], tmp_path / "out", "dicom", exclude=others)
    source = Source.open(root)
    case = next(case for case in source.cases if case.id == ids[0])
    mask = case.load_mask()
    assert mask is not None
    volume = highdicom.seg.segread(tmp_path / "out" / ids[0] / "seg.dcm").get_volume(combine_segments=True)
    assert (volume.array == 1).sum() == (mask.data == 1).sum() > 0
    spacing = np.linalg.norm(mask.affine[:3, :3], axis=0)
    assert np.prod(volume.spacing) == pytest.approx(np.prod(spacing), rel=1e-5)
    # the lesions' centre of mass, in mm to the left, to the back and up
    centre = (mask.affine @ [*np.argwhere(mask.data == 1).mean(axis=0), 1])[:3] * [-1, -1, 1]
    seen = (volume.affine @ [*np.argwhere(volume.array == 1).mean(axis=0), 1])[:3]
    np.testing.assert_allclose(seen, centre, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "stripped"), [("ms3seg-wmh", False), ("open-ms-bids", True), ("Dataset501_LGG", False)]
)
def test_whether_the_skull_was_stripped_is_seen(name: str, stripped: bool) -> None:
    from labelgan.data.export.bids import shows_brain_alone

    source = Source.open(real_cohort(name))
    volume, _ = source.read(source.cases[0], source.channels)
    assert shows_brain_alone(volume) == stripped
