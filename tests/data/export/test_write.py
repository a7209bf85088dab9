from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from PIL import Image

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.rng import generator_for
from labelgan.data.check.integrity import check_cohort
from labelgan.data.export.write import EXPORTERS, CohortFacts, LabelledSlice, export_cohort, nifti_bytes
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.case import to_unit

FACTS = CohortFacts(("FLAIR", "T1"), (16, 24), (3.0, 1.25, 0.75))
HALF_A_STEP = 0.5 + 1e-3
"""How far a grey level may be from its value: the nearest one, but for the rounding of tanh."""


def a_slice(identifier: str, channels: int = 2, lesion: bool = True) -> LabelledSlice:
    rng = generator_for(0, identifier)
    z_scores = rng.normal(size=(channels, 16, 24)).astype(np.float32)
    mask = np.zeros((16, 24), np.uint8)
    if lesion:
        mask[3:6, 10:14] = 1
    return LabelledSlice(identifier, np.maximum(z_scores * 30 + 100, 0), z_scores, mask)


def export(format: str, out, *slices: LabelledSlice, facts: CohortFacts = FACTS) -> None:
    export_cohort(format, slices, out, facts, lambda: {"kind": "synthetic-slices", "more": [1]})


def is_on_disk(root: Path, identifier: str) -> bool:
    return any(path.is_file() and identifier in path.relative_to(root).as_posix() for path in root.rglob("*"))


def channels_of(count: int) -> CohortFacts:
    return CohortFacts(tuple(f"C{i}" for i in range(count)), (16, 24), (3.0, 1.25, 0.75))


@pytest.mark.parametrize("format", EXPORTERS)
def test_what_is_written_reads_back_as_it_was(tmp_path, format):
    slices = [a_slice("a1"), a_slice("b2")]
    export(format, tmp_path / "out", *slices)
    report = check_cohort(tmp_path / "out")
    assert report.ok, report.problems
    cases = sorted(report.cohort.cases, key=lambda case: case.id)
    for case, written in zip(cases, slices, strict=True):
        assert written.id in case.id
        mask = case.load_mask()
        assert mask is not None
        assert np.array_equal(mask.data[:, :, 0].T, written.mask_HW)
        for number, channel in enumerate(case.images):
            volume = case.load_image(channel)
            stored = volume.data[:, :, 0].T.astype(np.float64)
            exact = (written.z_scores_CHW if format in ("png", "npz") else written.images_CHW)[number]
            if format == "png":  # 8 bits of a map of its own
                assert np.abs(stored - (to_unit(exact) + 1) * 127.5).max() <= HALF_A_STEP
            else:
                np.testing.assert_allclose(stored, exact, rtol=1e-6)


@pytest.mark.parametrize("format", ["wmh", "bids", "nnunet", "npz"])
def test_geometry_survives(tmp_path, format):
    export(format, tmp_path / "out", a_slice("a1"))
    (case,) = read_cohort(tmp_path / "out").cases
    volume = case.load_image(next(iter(case.images)))
    assert volume.data.shape == (24, 16, 1)
    np.testing.assert_allclose(volume.affine, FACTS.affine, atol=1e-6)


def test_the_affine_is_centred_and_points_left_and_back():
    affine = FACTS.affine
    # columns run to the patient's left, rows to the back, as radiologists look at a slice
    assert nib.aff2axcodes(affine) == ("L", "P", "S")
    np.testing.assert_allclose(voxel_sizes(affine), (0.75, 1.25, 3.0))
    np.testing.assert_allclose(affine @ [(24 - 1) / 2, (16 - 1) / 2, 0, 1], [0, 0, 0, 1], atol=1e-12)


def test_pictures_hold_the_generators_own_map_of_z_scores(tmp_path):
    written = a_slice("a1")
    export("png", tmp_path, written, facts=channels_of(2))
    folder_of_channel = sorted(path for path in tmp_path.rglob("*.png") if "mask" not in path.as_posix())
    expected = (to_unit(written.z_scores_CHW) + 1) * 127.5
    planes = []
    for path in folder_of_channel:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        planes += [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))
    assert len(planes) == 2
    for plane, wanted in zip(planes, expected, strict=True):
        assert np.abs(plane - wanted).max() <= HALF_A_STEP
    (mask,) = tmp_path.rglob("masks/*.png")
    with Image.open(mask) as picture:
        assert np.array_equal(np.asarray(picture), written.mask_HW * 255)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("format", ["nnunet", "png", "npz"])
