"""Export as DICOM: a derived MR series for each channel, and a DICOM Segmentation that refers to the first of them.

Everything is built from voxels, geometry and ids; no source header is read. UIDs are fresh: they follow from the
content alone, so that the same case gives the same UIDs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.version import __version__
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION = "seg.dcm"

_LARGEST = 2**16 - 1
_MOST_SKEW = 1e-3  # cosine between axes that a NIfTI's single precision may leave
_SEGMENTS = {LESION: ("Lesion", "52988006", "Lesion"), OTHER_PATHOLOGY: ("Other pathology", "49755003", "Abnormality")}


class DicomWriter:
    """``ID/CHANNEL/000001.dcm`` and on, from the lowest slice up, and ``ID/seg.dcm``."""

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        try:
            import highdicom  # noqa: F401
            import pydicom  # noqa: F401
        except ImportError:
            raise ConfigError("--format dicom", "needs highdicom: pip install 'labelgan[dicom]'") from None
        self.root = root

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's series and its segmentation.

        Raises:
            DataError: the axes are not perpendicular; DICOM has no words for that.
        """
        volume = volume.axial()
        planes = _planes(volume)
        first: list[Dataset] = []
        for number, (channel, image_XYZ) in enumerate(volume.images.items(), start=1):
            series = _series(volume, planes, channel, image_XYZ, number)
            folder = self.root / volume.id / channel
            folder.mkdir(parents=True)
            for instance, dataset in enumerate(series, start=1):
                dataset.save_as(folder / f"{instance:06d}.dcm", enforce_file_format=True)
            first = first or series
        if volume.mask_XYZ is not None:
            _segmentation(volume, first).save_as(self.root / volume.id / SEGMENTATION)

    def end(self, folds: Sequence[Fold]) -> None:
        """Nothing stands around the cases."""


def _uid(volume: LabelledVolume, *role: str | int) -> str:
    """A UUID-derived UID (2.25.…) that follows from the case's id, voxels and geometry, and what it is for."""
    digest = hashlib.sha256("\x1f".join([volume.id, *(str(part) for part in role)]).encode())
    for image_XYZ in volume.images.values():
        digest.update(np.ascontiguousarray(image_XYZ).tobytes())
    digest.update(np.ascontiguousarray(volume.affine, dtype="<f8").tobytes())
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"


