"""What the adversarial game adds to the refiner's compositions, and what longer training adds to none of them.

Run: python -m bench.experiments.game_share COHORT --out FOLDER [--draws 0,1,2] [--size 10] [--steps 600]

The league's split and draws: training patients of its development half, test patients of its other half. Of every
draw a refiner is trained for `--steps` steps, and another for one step, which leaves its compositions as they are; both
sample as often. A segmenter then trains on real slices alone, on these four times as long, and with a third of either's
samples in its batches. Scores are DSC on the store's grid, not on the scans', so that they are not the league's. What
is finished is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import torch

from bench.experiments.useful_samples import Trial, dsc
from bench.league.plan import draw_patients, split_patients
from labelgan import api
from labelgan.config.seg import SegConfig
from labelgan.core.files import read_json, write_json_atomic
from labelgan.core.provenance import measured_at
from labelgan.data.store import SliceStore

ARMS = ("classical", "classical, four times the steps", "refiner before its game", "refiner")
SAMPLES = 600


def samples_of(store: SliceStore, train: list[str], out: Path, steps: int, seed: int) -> Path:
    """Trains a refiner on some patients and samples it, or takes what is there."""
    run, samples = out / "run", out / "samples"
    if not samples.is_dir():
        exclude = sorted({case.patient for case in store.cases} - set(train))
        resume = (run / "manifest.json").is_file()
        changes = {"train.steps": steps, "train.seed": seed, "train.threads": 1, "train.device": "cpu"}
        if not (run / "generator.safetensors").is_file():
            api.train(
                store.path, run, model="refiner", preset="laptop", settings=changes, exclude=exclude, resume=resume
            )
        api.sample(run, samples, SAMPLES, seed=seed, device="cpu", force=True)
    return samples


def scores_of(store: SliceStore, draw: int, size: int, steps: int, out: Path) -> dict[str, dict[str, float]]:
    """DSC of every arm and test patient of one draw."""
    development, test = split_patients(sorted({case.patient for case in store.cases}))
    train = sorted(draw_patients(development, size, draw))
    made = {
        name: samples_of(store, train, out / "generators" / name.replace(" ", "-"), count, draw)
        for name, count in (("refiner before its game", 1), ("refiner", steps))
    }
    trial = Trial(store, train, made["refiner"], out, SegConfig.for_segmenter(preset="laptop"))
    found = {}
    for arm in ARMS:
        length = 4 * steps if arm.startswith("classical,") else steps
        network = trial.segmenter(arm.replace(" ", "-").replace(",", ""), train, made.get(arm), length)
        found[arm] = {patient: dsc(network, store, patient) for patient in test}
        print(f"draw {draw}, {arm}: {fmean(found[arm].values()):.3f}", flush=True)
    return found


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Mean DSC of every arm, over draws and by draw, as Markdown."""
    lines = ["| what the segmenter is trained on | mean DSC | by draw |", "|---|---|---|"]
    for arm in ARMS:
        means = [fmean(of_draw[arm].values()) for _, of_draw in sorted(found.items())]
        lines.append(f"| {arm} | {fmean(means):.3f} | {' '.join(f'{mean:.3f}' for mean in means)} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the table of the draws that are finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", default="0,1,2")
    parser.add_argument("--size", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    place = given.out / "store"
    store = (
        SliceStore.open(place) if place.is_dir() else api.prepare(given.cohort, place, size=(64, 64), spacing_mm=4.0)
    )
    found = {}
    for draw in map(int, given.draws.split(",")):
        result = given.out / f"draw-{draw}.json"
        if not result.is_file():
            folder = given.out / f"draw-{draw}"
            write_json_atomic(result, scores_of(store, draw, given.size, given.steps, folder))
        found[str(draw)] = read_json(result)
    print(f"{measured_at()}\n\n{table(found)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
