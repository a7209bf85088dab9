from __future__ import annotations

import numpy as np
import pytest
from mixes import FACTS, INTENSITY, a_slice, scan_mask, scans, synthetic_cohort
from trees import AFFINE, save, voxels

from labelgan.core.errors import DataError
from labelgan.data.curation import Curation, write_curation
from labelgan.data.export.sources import Source
from labelgan.data.prepare.case import to_unit
from labelgan.data.reading.read import voxel_hash

CHANNELS = ("FLAIR", "T1")


def test_scans_are_read_as_they_are(tmp_path):
    source = Source.open(scans(tmp_path / "scans", ["p1", "p2"]))
    assert (source.synthetic, source.seen, source.channels) == (False, None, CHANNELS)
    volume, known = source.read(source.cases[0], CHANNELS)
    assert (volume.id, volume.patient, volume.site, volume.synthetic) == ("p1", "p1", "Utrecht", False)
    assert np.array_equal(volume.images["T1"], voxels("T1", "p1"))
    assert np.array_equal(volume.mask_XYZ, scan_mask("p1"))  # pyright: ignore
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert known.hashes["T1"] == voxel_hash(source.cases[0].load_image("T1"))
    lesions = source.read(source.cases[0], CHANNELS, keep_other=False)[0].mask_XYZ
    assert lesions is not None
    assert np.array_equal(lesions, np.where(scan_mask("p1") == 2, 0, scan_mask("p1")))


@pytest.mark.parametrize("format", ["wmh", "bids", "nnunet", "monai", "png", "npz"])
def test_synthetic_slices_keep_scale_and_place_whatever_their_format(tmp_path, format):
    seen = scans(tmp_path / "scans", ["p1"])
    source = Source.open(synthetic_cohort(tmp_path / "syn", seen, format=format))
    assert source.synthetic
    assert source.seen is not None
    assert [entry.id for entry in source.seen.own] == ["p1"]
    for number, case in enumerate(source.cases):
        volume, _ = source.read(case, CHANNELS)
        written = a_slice(f"syn{number}")
        np.testing.assert_allclose(volume.affine, FACTS.affine * _signs(format), atol=1e-5)
        assert volume.mask_XYZ is not None
        assert np.array_equal(volume.mask_XYZ[:, :, 0].T, written.mask_HW)
        z_scores = volume.z_scores()[:, :, :, 0].transpose(0, 2, 1)
        step = 4 / 127.5 / (1 - np.abs(to_unit(written.z_scores_CHW)) ** 2)  # of 8 bits, far from 0
        # a NIfTI holds intensities, which are cut off at 0
        exact = np.maximum(written.z_scores_CHW, _floor()) if format not in ("png", "npz") else written.z_scores_CHW
        assert (np.abs(z_scores - exact) < (step if format == "png" else 1e-4)).all()
        for channel, image_HW in zip(CHANNELS, written.images_CHW, strict=True):
            off = np.abs(volume.images[channel][:, :, 0].T - image_HW)
            assert (off < (step * 30 if format == "png" else 1e-3)).all()


def _floor() -> np.ndarray:
    return np.array([-entry["mean"] / entry["sd"] for entry in INTENSITY.values()], np.float32)[:, None, None]


def _signs(format: str) -> np.ndarray:
    """Pictures have no origin."""
    return np.diag([1.0, 1.0, 1.0, 1.0]) if format == "png" else np.ones((4, 4))


def test_rejected_slices_stay_behind(tmp_path):
    root = synthetic_cohort(tmp_path / "syn", None)
    case = next(case for case in Source.open(root).cases if case.id == "syn1")
    write_curation(root, Curation().with_decision(case, "reject"))
    source = Source.open(root)
    assert [case.id for case in source.cases] == ["syn0", "syn2"]
    assert source.seen is None


def test_who_is_excluded_stays_behind_and_known(tmp_path):
    source = Source.open(scans(tmp_path / "scans", ["p1", "p2"]), exclude=["p1"])
    assert [case.id for case in source.cases] == ["p2"]
    assert source.known == {"p1", "p2"}


def test_z_scores_of_scans_are_those_of_prepare(phantom_cohort):
    source = Source.open(phantom_cohort)
    volume, _ = source.read(source.cases[0], CHANNELS)
    z_scores = volume.z_scores()
    for channel, image_XYZ in zip(z_scores, volume.images.values(), strict=True):
        inner = np.abs(channel) < 5
        slope, offset = np.polyfit(image_XYZ[inner], channel[inner], 1)
        np.testing.assert_allclose(channel[inner], slope * image_XYZ[inner] + offset, atol=0.01)
        assert slope > 0


def test_faults_name_the_file(tmp_path):
    root = scans(tmp_path / "scans", ["p1", "p2", "p3"])
    save(root / "Utrecht" / "p1" / "wmh.nii.gz", scan_mask("p1"), AFFINE * 1.5)
    save(root / "Utrecht" / "p2" / "pre" / "T1.nii.gz", voxels("T1", "p2")[:-1])
    broken = voxels("T1", "p3").astype(np.float32)
    broken[0, 0, 0] = np.nan
    save(root / "Utrecht" / "p3" / "pre" / "T1.nii.gz", broken)
    source = Source.open(root)
    said = {"p1": r"wmh\.nii\.gz: its grid lies", "p2": r"T1\.nii\.gz: shape", "p3": r"T1\.nii\.gz: holds values that"}
    for case in source.cases:
        with pytest.raises(DataError, match=said[case.id]):
            source.read(case, CHANNELS)
    with pytest.raises(DataError, match=r"^p1: has no PD image; choose with --channels$"):
        source.read(source.cases[0], ("FLAIR", "PD"))
