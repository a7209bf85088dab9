"""The whole way on a phantom cohort, in a few minutes: what a newcomer runs first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labelgan import api
from labelgan.api import audit as api_audit
from labelgan.api import study as api_study
from labelgan.core.errors import DataError
from labelgan.core.files import require_free
from labelgan.core.progress import Progress
from labelgan.core.provenance import provenance

PATIENTS, SEED, SAMPLES, PICTURED = 6, 1, 48, 12
SIZE, SPACING_MM, EVERY = 64, 3.2, 2
HELD_OUT = 2  # patients that the audited generator never sees
# Small enough for a minute; a study of your own wants ten times as much.
STUDY = (
    *("generator.train.steps=60", "segmenter.train.steps=100", "segmenter.train.restart_after=100"),
    "audited=false",  # the slices of the run above are audited
)
AUDIT = ("encoder.steps=100",)


@dataclass(frozen=True)
class Stage:
    """One command of the demo, what came out of it, and how long it took."""

    command: str
    outcome: str
    seconds: float


def run_demo(out: Path, *, from_scratch: bool = False, steps: int = 300, say: Callable[[str], None] = print) -> str:
    """Runs phantom, check, prepare, train, sample, check, audit and study, and writes ``OUT/report.html``.

    Args:
        out: folder for every stage's result; new or empty.
        from_scratch: train from random weights instead of fine-tuning the generator that comes with the package.
        steps: training steps.
        say: called with one line a stage.

    Returns:
        What to show last: the paths of the picture and the page.

    Raises:
        DataError: ``out`` is not empty.
    """
    require_free(out, "name another folder with --out, or remove it")
    stages: list[Stage] = []

    def stage(command: str, work: Callable[[], str]) -> None:
        say(f"$ labelgan {command}")
        started = time.monotonic()
        outcome = work()
        stages.append(Stage(command, outcome, time.monotonic() - started))
        say(f"  {outcome} ({stages[-1].seconds:.0f} s)")

    cohort, store, run, synthetic = out / "phantom", out / "store", out / "run", out / "synthetic"
    held_out: list[str] = []
    found: dict[str, str] = {}

    def make_phantom() -> str:
        with Progress("phantom", "patient") as progress:
            made = api.phantom(cohort, PATIENTS, SEED, report=progress)
        held_out.extend(made[-HELD_OUT:])
        return f"{len(made)} phantom patients"

    def checked(folder: Path) -> Callable[[], str]:
        def work() -> str:
            report = api.check(folder)
            if not report.ok:
                raise DataError(folder, report.errors[0].reason)
            warnings = len(report.problems)
            note = f", {warnings} warnings ({report.problems[0].reason})" if warnings else ", no problems"
            return f"layout {report.cohort.layout}, {len(report.cohort.cases)} cases{note}"

        return work

    def make_store() -> str:
        with Progress("prepare", "case") as progress:
            made = api.prepare(cohort, store, size=(SIZE, SIZE), spacing_mm=SPACING_MM, every=EVERY, report=progress)
        return f"{len(made)} slices of {SIZE}×{SIZE}"

    def fit() -> str:
        with Progress("train", "step") as progress:
            result = api.train(
                store,
                run,
                preset="laptop" if from_scratch else None,
                steps=steps,
                start_from=None if from_scratch else api.PHANTOM_GENERATOR,
                exclude=held_out,
                settings={"train.sample_every": 100, "train.checkpoint_every": 100},
                report=progress,
            )
        return f"{result.steps} steps; samples are {result.diversity:.2f} times as diverse as real slices"

    def draw() -> str:
        with Progress("sample", "slice") as progress:
            # The demo shows what came out, whatever it is; elsewhere a collapsed generator is refused.
            api.sample(run, synthetic, SAMPLES, seed=1, force=True, report=progress)
        return f"{SAMPLES} labelled slices"

    def audit_samples() -> str:
        with Progress("audit", "part") as progress:
            report = api_audit.audit(synthetic, store, out / "audit", exclude=held_out, settings=AUDIT, report=progress)
        failed = ", ".join(gate.name for gate in report.failed_gates)
        found["audit"] = f"Gates that fail: {failed}." if failed else "Every gate is passed."
        return f"gates that fail: {failed}" if failed else "every gate is passed"

    def compare() -> str:
        config = api_study.study_config(
            preset="laptop",
            start_from=None if from_scratch else api.PHANTOM_GENERATOR,
            settings={
                **plan,
                "prepare.size": (SIZE, SIZE),
                "prepare.spacing_mm": SPACING_MM,
                "prepare.every": EVERY,
            },
        ).with_settings(STUDY)
        from labelgan.study.run import run_study

        sources = api_study.study_sources(cohort, start_from=config.start_from)
        with Progress("study", "job") as progress:
            result = run_study(config, sources, out / "study", report=progress)
        found["verdict"] = result.verdict["headline"] if result.verdict else "The study did not come to an end."
        return f"{result.run.done} jobs, {len(result.run.failed)} failed. {found['verdict']}"

    tuning = "--preset laptop" if from_scratch else "--start-from phantom"
    plan = {"folds": 2, "members": 1, "samples": SAMPLES, "arms": ("classical", "classical+synthetic")}
    parent = "" if from_scratch else " --start-from phantom"
    also = " ".join(f"--set {setting}" for setting in (f"prepare.every={EVERY}", *STUDY))
    stage(f"phantom {cohort} --patients {PATIENTS} --seed {SEED}", make_phantom)
    stage(f"check {cohort}", checked(cohort))
    stage(f"prepare {cohort} {store} --size {SIZE} --spacing {SPACING_MM} --every {EVERY}", make_store)
    excluded = ",".join(held_out)
    stage(f"train {store} --out {run} {tuning} --steps {steps} --exclude {excluded}", fit)
    stage(f"sample {run} --num {SAMPLES} --out {synthetic} --seed 1", draw)
    stage(f"check {synthetic}", checked(synthetic))
    stage(
        f"audit {synthetic} --train {store} --exclude {excluded} --out {out / 'audit'} --set {AUDIT[0]}", audit_samples
    )
    stage(
        f"study {cohort} --out {out / 'study'} --preset laptop{parent} --folds 2 --ensemble 1 --samples {SAMPLES} "
        f"--arms classical,classical+synthetic --size {SIZE} --spacing {SPACING_MM} {also}",
        compare,
    )
    page, picture = _write_page(out, stages, steps, from_scratch, found)
    return f"picture: {picture}\nreport:  {page}"


def _write_page(
    out: Path, stages: list[Stage], steps: int, from_scratch: bool, found: dict[str, str]
) -> tuple[Path, Path]:
    import numpy as np

    from labelgan.data.pictures import encode_png, mosaic, save_png
    from labelgan.data.prepare.case import to_unit
    from labelgan.data.store import SliceStore
    from labelgan.gan.sample import Generator
    from labelgan.report.html import Picture, training_curves, write_page

    generator = Generator.load(out / "run", force=True)
    samples = generator.sample(SAMPLES, seed=1)
    # Those with a lesion first, otherwise in the order they came.
    picked = np.argsort(~samples.masks_NHW.any(axis=(1, 2)), kind="stable")[:PICTURED]
    pixels = mosaic(to_unit(samples.images_NCHW[picked]), samples.masks_NHW[picked])
    picture = out / "synthetic.png"
    save_png(picture, pixels)
    store = SliceStore.open(out / "store")
    with_lesion = np.flatnonzero(store.index["lesion_voxels"] > 0)
    rows = with_lesion[np.linspace(0, len(with_lesion) - 1, PICTURED).astype(int)]
    batch = store.read(rows)
    shown = ", ".join(generator.channels) + f", and {generator.channels[0]} with the lesion's outline"
    start = (
        "random weights"
        if from_scratch
        else "the generator that comes with the package, which was trained on other phantoms"
    )
    write_page(
        out / "report.html",
        "demo.html.j2",
        title="LabelGAN demo",
        total=f"{sum(stage.seconds for stage in stages) / 60:.1f} minutes",
        stages=stages,
        synthetic=Picture(
            encode_png(pixels), f"Those with a lesion first, each as {shown}.", "Synthetic slices with lesion outlines"
        ),
        source=Picture(
            encode_png(mosaic(to_unit(batch.images_NCHW), batch.masks_NHW == 1)),
            "Phantom slices of the training cohort, shown alike.",
            "Phantom slices with lesion outlines",
        ),
        training=f"{steps} steps from {start}.",
        found=found,
        curves=Picture(training_curves(out / "run" / "metrics.csv"), "", "Losses and diversity by training step"),
        made_with=provenance(),
    )
    return out / "report.html", picture