def test_one_to_four_channels(tmp_path, format, count):
    export(format, tmp_path / "out", a_slice("a1", count), a_slice("b2", count), facts=channels_of(count))
    report = check_cohort(tmp_path / "out")
    assert report.ok, report.problems
    assert [len(case.images) for case in report.cohort.cases] == [count, count]


@pytest.mark.parametrize("format", ["wmh", "bids"])
def test_layouts_of_flair_and_t1_hold_nothing_else(tmp_path, format):
    for channels in (("FLAIR",), ("T1",), ("T1", "FLAIR")):
        facts = CohortFacts(channels, (16, 24), (3.0, 1.0, 1.0))
        export(format, tmp_path / "-".join(channels), a_slice("a1", len(channels)), facts=facts)
    with pytest.raises(ConfigError, match=rf"^--format {format}: holds FLAIR and T1, not FLAIR, T2"):
        export(format, tmp_path / "no", a_slice("a1"), facts=CohortFacts(("FLAIR", "T2"), (16, 24), (3.0, 1.0, 1.0)))


@pytest.mark.parametrize("ids", [("../x",), ("a/b",), ("",), ("..",), ("a", "a"), ("a" * 65,)])
def test_ids_that_are_unsafe_or_come_twice_are_refused(tmp_path, ids):
    with pytest.raises(DataError, match="is unsafe or comes twice"):
        export("npz", tmp_path / "out", *(a_slice(identifier) for identifier in ids))
    assert {path.name for path in tmp_path.iterdir()} <= {"out"}
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("format", EXPORTERS)
def test_the_manifest_comes_last_and_tells_what_is_shared(tmp_path, format):
    def manifest() -> dict:
        assert is_on_disk(tmp_path, "a1")
        assert not (tmp_path / "manifest.json").exists()
        return {"kind": "synthetic-slices"}

    export_cohort(format, [a_slice("a1")], tmp_path, FACTS, manifest)
    told = json.loads((tmp_path / "manifest.json").read_text())
    (sample,) = told.pop("samples")
    assert sample["id"] == "a1"
    assert len(sample["sha256"]) == 64
    assert told.pop("guard")["version"] == 1
    assert told == {
        "format": 1,
        "layout": EXPORTERS[format].layout,
        "channels": ["FLAIR", "T1"],
        "size": [16, 24],
        "spacing_mm": [3.0, 1.25, 0.75],
        "kind": "synthetic-slices",
    }


def test_slices_are_written_as_they_come(tmp_path):
    """Memory holds one slice: the second is asked for when the first is on disk."""

    def slices():
        yield a_slice("a1")
        assert is_on_disk(tmp_path, "a1")
        yield a_slice("b2")

    export_cohort("npz", slices(), tmp_path, FACTS, dict)
    assert is_on_disk(tmp_path, "b2")


def test_a_nifti_says_nothing_but_its_geometry():
    volume, affine = np.arange(24, dtype=np.float32).reshape(2, 3, 4), FACTS.affine
    content = nifti_bytes(volume, affine)
    assert content == nifti_bytes(np.asfortranarray(volume), affine)
    # gzip: no file name, no time
    assert content[3] == 0
    assert content[4:8] == bytes(4)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    assert np.array_equal(np.asanyarray(image.dataobj), volume)
    assert np.array_equal(np.asarray(image.affine), affine)
    np.testing.assert_allclose(np.asarray(image.get_qform(), dtype=float), affine, atol=1e-6)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        assert image.header[field].item() == b""
    assert image.header.get_xyzt_units()[0] == "mm"


def test_masks_without_lesion_are_written_as_such(tmp_path):
    export("wmh", tmp_path / "out", a_slice("a1"), a_slice("b2", lesion=False))
    report = check_cohort(tmp_path / "out")
    assert report.ok, report.problems
    assert sorted(facts.lesion_voxels or 0 for facts in report.facts) == [0, 12]
