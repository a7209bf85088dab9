"""Waits for a GPU: the full studies at 128×128, cut into what needs the scans and what needs the GPU.

    python bench/gpu/studies.py plan     # where the data is: prepares the stores and plans, into cache/studies
    python bench/gpu/studies.py train    # with the GPU: every training and sampling job, resumable, nothing else
    python bench/gpu/studies.py finish   # where the data is: predictions, scores, verdicts and pages

``train`` needs torch, numpy, pydantic, safetensors and tomli_w, and of the data only cache/studies (a float16 store of
128×128 slices: about 12 MB for MS3SEG and 100 MB for the gliomas; take them one at a time where room is short). It
stops by itself after ``--minutes`` and goes on where it was. `make gpu` calls ``train``.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

from labelgan.api.study import study_config, study_sources
from labelgan.config.study import StudyConfig
from labelgan.core.files import write_text_atomic
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.engine.ledger import Ledger
from labelgan.study.engine.scheduler import Event, run_jobs
from labelgan.study.places import Places
from labelgan.study.plan import GENERATOR, MEMBER, SAMPLE, Plan
from labelgan.study.run import StudySources, make_plan, run_study, scan_cohorts

ROOT = Path("cache/studies")
DATA = Path("../shared/data")
ARMS = '"classical", "classical+copypaste", "classical+synthetic", "classical+copypaste+synthetic"'
SIZES = ["prepare.size=[128, 128]", "members=3", "samples=1000", f"arms=[{ARMS}]", "generator.train.steps=4000"]
# The default, a refiner, is small: it wants more steps than at 64×64, and not the width of r3gan.
SIZES += ["generator.network.width=48", "generator.network.critic_width=64", "generator.train.batch_size=32"]
SIZES += ["generator.content.stock=4096"]
SIZES += ["segmenter.network.width=32", "segmenter.network.norm=batch", "segmenter.network.prior=0.01"]
SIZES += ["segmenter.train.steps=2000", "segmenter.train.batch_size=32", "segmenter.train.lr=1e-3"]
SIZES += ["segmenter.train.schedule=cosine", "segmenter.train.lesion_share=0.5"]
STUDIES: dict[str, tuple[str, list[str]]] = {
    "ms3": ("ms3seg-wmh", ["prepare.spacing_mm=1.6"]),
    "lgg": (
        "Dataset501_LGG",
        ["patients=[3, 5, 10, 20]", "repeats=3", "strata=site+load", "segmenter.predict.emptied=0"],
    ),
}


def planned(name: str) -> tuple[StudyConfig, StudySources, Plan]:
    data, settings = STUDIES[name]
    config = study_config(settings=[*SIZES, *settings])
    sources = study_sources(DATA / data)
    # With cohort.json in place nothing of the scans is read but their sizes and times.
    cohort, test = scan_cohorts(sources, ROOT / name)
    return config, sources, make_plan(config, sources, cohort, test)


def plan(name: str) -> None:
    """Prepares the store and writes every training job's folder, so that the GPU's machine needs no scan."""
    config, sources, made = planned(name)
    Places(sources.data).write(ROOT / name)
    write_text_atomic(ROOT / name / "config.toml", config.to_toml())
    ledger = Ledger(ROOT / name)
    with InlineEngine() as engine:
        run_jobs([job for job in made.jobs if not job.inputs], ledger, engine)
    trainings = [job for job in made.jobs if job.kind in (GENERATOR, SAMPLE, MEMBER)]
    for job in trainings:
        if not ledger.is_done(job):
            ledger.prepare(job)
    write_text_atomic(ROOT / name / "queue.txt", "".join(f"{job.key}\n" for job in trainings))
    print(f"{name}: {len(trainings)} training jobs of {len(made.jobs)} planned in {ROOT / name}")


def train(name: str) -> None:
    """Runs the training jobs of the queue one after the other, in the order in which they were planned."""
    from labelgan.study.engine.worker import run_folder

    for key in (ROOT / name / "queue.txt").read_text().split():
        folder = ROOT / name / "jobs" / key
        if (folder / "done.json").is_file():
            continue
        code = run_folder(folder.resolve())
        print(f"{name}: {key} {'done' if code == 0 else f'failed, see {folder}/log.txt'}", flush=True)


def finish(name: str) -> None:
    """Runs what is left: predictions and scores, and the verdict."""

    def tell(event: Event) -> None:
        if event.what == "failed":
            print(f"{event.job.label}: {event.note}")

    config, sources, _ = planned(name)
    result = run_study(config, sources, ROOT / name, tell=tell)
    print(f"{name}: {result.verdict.get('headline', 'nothing is scored yet')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("plan", "train", "finish"), default="train")
    parser.add_argument("--only", choices=STUDIES)
    parser.add_argument("--minutes", type=float, default=9.0)
    given = parser.parse_args()
    if given.what == "train":
        import torch

        if not torch.cuda.is_available():
            print("no GPU here: left in the queue")
            return
        # A job that is told to end saves its state, so a lease that ends loses nothing.
        timer = threading.Timer(given.minutes * 60, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    for name in [given.only] if given.only else STUDIES:
        if given.what == "train" and not (ROOT / name / "queue.txt").is_file():
            print(f"{name}: not planned yet; run `python bench/gpu/studies.py plan` where the data is")
            continue
        try:
            {"plan": plan, "train": train, "finish": finish}[given.what](name)
        except KeyboardInterrupt:
            print(f"{name}: stopped in time; run again to go on")
            return


if __name__ == "__main__":
    main()
