"""Measures fingerprints: how alike the scans of different patients are, how alike one scan and its disguises, and how
much of a scan can be had back from what travels with a generator.

Run: ``python -m bench.experiments.fingerprints COHORT... [--phantoms 24] [--every 4]``, two minutes a hundred scans on
one core. Prints the tables of docs/results/fingerprints.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.data.case import Cohort
from labelgan.data.check import fingerprint as module
from labelgan.data.check.fingerprint import REFUSE_AT, WARN_AT, fingerprint, share_of_equal_bits, unmoved
from labelgan.data.phantom.cohort import write_phantom_cohort
from labelgan.data.volume import Volume

Disguise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _bright(image: np.ndarray) -> float:
    return float(np.percentile(image, 99))


def _saved_by_scale(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    low, high = float(image.min()), float(image.max())
    return np.round((image - low) / (high - low) * 255)


def _one_voxel(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = image.copy()
    image[tuple(length // 2 for length in image.shape)] = image.max() * 100 + 1
    return image


def _bias_field(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth field of up to ± 40 %."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, length) for length in image.shape], indexing="ij")
    field = sum(
        factor * part
        for factor, part in zip(rng.normal(size=8), (x, y, z, x * y, y * z, x**2, y**2, z**2), strict=True)
    )
    return image * (1 + 0.4 * field / np.abs(field).max())


def _zoom(*factors: float) -> Disguise:
    def disguise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        from scipy.ndimage import zoom

        return np.asarray(zoom(image, factors, order=1))

    return disguise


def _rotated(degrees: float, axes: tuple[int, int] = (0, 1)) -> Disguise:
    def disguise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        from scipy.ndimage import rotate

        return rotate(image, degrees, axes, reshape=False, order=1, mode="nearest")

    return disguise


def _noise(part: float) -> Disguise:
    return lambda image, rng: image + rng.normal(size=image.shape) * _bright(image) * part


def _blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, (1.5, 1.5, 0))


def _stripped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Skull off, by another brain mask than fingerprints use: of the whole image, not of an averaged one."""
    from labelgan.data.prepare.brain_search import find_brain

    return np.where(find_brain(image.T).T, image, 0)


