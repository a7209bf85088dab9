"""What the drills of determinism run as a program: ``drill_stages.py PART OUT THREADS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from labelgan import api
from labelgan.api import segment as api_segment
from labelgan.data.phantom.cohort import write_phantom_cohort
from labelgan.data.store import SliceStore
from labelgan.gan.train import train_generator
from labelgan.seg.train import train_segmenter
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.run import StudySources, run_study
from tiny import tiny_config, tiny_seg_config, tiny_study_config


def first_stages(out: Path, threads: int) -> None:
    """Phantoms, store, generator, samples."""
    write_phantom_cohort(out / "cohort", 3, 0, shape=(48, 48, 12))
    store = api.prepare(out / "cohort", out / "store", size=(32, 32), spacing_mm=6.0)
    train_generator(store, out / "run", tiny_config("refiner", "train.collapse_ratio=0", "train.log_every=1"))
    api.sample(out / "run", out / "samples", 4, format="npz", seed=1, device="cpu")


def stages(out: Path, threads: int) -> None:
    """Each stage once: segmenter and masks too."""
    first_stages(out, threads)
    train_segmenter(SliceStore.open(out / "store"), out / "seg", tiny_seg_config(), synthetic=out / "samples")
    api_segment.segment_predict(out / "seg", out / "cohort", out / "masks", device="cpu")


def study(out: Path, threads: int) -> None:
    """A whole study."""
    write_phantom_cohort(out / "cohort", 4, 0, shape=(48, 48, 12))
    config = tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2")
    sources = StudySources(out / "cohort")
    assert run_study(config, sources, out / "study", engine=lambda _: InlineEngine(), device="cpu").run.complete


def threads(out: Path, threads: int) -> None:
    """The scores that one segmenter, trained on one thread, gets on a number of threads."""
    import torch

    write_phantom_cohort(out / "cohort", 3, 0, shape=(64, 64, 12))
    store = api.prepare(out / "cohort", out / "store", size=(64, 64))
    settings = ("network.norm=batch", "train.loss=dice+ce", "train.members=1", "train.steps=300", "train.lr=0.005")
    train_segmenter(store, out / "seg", tiny_seg_config("li2018", "network.width=8", "train.batch_size=8", *settings))
    torch.set_num_threads(threads)
    api_segment.segment_predict(out / "seg", out / "cohort", out / "masks", device="cpu")
    rows = api.score(out / "cohort", out / "masks").rows
    facts = {"threads": torch.get_num_threads(), "dsc": [row.scores.to_json()["dsc"] for row in rows]}
    (out / "scores.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    parts = {"first stages": first_stages, "stages": stages, "study": study, "threads": threads}
    parts[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
