from __future__ import annotations

import sys

import numpy as np
import pytest
from mixes import FACTS, a_slice, a_volume

from labelgan.core.errors import ConfigError, DataError
from labelgan.data.export.dicom import SEGMENTATION, DicomWriter
from labelgan.data.export.records import ExportFacts, LabelledVolume

FACTS_OF_EXPORT = ExportFacts(("FLAIR", "T1"), "mixed")


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"^--format dicom: needs highdicom: pip install 'labelgan\[dicom\]'$"):
        DicomWriter(tmp_path, FACTS_OF_EXPORT)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A scan with both labels and a synthetic slice, written as DICOM."""
    pytest.importorskip("highdicom")
    root = tmp_path_factory.mktemp("dicom")
    volumes = {"p1": a_volume(), "s1": LabelledVolume.of_slice(a_slice("s1"), FACTS)}
    writer = DicomWriter(root, FACTS_OF_EXPORT)
    for volume in volumes.values():
        writer.write(volume)
    writer.end(())
    return root, volumes


def to_lps(affine: np.ndarray) -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize("name", ["p1", "s1"])
@pytest.mark.parametrize("channel", ["FLAIR", "T1"])
def test_images_come_back_with_their_values_and_places(exported, name, channel):
    import pydicom

    root, volumes = exported
    axial = volumes[name].axial()
    image_XYZ = axial.images[channel]
    affine, step = to_lps(axial.affine), (image_XYZ.max() - image_XYZ.min()) / 65535
    files = sorted((root / name / channel).iterdir())
    assert len(files) == image_XYZ.shape[2]
    for k, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        values_HW = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert np.abs(values_HW - image_XYZ[:, :, k].T).max() <= (0 if name == "p1" else 0.51 * step)
        orientation = np.array(dataset.ImageOrientationPatient, float)
        row_mm, column_mm = (float(length) for length in dataset.PixelSpacing)
        np.testing.assert_allclose(orientation[:3] * column_mm, affine[:3, 0], atol=1e-6)
        np.testing.assert_allclose(orientation[3:] * row_mm, affine[:3, 1], atol=1e-6)
        np.testing.assert_allclose(
            np.array(dataset.ImagePositionPatient, float), (affine @ [0, 0, k, 1])[:3], atol=1e-6
        )


@pytest.mark.parametrize("name", ["p1", "s1"])
def test_segmentations_come_back_label_by_label_on_the_images_grid(exported, name):
    import highdicom

    root, volumes = exported
    axial = volumes[name].axial()
    segmentation = highdicom.seg.segread(root / name / SEGMENTATION)
    volume = segmentation.get_volume(combine_segments=True)
    # highdicom's array is [slice, row, column], and may count the slices from the top
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.array.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places = (volume.affine @ np.c_[index, np.ones(len(index))].T).T[:, :3]
    own = np.linalg.inv(to_lps(axial.affine)) @ np.c_[places, np.ones(len(places))].T
    x, y, z = np.rint(own[:3]).astype(int)
    np.testing.assert_allclose(own[:3], [x, y, z], atol=1e-4)
    assert np.array_equal(volume.array.reshape(-1), axial.mask_XYZ[x, y, z])
    assert segmentation.number_of_segments == (2 if name == "p1" else 1)
    assert segmentation.get_segment_description(1).segment_label == "Lesion"


def test_the_segmentation_refers_to_the_first_series(exported):
    import pydicom

    root, _ = exported
    series = [pydicom.dcmread(path) for path in sorted((root / "p1" / "FLAIR").iterdir())]
    segmentation = pydicom.dcmread(root / "p1" / SEGMENTATION)
    (reference,) = segmentation.ReferencedSeriesSequence
    assert reference.SeriesInstanceUID == series[0].SeriesInstanceUID
    assert {entry.ReferencedSOPInstanceUID for entry in reference.ReferencedInstanceSequence} == {
        dataset.SOPInstanceUID for dataset in series
    }
    assert segmentation.StudyInstanceUID == series[0].StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == series[0].FrameOfReferenceUID


def test_files_tell_the_id_and_nothing_else_of_a_patient(exported):
    import pydicom

    root, _ = exported
    for path in root.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        name = path.relative_to(root).parts[0]
        assert (dataset.PatientID, str(dataset.PatientName)) == (name, f"{name}^")
        assert not dataset.PatientBirthDate
        assert not dataset.PatientSex
        assert not dataset.StudyDate
        if dataset.Modality == "MR":
            assert dataset.SyntheticData == ("YES" if name == "s1" else "NO")
            assert dataset.PatientIdentityRemoved == "YES"


def test_uids_are_fresh_for_every_case_and_the_same_for_the_same_one(exported, tmp_path):
    import pydicom

    root, volumes = exported

    def uids(folder):
        return {
            path.relative_to(folder).as_posix(): pydicom.dcmread(path).SOPInstanceUID for path in folder.rglob("*.dcm")
        }

    writer = DicomWriter(tmp_path, FACTS_OF_EXPORT)
    writer.write(volumes["p1"])
    writer.write(a_volume("p2", images=volumes["p1"].images))
    first, again = uids(root), uids(tmp_path)
    assert all(again[name] == uid for name, uid in first.items() if name.startswith("p1"))
    assert len(set(again.values())) == len(again)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in again.values())


def test_sheared_grids_are_refused(tmp_path):
    pytest.importorskip("highdicom")
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(DataError, match=r"^p1: its axes are not perpendicular"):
        DicomWriter(tmp_path, FACTS_OF_EXPORT).write(a_volume(affine=affine))


def test_a_case_without_a_mask_has_no_segmentation(tmp_path):
    pytest.importorskip("highdicom")
    DicomWriter(tmp_path, FACTS_OF_EXPORT).write(a_volume(mask_XYZ=None))
    assert {path.name for path in (tmp_path / "p1").iterdir()} == {"FLAIR", "T1"}