def _defaced(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The front quarter of the lower two fifths is cut off."""
    front = np.arange(image.shape[1])[None, :, None] > 0.75 * image.shape[1]
    low = np.arange(image.shape[2])[None, None] < 0.4 * image.shape[2]
    return np.where(front & low, 0, image)


def _elastic(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth warp in the plane of up to 2 % of the width."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    places = list(np.meshgrid(*[np.arange(length, dtype=np.float32) for length in image.shape], indexing="ij"))
    for axis in (0, 1):
        moved = gaussian_filter(rng.normal(size=image.shape), [length / 10 for length in image.shape])
        places[axis] = places[axis] + moved / np.abs(moved).max() * 0.02 * image.shape[0]
    return map_coordinates(image, places, order=1, mode="nearest")


def _ranks(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    _, level, count = np.unique(image, return_inverse=True, return_counts=True)
    return (np.cumsum(count)[level] / image.size).reshape(image.shape)


# (X, Y, Z) images in RAS order. The first part is what a hash of voxels does not find; then what else people do.
DISGUISES: dict[str, Disguise] = {
    "re-saved with 256 levels": _saved_by_scale,
    "x 1.1 + 1": lambda image, rng: image * 1.1 + 1,
    "one voxel changed": _one_voxel,
    "bias field of 40 %": _bias_field,
    "mirrored left to right": lambda image, rng: image[::-1],
    "mirrored front to back": lambda image, rng: image[:, ::-1],
    "mirrored top to bottom": lambda image, rng: image[:, :, ::-1],
    "cropped by one voxel": lambda image, rng: image[1:-1, 1:-1, 1:-1],
    "padded by one voxel": lambda image, rng: np.pad(image, 1),
    "resampled by 0.9": _zoom(0.9, 0.9, 0.9),
    "turned by 90 degrees": lambda image, rng: np.rot90(image),
    "inverted": lambda image, rng: image.max() - image,
    "noise of 5 %": _noise(0.05),
    "noise of 10 %": _noise(0.10),
    "gamma of 0.6": lambda image, rng: (np.clip(image, 0, None) / image.max()) ** 0.6,
    "blurred by 1.5 pixels": _blurred,
    "half the resolution": _zoom(0.5, 0.5, 1),
    "every second slice": lambda image, rng: image[:, :, ::2],
    "lowest 15 % cut off": lambda image, rng: image[:, :, round(0.15 * image.shape[2]) :],
    "highest 10 % cut off": lambda image, rng: image[:, :, : image.shape[2] - round(0.1 * image.shape[2])],
    "10 pixels off each side": lambda image, rng: image[10:-10, 10:-10],
    "moved by 12 pixels": lambda image, rng: np.roll(image, 12, 1),
    "warped by 2 %": _elastic,
    "rotated by 5 degrees": _rotated(5),
    "rotated by 10 degrees": _rotated(10),
    "skull off": _stripped,
    "face cut off": _defaced,
    "ranks in place of values": _ranks,
}


@dataclass(frozen=True)
class Scan:
    """One channel of one case and its prints."""

    cohort: str
    patient: str
    channel: str
    volume: Volume
    prints: np.ndarray


def read_scans(root: Path, times: list[float]) -> list[Scan]:
    """Reads every image of a cohort in RAS order; adds the processor seconds of each fingerprint to ``times``."""
    from nibabel.orientations import apply_orientation, io_orientation

    scans = []
    for case in Cohort.load(root):
        for channel in case.images:
            read = case.load_image(channel)
            data = np.ascontiguousarray(apply_orientation(read.data, io_orientation(read.affine)))
            volume = Volume(data, np.eye(4))
            started = time.process_time()
            prints = fingerprint(volume)
            times.append(time.process_time() - started)
            if prints is not None:
                scans.append(Scan(root.name, f"{root.name}/{case.patient}", channel, volume, prints))
    return scans


def strangers(scans: Sequence[Scan], others: Sequence[Scan] | None = None) -> np.ndarray:
    """Shares of equal bits of all pairs of two patients in one channel, sorted."""
    shares = []
    for channel in {scan.channel for scan in scans}:
        mine = [scan for scan in scans if scan.channel == channel]
        theirs = mine if others is None else [scan for scan in others if scan.channel == channel]
        if not theirs:
            continue
        prints, other_prints = [scan.prints for scan in mine], [scan.prints for scan in theirs]
        found = np.concatenate([part for _, part in module._shares(prints, other_prints)])
        apart = np.array([[a.patient != b.patient for b in theirs] for a in mine])
        if others is None:
            found, apart = np.maximum(found, found.T), np.triu(apart)
        shares.append(found[apart])
    return np.sort(np.concatenate(shares)) if shares else np.zeros(0)


def print_strangers(name: str, patients: int, shares: np.ndarray) -> None:
    """A row: pairs, and how alike they are."""
    warned, refused = int((shares >= WARN_AT).sum()), int((shares >= REFUSE_AT).sum())
    middle, high = np.median(shares), np.percentile(shares, 99.9)
    print(
        f"| {name} | {patients} | {len(shares)} | {middle:.3f} | {high:.3f} | {shares[-1]:.3f} | {warned} | {refused} |"
    )


def print_disguises(scans: Sequence[Scan]) -> None:
    """A row a disguise: how alike a scan and its disguise are."""
    print("| disguise | scans | least | median | warned of | refused |\n|---|--:|--:|--:|--:|--:|")
    for name, disguise in DISGUISES.items():
        shares = []
        for number, scan in enumerate(scans):
            data = np.ascontiguousarray(disguise(scan.volume.data, generator_for(number, name)), dtype=np.float32)
            made = fingerprint(Volume(data, np.eye(4)))
            # which of the two a training has seen is not known: the better way to compare is taken on one side alone
            shares.append(0.5 if made is None else share_of_equal_bits(scan.prints, made))
        found = np.array(shares)
        print(
            f"| {name} | {len(found)} | {found.min():.2f} | {np.median(found):.2f} "
            f"| {(found >= WARN_AT).mean():.0%} | {(found >= REFUSE_AT).mean():.0%} |",
            flush=True,
        )


def waves_of(scan: Scan) -> np.ndarray:
    """What the bits of the head's print are made from: the cosines of its pattern, class after class, unit length."""
    reduced = module._averaged(module._without_empty(scan.volume.data.T), module._SIZE)
    pattern = module._pattern(reduced, module._Frame.of(module._head(reduced)))
    waves = np.einsum("ai,bj,ck,ijk->abc", *(module._waves(axis) for axis in range(3)), pattern, optimize=True)
    parts = [waves[z::2, y::2, x::2].ravel() for z, y, x in module._CLASSES]
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-9) for part in parts])


