"""Scans and masks that are not what they should be: one file of one case of a sound cohort is spoilt."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from faults.ground import CASE, CHECK, FLAIR, MASK, T1, Ground, Kind

Plant = Callable[[Ground], object]


def _cohort(spoil: Callable[[Path], object]) -> Plant:
    def plant(ground: Ground) -> None:
        ground.take("heads", "cohort")
        spoil(ground.root)

    return plant


def _bytes(file: Path, change: Callable[[bytes], bytes]) -> Plant:
    return _cohort(lambda root: (root / file).write_bytes(change((root / file).read_bytes())))


def _unpacked(file: Path, change: Callable[[bytes], bytes]) -> Plant:
    return _bytes(file, lambda content: gzip.compress(change(gzip.decompress(content)), 1))


def _header(file: Path, **fields: object) -> Plant:
    def change(content: bytes) -> bytes:
        header = nib.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        return header.binaryblock + content[348:]

    return _unpacked(file, change)


def _stored(file: Path, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Plant:
    """Stores other voxels or another affine, made from the sound ones."""

    def spoil(root: Path) -> None:
        image = nib.Nifti1Image.from_filename(root / file)
        data, affine = change(np.asarray(image.dataobj), np.array(image.affine))
        spoilt = nib.Nifti1Image(data, affine)
        (root / file).unlink()
        nib.save(spoilt, root / file)

    return _cohort(spoil)


def _voxels(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    return _stored(file, lambda data, affine: (change(data), affine))


def _with(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(data: np.ndarray) -> np.ndarray:
        data = data.astype(np.float32)
        data[3, 4, 2] = value
        return data

    return change


def _all(turn: Callable[[nib.Nifti1Image], nib.Nifti1Image]) -> Plant:
    """Stores every file of the case in another way that means the same."""

    def spoil(root: Path) -> None:
        for file in (FLAIR, T1, MASK):
            image = turn(nib.Nifti1Image.from_filename(root / file))
            image = type(image)(np.asarray(image.dataobj), image.affine, image.header)
            (root / file).unlink()
            nib.save(image, root / file)

    return _cohort(spoil)


def _tilted(image: nib.Nifti1Image) -> nib.Nifti1Image:
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return nib.Nifti1Image(np.asarray(image.dataobj), turn @ np.array(image.affine))


def _sagittal(image: nib.Nifti1Image) -> nib.Nifti1Image:
    return image.as_reoriented([[2, 1], [0, 1], [1, -1]])


def _big_endian(image: nib.Nifti1Image) -> nib.Nifti1Image:
    header = image.header.as_byteswapped(">")
    return nib.Nifti1Image(np.asarray(image.dataobj).astype(">f4"), np.array(image.affine), header)


def _scaled(root: Path) -> None:
    for file, slope in ((FLAIR, 0.01), (T1, 0.01), (MASK, 1 / 255)):
        image = nib.Nifti1Image.from_filename(root / file)
        stored = nib.Nifti1Image(np.rint(np.asarray(image.dataobj) / slope).astype(np.int32), image.affine)
        stored.header.set_slope_inter(1, 0)
        content = bytearray(stored.to_bytes())
        content[112:120] = struct.pack("<ff", slope, 0)
        (root / file).write_bytes(gzip.compress(bytes(content)))


def _one_voxel(data: np.ndarray) -> np.ndarray:
    mask = np.zeros_like(data)
    mask[9, 11, 2] = 1
    return mask


def _replace_by_folder(root: Path) -> None:
    (root / FLAIR).unlink()
    (root / FLAIR).mkdir()


def _replace_by_pipe(root: Path) -> None:
    (root / FLAIR).unlink()
    os.mkfifo(root / FLAIR)


def _replace_by_link(to: str) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        (root / FLAIR).unlink()
        (root / FLAIR).symlink_to(to)

    return spoil


def _sheared(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shear = np.eye(4)
    shear[0, 1] = 0.4
    return data, affine @ shear


def _shear_all(root: Path) -> None:
    for file in (FLAIR, T1, MASK):
        image = nib.Nifti1Image.from_filename(root / file)
        data, affine = _sheared(np.asarray(image.dataobj), np.array(image.affine))
        (root / file).unlink()
        nib.save(nib.Nifti1Image(data, affine), root / file)


def _eight_gigabytes(content: bytes) -> bytes:
    """A sound volume, then 128 gzip members of 64 MiB of zeros, 64 KiB each."""
    return content + gzip.compress(bytes(2**26), 1) * 128


def _flip(content: bytes) -> bytes:
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]


def _kind(name: str, plant: Plant, file: Path, says: str, **more: object) -> Kind:
    severity = str(more.pop("severity", "error"))
    code, prepare = (1, 2) if severity == "error" else (0, 0)
    where = file.relative_to("cohort").as_posix().replace(".", r"\.")
    return Kind(
        name, plant, CHECK, code, f"^{where}: {says}", severity, **{"prepare": prepare, **more}  # type: ignore[arg-type]
    )  # fmt: skip


def _sound(name: str, plant: Plant) -> Kind:
    return Kind(f"{name} (sound: read, not refused)", plant, CHECK, 0, "", prepare=0)


SCANS: tuple[Kind, ...] = (
    # not the file that its name promises
    _kind("zero bytes", _bytes(FLAIR, lambda _: b""), FLAIR, "an empty file"),
    _kind("HTML named .nii.gz", _bytes(FLAIR, lambda _: b"<!DOCTYPE html>\n<p>404"), FLAIR, "not NIfTI but a web page"),
    _kind("text named .nii.gz", _bytes(T1, lambda _: b"scanner notes"), T1, "not a NIfTI"),
    _kind("DICOM named .nii.gz", _bytes(T1, lambda _: bytes(128) + b"DICM" + bytes(99)), T1, "not NIfTI but DICOM"),
    _kind("JPEG named .nii.gz", _bytes(T1, lambda _: b"\xff\xd8\xff\xe0" + bytes(99)), T1, "not NIfTI but a JPEG"),
    _kind("ZIP named .nii.gz", _bytes(T1, lambda _: b"PK\x03\x04" + bytes(99)), T1, "not NIfTI but a ZIP"),
    _kind("HDF5 named .nii.gz", _bytes(T1, lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99)), T1, "not NIfTI but an HDF5"),
    _kind("Git LFS pointer", _bytes(T1, lambda _: b"version https://git-lfs.github.com/spec/v1\n"), T1, ".*git lfs"),
    _kind("a folder in place of the file", _cohort(_replace_by_folder), CASE / "pre", "missing FLAIR"),
    _kind("a pipe in place of the file", _cohort(_replace_by_pipe), FLAIR, "not a regular file"),
    _kind("a link to nowhere", _cohort(_replace_by_link("gone.nii.gz")), FLAIR, "a link to a file that is not there"),
    _kind("a link to itself", _cohort(_replace_by_link("FLAIR.nii.gz")), FLAIR, ".*link"),
    # damaged on the way
    _kind("truncated gzip", _bytes(FLAIR, lambda content: content[: len(content) // 2]), FLAIR, "truncated"),
    _kind("bit flipped in the gzip", _bytes(FLAIR, _flip), FLAIR, "(corrupted gzip|truncated)"),
    _kind("wrong gzip checksum", _bytes(FLAIR, lambda c: c[:-8] + bytes(4) + c[-4:]), FLAIR, "corrupted gzip"),
    _kind("header cut off", _unpacked(T1, lambda content: content[:200]), T1, "not a NIfTI file: only 200 bytes"),
    _kind("voxels cut off, not packed", _bytes(T1, lambda c: gzip.decompress(c)[:5000]), T1, "truncated"),
    # headers that lie
    _kind("dims that claim terabytes", _header(FLAIR, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), FLAIR, ".*the limit"),
    _kind("dims that claim 8 GB", _header(FLAIR, dim=[3, 2000, 2000, 1000, 1, 1, 1, 1]), FLAIR, ".*the limit"),
    _kind("more voxels claimed than stored", _header(T1, dim=[3, 90, 90, 90, 1, 1, 1, 1]), T1, "truncated"),
    _kind("negative dims", _header(T1, dim=[3, 20, -24, 6, 1, 1, 1, 1]), T1, ".*at least one voxel"),
    _kind("a gzip that unfolds to 8 GB", _bytes(FLAIR, _eight_gigabytes), FLAIR, "goes on after the voxels"),
    _kind("unknown data type", _header(T1, datatype=999), T1, "unknown NIfTI data type"),
    _kind("complex voxels", _header(T1, datatype=32), T1, "data type complex"),
    _kind("infinite scl_slope", _header(T1, scl_slope=np.inf), T1, ".*infinite"),
    _kind("header of a .hdr/.img pair", _header(T1, magic=b"ni1"), T1, ".*pair"),
    _kind("voxels inside the header", _header(T1, vox_offset=8), T1, ".*before its own end"),
    # geometry
    _kind("singular affine", _header(T1, srow_x=[0, 0, 0, 0]), T1, ".*affine is singular"),
    _kind("affine with NaN", _header(T1, srow_x=[np.nan, 0, 0, 0]), T1, ".*affine holds NaN"),
    _kind("non-orthonormal affine of one file", _stored(T1, _sheared), T1, "affine differs"),
    _kind(
        "non-orthonormal affine of the case", _cohort(_shear_all), FLAIR, "its axes are .* apart", severity="warning"
    ),
    _kind("affines that differ", _stored(T1, lambda d, a: (d, a + np.eye(4, k=3) * 9)), T1, "affine differs"),
    _kind("orientations that differ", _stored(T1, lambda d, a: (d, a @ np.diag([-1, 1, 1, 1]))), T1, "affine differs"),
    _kind(
        "qform ≠ sform", _header(FLAIR, qform_code=1, qoffset_x=40), FLAIR, "its qform and sform", severity="warning"
    ),
    _kind("shapes that differ", _voxels(T1, lambda d: np.repeat(d, 2, axis=2)), T1, "shape 20×24×12 differs"),
    _kind("4-D", _voxels(T1, lambda d: np.stack([d, d], axis=3)), T1, "4-D"),
    _kind("a single slice as a volume", _voxels(T1, lambda d: d[..., :1]), T1, "a single-voxel axis"),
    # voxels
    _kind("NaN", _voxels(FLAIR, _with(np.nan)), FLAIR, "1 voxels are NaN or infinite"),
    _kind("infinity", _voxels(FLAIR, _with(np.inf)), FLAIR, "1 voxels are NaN or infinite"),
    _kind("all-zero image", _voxels(FLAIR, np.zeros_like), FLAIR, "the image is all zero"),
    _kind("constant image", _voxels(FLAIR, lambda d: np.full_like(d, 9)), FLAIR, "the image is constant"),
    _kind("T1 that is FLAIR", _cohort(lambda root: shutil.copy(root / FLAIR, root / T1)), T1, "T1 holds the same"),
    # masks
    _kind("mask of 0 and 255", _voxels(MASK, lambda d: (d == 1) * np.uint8(255)), MASK, "mask: values 0, 255"),
    _kind("mask of floats 0.0078", _voxels(MASK, lambda d: d * np.float32(0.0078)), MASK, "mask: values 0, 0.0078"),
    _kind("mask of probabilities", _voxels(MASK, lambda d: d * np.float32(0.5)), MASK, "mask: values 0, 0.5, 1"),
    _kind("mask with label 3", _voxels(MASK, _with(3)), MASK, "mask: values 0, 1, 2, 3"),
    _kind("mask with NaN", _voxels(MASK, _with(np.nan)), MASK, "mask: values .*NaN"),
    _kind("mask of label 2 only", _voxels(MASK, lambda d: (d > 0) * 2.0), MASK, ".*only label 2", severity="warning"),
    _kind("empty mask", _voxels(MASK, np.zeros_like), MASK, "the mask is empty", severity="warning"),
    _kind("mask of another shape", _voxels(MASK, lambda d: d[..., 1:]), MASK, "shape 20×24×5 differs"),
    _kind("mask cut off", _bytes(MASK, lambda content: content[:60]), MASK, "mask: truncated"),
    # odd and sound
    _sound("oblique storage", _all(_tilted)),
    _sound("sagittal storage", _all(_sagittal)),
    _sound("big-endian", _all(_big_endian)),
    _sound("scl_slope", _cohort(_scaled)),
    _sound("a lesion of one voxel", _voxels(MASK, _one_voxel)),
)
