"""How far samples leave the range of the training slices, by model; the table of docs/results/generators.md.

Run: python -m bench.experiments.sample_range WORK [--model M ...] [--store STORE --patients N] [--before OTHER.json]
Without a store the models are trained on nine phantoms, and the shipped generator is sampled too. The shares are
written to WORK/ranges.json. To compare revisions run this file with the other one's sources as PYTHONPATH and another
WORK, then give its ranges.json as --before.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import labelgan
from labelgan.core.provenance import measured_at

# Steps of each model: few, for one core; the table is about values, not about pictures.
STEPS = {"refiner": 400, "r3gan": 200, "gan": 200, "dcgan": 200, "wgan": 100, "wgan-gp": 60, "uned2019": 12}
PRESETS = {"uned2019": ("wgan-gp", "uned2019")}  # model and preset; the others have the preset laptop
SHIPPED = "shipped"
MARGIN, ROUNDING = 0.25, 1e-3


def extremes(store: Path, exclude: list[str]) -> np.ndarray:
    """Least and largest z-score of every channel over the training slices: (2, C)."""
    slices = labelgan.SliceStore.open(store)
    images_NCHW = np.asarray(slices.images[slices.select(exclude=exclude)], np.float32)
    return np.stack([images_NCHW.min((0, 2, 3)), images_NCHW.max((0, 2, 3))])


def measured(images_NCHW: np.ndarray, range_2C: np.ndarray) -> dict[str, float]:
    """Shares of slices and pixels beyond the range, of pixels beyond it at all, and the largest magnitude.

    As in the audit, beyond means by more than a quarter of the range's width, as air is not the same in all patients.
    """
    low, high = (ends[None, :, None, None] for ends in range_2C)
    margin = MARGIN * (high - low)
    beyond = (images_NCHW < low - margin) | (images_NCHW > high + margin)
    at_all = (images_NCHW < low - ROUNDING) | (images_NCHW > high + ROUNDING)
    return {
        "slices": float(beyond.any((1, 2, 3)).mean()),
        "pixels": float(beyond.mean()),
        "at_all": float(at_all.mean()),
        "largest": float(np.abs(images_NCHW).max()),
        "real": float(np.abs(range_2C).max()),
    }


def train(model: str, store: Path, run: Path, steps: int | None, exclude: list[str], seed: int) -> None:
    """Trains a model, unless it is there."""
    if (run / "card.md").is_file():
        return
    name, preset = PRESETS.get(model, (model, "laptop"))
    settings = ["train.threads=1", f"train.seed={seed}"]
    labelgan.train(
        store, run, model=name, preset=preset, steps=steps or STEPS[model], exclude=exclude, settings=settings
    )


def phantom_store(work: Path, patients: int, seed: int, spacing_mm: float, every: int = 1) -> Path:
    """Slices of phantoms at 64×64, made once."""
    store = work / f"phantoms-{patients}-{seed}"
    if not (store / "manifest.json").is_file():
        cohort = work / "phantoms"
        labelgan.phantom(cohort, patients, seed, force=True)
        labelgan.prepare(cohort, store, size=(64, 64), spacing_mm=spacing_mm, every=every)
    return store


def left_out(store: Path, patients: int | None) -> list[str]:
    """Ids of the patients to exclude so that some are left, evenly spread over the sorted ids."""
    ids = sorted({case.patient for case in labelgan.SliceStore.open(store).cases})
    if patients is None or patients >= len(ids):
        return []
    kept = {ids[number * len(ids) // patients] for number in range(patients)}
    return [name for name in ids if name not in kept]


def table(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown; before and after in one cell where there are both."""

    def cell(model: str, key: str, form: str) -> str:
        return " → ".join(form.format(found[model][key]) for found in (before, now) if model in found)

    lines = [
        "| model | samples with a pixel far out | pixels far out | pixels out at all | largest z-score | of real |",
        "|---|---|---|---|---|---|",
    ]
    shown = (("slices", "{:.1%}"), ("pixels", "{:.3%}"), ("at_all", "{:.2%}"), ("largest", "{:.1f}"))
    for model, entry in now.items():
        lines.append(f"| {model} | {' | '.join(cell(model, *each) for each in shown)} | {entry['real']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Trains what is missing, samples, measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", action="append", choices=[*STEPS, SHIPPED])
    parser.add_argument("--store", type=Path, help="slices to train on instead of phantoms'")
    parser.add_argument("--patients", type=int, help="of the store, evenly spread over its ids")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--before", type=Path)
    arguments = parser.parse_args()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    path = work / "ranges.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    store = arguments.store or phantom_store(work, 9, 5, 4.0)
    exclude = left_out(store, arguments.patients)
    for model in arguments.model or ([*STEPS] if arguments.store else [*STEPS, SHIPPED]):
        run, trained_on = work / f"{model}-{arguments.seed}", store
        if model == SHIPPED:  # as bench/make_phantom_generator.py makes its store
            run, trained_on = Path(labelgan.phantom_generator()), phantom_store(work, 48, 1000, 3.2, every=2)
        else:
            train(model, store, run, arguments.steps, exclude, arguments.seed)
        samples = labelgan.Generator.load(run, device="cpu", force=True).sample(arguments.samples, seed=1)
        found[model] = measured(samples.images_NCHW, extremes(trained_on, exclude if model != SHIPPED else []))
        path.write_text(json.dumps(found, indent=1))
    print(measured_at() + "\n")
    print(table(found, json.loads(arguments.before.read_text()) if arguments.before else {}))


if __name__ == "__main__":
    main()