def regained(scans: Sequence[Scan]) -> np.ndarray:
    """(N, 3): what an attacker gets from the 512 bits of a head.

    The correlation of the cosines that they were made from with (0) the sum of the directions with the bits' signs, (1)
    the best guess of one who has the scans of all others (ridge regression from bits to cosines), (2) the mean of all
    others, for which no bit is needed.
    """
    waves = np.stack([waves_of(scan) for scan in scans])
    signs = np.stack([module._signs(unmoved(scan.prints))[0, 0, 0] for scan in scans])
    directions = module._directions()[0]
    plain = np.stack([np.concatenate([s @ d for s, d in zip(one, directions, strict=True)]) for one in signs])
    bits = signs.reshape(len(scans), -1)
    found = np.zeros((len(scans), 3))
    for number, scan in enumerate(scans):
        known = np.array([other.patient != scan.patient and other.channel == scan.channel for other in scans])
        mean = waves[known].mean(0)
        gram = bits[known] @ bits[known].T + 0.3 * module.BITS * np.eye(int(known.sum()))
        guess = mean + bits[number] @ bits[known].T @ np.linalg.solve(gram, waves[known] - mean)
        for column, vector in enumerate((plain[number], guess, mean)):
            found[number, column] = np.corrcoef(vector, waves[number])[0, 1]
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Measures fingerprints.")
    parser.add_argument("cohorts", nargs="+", type=Path)
    parser.add_argument("--phantoms", type=int, default=24)
    parser.add_argument("--every", type=int, default=4, help="disguise every N-th scan")
    options = parser.parse_args()
    times: list[float] = []
    cohorts = [read_scans(root, times) for root in options.cohorts]
    scans = [scan for cohort in cohorts for scan in cohort]
    print(measured_at() + "\n")
    print(f"{len(times)} images: median {np.median(times):.3f} s, largest {max(times):.3f} s of one core an image\n")
    print("| scans of | patients | pairs | median | 99.9 % | largest | warned of | refused |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for cohort in cohorts:
        if len(patients := {scan.patient for scan in cohort}) > 1:
            print_strangers(cohort[0].cohort, len(patients), strangers(cohort))
    print_strangers("all of them", len({scan.patient for scan in scans}), strangers(scans))
    with TemporaryDirectory() as folder:
        for name, shape in (("phantoms", None), ("phantoms of 48×48×12", (48, 48, 12))):
            root = Path(folder, name)
            write_phantom_cohort(root, options.phantoms, 0, shape=shape)
            made = read_scans(root, [])
            print_strangers(name, options.phantoms, strangers(made))
            print_strangers(f"{name} against scans", options.phantoms, strangers(made, scans))
    print()
    print_disguises(scans[:: options.every])
    found = regained(scans)
    print(
        f"\nRegained of {len(found)} heads: correlation {np.median(found[:, 0]):.2f} from the bits alone, "
        f"{np.median(found[:, 1]):.2f} from them and the scans of all others, "
        f"{np.median(found[:, 2]):.2f} from the latter alone"
    )


if __name__ == "__main__":
    main()
