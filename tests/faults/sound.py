"""The sound things that bad input is made from, all of the smallest size, each made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from heads import write_case

PATIENTS = (11, 12, 13)


def make(folder: Path, name: str) -> Path:
    """Gives the folder of a sound thing inside ``folder``: a key of ``MAKERS``."""
    path = folder / name
    if not path.exists():
        MAKERS[name](folder, path)
    return path


def _heads(_: Path, path: Path) -> None:
    for number in PATIENTS:
        write_case(path / "Site" / str(number), number)


def _phantoms(_: Path, path: Path) -> None:
    from labelgan.data.phantom.cohort import write_phantom_cohort

    write_phantom_cohort(path, 2, 0, shape=(48, 48, 12))


def _store(folder: Path, path: Path) -> None:
    from labelgan.config.base import PrepareConfig
    from labelgan.data.prepare.cohort import prepare_store

    config = PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0})
    prepare_store(make(folder, "phantoms"), path, config)


def _run(folder: Path, path: Path) -> None:
    from labelgan.data.store import SliceStore
    from labelgan.gan.train import train_generator
    from tiny import tiny_config

    train_generator(SliceStore.open(make(folder, "store")), path, tiny_config("r3gan", "train.collapse_ratio=0"))


def _samples(folder: Path, path: Path) -> None:
    from labelgan.gan.sample import sample_cohort

    sample_cohort(make(folder, "run"), path, 3, format="npz")


def _segmenter(folder: Path, path: Path) -> None:
    from labelgan.data.store import SliceStore
    from labelgan.seg.train import train_segmenter
    from tiny import tiny_seg_config

    train_segmenter(SliceStore.open(make(folder, "store")), path, tiny_seg_config(), exclude=["P001"])


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "heads": _heads,
    "phantoms": _phantoms,
    "store": _store,
    "run": _run,
    "samples": _samples,
    "segmenter": _segmenter,
}