def _planes(volume: LabelledVolume) -> dict[str, Any]:
    """Orientation, spacing and positions in DICOM's LPS+, of a volume stored axially."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    column_mm, row_mm, slice_mm = np.linalg.norm(affine[:3, :3], axis=0)
    along_row, along_column, up = (
        affine[:3, axis] / length for axis, length in enumerate((column_mm, row_mm, slice_mm))
    )
    skew = max(abs(along_row @ along_column), abs(along_row @ up), abs(along_column @ up))
    if skew > _MOST_SKEW:
        raise DataError(volume.id, "its axes are not perpendicular, and DICOM slices must be; resample it first")
    along_column = along_column - (along_row @ along_column) * along_row
    along_column /= np.linalg.norm(along_column)
    count = next(iter(volume.images.values())).shape[2]
    return {
        "orientation": [*along_row, *along_column],
        "pixel_mm": [row_mm, column_mm],
        "slice_mm": slice_mm,
        "positions": [(affine @ [0, 0, k, 1])[:3] for k in range(count)],
    }


def _series(
    volume: LabelledVolume, planes: dict[str, Any], channel: str, image_XYZ: np.ndarray, number: int
) -> list[Dataset]:
    stored, slope, intercept = _to_uint16(image_XYZ)
    uid = _uid(volume, "series", channel)
    datasets = []
    for k, position in enumerate(planes["positions"]):
        dataset = _empty_instance(volume, _uid(volume, "instance", channel, k))
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.InstanceNumber = uid, number, k + 1
        dataset.SeriesDescription = channel
        dataset.ImagePositionPatient = _decimals(position)
        dataset.ImageOrientationPatient = _decimals(planes["orientation"])
        dataset.PixelSpacing = _decimals(planes["pixel_mm"])
        dataset.SliceThickness, dataset.SpacingBetweenSlices = _decimals([planes["slice_mm"]] * 2)
        dataset.RescaleSlope, dataset.RescaleIntercept = _decimals([slope, intercept])
        dataset.RescaleType = "US"
        plane_HW = np.ascontiguousarray(stored[:, :, k].T)
        dataset.Rows, dataset.Columns = plane_HW.shape
        dataset.PixelData = plane_HW.astype("<u2").tobytes()
        datasets.append(dataset)
    return datasets


def _empty_instance(volume: LabelledVolume, uid: str) -> Dataset:
    """An MR image without a picture: what all slices of a case share."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, UID(uid)
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, uid
    dataset.SyntheticData = "YES" if volume.synthetic else "NO"
    dataset.PatientID, dataset.PatientName = volume.patient, f"{volume.patient}^"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Built from voxels and geometry alone"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = _uid(volume, "study"), _uid(volume, "frame of reference")
    dataset.StudyDescription = volume.id
    dataset.Modality, dataset.BodyPartExamined = "MR", "HEAD"
    dataset.Manufacturer, dataset.SoftwareVersions = "LabelGAN", __version__
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.DerivationDescription = "Made by a generator from patients" if volume.synthetic else "Export of a scan"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "RM", "NONE", "2D"
    for keyword in (
        *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
        *("ReferringPhysicianName", "PositionReferenceIndicator", "PatientPosition", "Laterality"),
        *("ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength", "InversionTime"),
    ):
        setattr(dataset, keyword, None)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    return dataset


def _to_uint16(image_XYZ: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Gives stored values, slope and intercept; whole numbers up to 65,535 are kept, others are off by half a step."""
    low, high = float(image_XYZ.min()), float(image_XYZ.max())
    if low >= 0 and high <= _LARGEST and np.array_equal(image_XYZ, np.rint(image_XYZ)):
        return image_XYZ.astype(np.uint16), 1.0, 0.0
    slope = (high - low) / _LARGEST or 1.0
    return np.rint((image_XYZ.astype(np.float64) - low) / slope).astype(np.uint16), slope, low


def _decimals(values: Sequence[float] | np.ndarray) -> list[Any]:
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def _segmentation(volume: LabelledVolume, source: list[Dataset]) -> Dataset:
    """A binary segmentation: one segment for lesions, and one for other pathology where there is any."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    assert volume.mask_XYZ is not None
    values = [LESION, *([OTHER_PATHOLOGY] if (volume.mask_XYZ == OTHER_PATHOLOGY).any() else [])]
    made = AlgorithmIdentificationSequence("LabelGAN", codes.cid7162.ArtificialIntelligence, __version__)
    segments = [
        SegmentDescription(
            segment_number=value,
            segment_label=_SEGMENTS[value][0],
            segmented_property_category=CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure"),
            segmented_property_type=CodedConcept(_SEGMENTS[value][1], "SCT", _SEGMENTS[value][2]),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC
            if volume.synthetic
            else SegmentAlgorithmTypeValues.MANUAL,
            algorithm_identification=made if volume.synthetic else None,
        )
        for value in values
    ]
    return Segmentation(
        source_images=source,
        pixel_array=np.ascontiguousarray(volume.mask_XYZ.transpose(2, 1, 0), dtype=np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=_uid(volume, "segmentation series"),
        series_number=len(volume.images) + 1,
        sop_instance_uid=_uid(volume, "segmentation"),
        instance_number=1,
        manufacturer="LabelGAN",
        manufacturer_model_name="labelgan export",
        software_versions=__version__,
        device_serial_number="none",
        content_label="LESIONS",
        content_description="Lesion masks exported by LabelGAN",
        omit_empty_frames=False,
    )
