"""Exports before their consumers: nnU-Net, the BIDS validator, MONAI, TorchIO and highdicom say what they think.

    python -m bench.experiments.consumers --work build/consumers

A phantom cohort, two generators that held out half of its patients each, and their slices are exported together in
every format. nnU-Net and the BIDS validator are installed into virtual environments of their own under ``--work``, so
that nothing of theirs meets this package's. Prints each consumer's own words, then a table. With ``--data`` and
``--synthetic`` the cohorts named are exported instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labelgan import api
from labelgan.api import base as api_export
from labelgan.core.errors import LabelganError
from labelgan.core.files import read_json
from labelgan.core.provenance import measured_at
from labelgan.data.export.write import FORMATS

DATASET = "Dataset501_LabelGAN"
NNUNET = ("nnunetv2==2.8.1", "torch==2.13.0")
VALIDATOR = ("bids-validator-deno==3.0.2",)

# Asked inside nnU-Net's environment: which cases does its own trainer take for each fold?
_SPLITS = """
import json, sys, torch
from nnunetv2.run.run_training import get_trainer_from_args
told = []
for fold in range(int(sys.argv[2])):
    trainer = get_trainer_from_args(sys.argv[1], "2d", fold, device=torch.device("cpu"))
    told.append([sorted(map(str, keys)) for keys in trainer.do_split()])
print("SPLITS " + json.dumps(told))
"""


def say(text: str) -> None:
    """Prints at once, so that the consumers' own words stand in order."""
    print(text, flush=True)


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """A virtual environment with some packages; gives its ``bin``."""
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        for package in reversed(packages):  # torch alone first: its CPU build, where pip is told of one
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", package], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True)
        (folder / "installed").write_text("\n".join(packages))
    return folder / "bin"


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a consumer and prints what it says, without its progress bars."""
    say(f"$ {' '.join(Path(command[0]).name if i == 0 else str(part) for i, part in enumerate(command))}")
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | (env or {}), capture_output=True, text=True, check=False
    )
    for line in (done.stdout + done.stderr).splitlines():
        line = re.sub(r"\x1b\[[0-9;]*m", "", line.split("\r")[-1]).rstrip()
        if line and "it/s]" not in line and "s/it]" not in line and not line.startswith(("{", "SPLITS")):
            say(f"  {line[:180]}")
    return done


def phantoms(work: Path) -> tuple[Path, list[Path]]:
    """Six phantom patients, and the slices of two generators, each of which was tuned, briefly, on three of them."""
    data = work / "scans"
    ids = api.phantom(data, 6, 1, shape=(96, 96, 16))
    api.prepare(data, work / "store", size=(64, 64), spacing_mm=3.2)
    cohorts = []
    for number, held_out in enumerate((ids[:3], ids[3:])):
        generator, out = work / f"generator{number}", work / f"synthetic{number}"
        api.train(work / "store", generator, steps=4, start_from=api.PHANTOM_GENERATOR, exclude=held_out)
        cohorts.append(api.sample(generator, out, 20, seed=number, format=("wmh", "npz")[number], force=True))
    return data, cohorts


def ask_nnunet(work: Path, export: Path) -> str:
    """``nnUNetv2_plan_and_preprocess --verify_dataset_integrity``, then its trainer's own split."""
    bin, homes = environment(work / "nnunet", NNUNET), {}
    for name in ("raw", "preprocessed", "results"):
        homes[f"nnUNet_{name}"] = str(work / f"nnUNet_{name}")
        shutil.rmtree(work / f"nnUNet_{name}", ignore_errors=True)
    shutil.copytree(export, work / "nnUNet_raw" / DATASET)
    plan = [bin / "nnUNetv2_plan_and_preprocess", "-d", "501", "--verify_dataset_integrity"]
    done = run(*plan, "-c", "2d", "-np", "1", "-npfp", "1", env=homes)
    if done.returncode or "verify_dataset_integrity Done" not in done.stdout:
        return "refused"
    prepared = work / "nnUNet_preprocessed" / DATASET
    shutil.copy(export / "splits_final.json", prepared)
    shutil.copy(export / "dataset.json", prepared)
    wanted = read_json(export / "splits_final.json")
    (work / "splits.py").write_text(_SPLITS)
    done = run(bin / "python", work / "splits.py", DATASET, str(len(wanted)), env=homes)
    line = next((line for line in done.stdout.splitlines() if line.startswith("SPLITS ")), None)
    if line is None:
        return "planned, but its trainer does not take the folds"
    made = {entry["id"] for entry in read_json(export / "manifest.json")["cases"] if entry["synthetic"]}
    taken = json.loads(line.removeprefix("SPLITS "))
    same = [[sorted(fold["train"]), sorted(fold["val"])] for fold in wanted] == taken
    leaks = sum(len(made & set(validation)) for _, validation in taken)
    parts = ", ".join(f"{len(train)}+{len(validation)}" for train, validation in taken)
    if not same or leaks:
        return f"refused: other folds than written, or {leaks} synthetic cases to validate on"
    return f"accepted; folds of {parts} cases, no synthetic one to validate on"


def ask_bids(work: Path, export: Path) -> str:
    """The BIDS validator on the data set and on the masks under it."""
    bin = environment(work / "bids", VALIDATOR)
    done = [run(bin / "bids-validator-deno", folder) for folder in (export, export / "derivatives" / "labelgan")]
    errors = sum(part.stdout.count("[ERROR]") + part.stderr.count("[ERROR]") for part in done)
    bad = errors or any(part.returncode for part in done)
    return f"refused: {errors} kinds of error" if bad else "accepted: no error, in the data set and in its masks"


def ask_monai(work: Path, export: Path) -> str:
    """MONAI's loader of datalists, and of the files that they name."""
    from monai.data.decathlon_datalist import load_decathlon_datalist
    from monai.transforms.io.dictionary import LoadImaged

    lists = sorted(export.glob("datalist_fold*.json"))
    parts = []
    for path in lists:
        sections = {name: load_decathlon_datalist(str(path), True, name) for name in ("training", "validation")}
        for items in sections.values():
            for item in items:
                loaded = LoadImaged(["image", "label"])(item)
                assert loaded["image"].shape[1:] == loaded["label"].shape
        assert not any(item["synthetic"] for item in sections["validation"])
        parts.append("+".join(str(len(items)) for items in sections.values()))
    return f"accepted by monai {version('monai')}: folds of {', '.join(parts)} cases, every file loaded"


def ask_torchio(work: Path, export: Path) -> str:
    """TorchIO subjects, through a transform of its own."""
    from torchio.transforms.preprocessing.spatial.to_canonical import ToCanonical

    from labelgan.integrations.torchio import torchio_subjects

    subjects: Any = torchio_subjects(export)
    lesions = sum(int((ToCanonical()(subject)["label"].data == 1).sum() > 0) for subject in subjects)
    return f"accepted by torchio {version('torchio')}: {len(subjects)} subjects, {lesions} with a lesion"


def ask_highdicom(work: Path, export: Path) -> str:
    """Highdicom reads every segmentation back onto the grid of its images."""
    import highdicom

    volumes, voxels = 0, 0
    for path in sorted(export.rglob("seg.dcm")):
        volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
        volumes, voxels = volumes + 1, voxels + int((volume.array == 1).sum())
    return f"accepted by highdicom {version('highdicom')}: {volumes} segmentations, {voxels} lesion voxels"


CONSUMERS: dict[str, tuple[str, Callable[[Path, Path], str]]] = {
    "nnU-Net": ("nnunet", ask_nnunet),
    "BIDS validator": ("bids", ask_bids),
    "MONAI": ("monai", ask_monai),
    "TorchIO": ("wmh", ask_torchio),
    "highdicom": ("dicom", ask_highdicom),
}


def main() -> None:
    """Exports, asks, prints; exit code 1 when somebody refuses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/consumers"), help="folder for everything")
    parser.add_argument("--data", type=Path, help="real cohort (default: phantoms)")
    parser.add_argument("--synthetic", type=Path, nargs="*", default=[], help="synthetic cohorts")
    parser.add_argument("--only", nargs="*", choices=list(CONSUMERS), default=list(CONSUMERS))
    options = parser.parse_args()
    work = options.work.resolve()
    for name in ("exports", "scans", "store", "generator0", "generator1", "synthetic0", "synthetic1"):
        shutil.rmtree(work / name, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    data, synthetic = (options.data, options.synthetic) if options.data else phantoms(work)
    rows = []
    for consumer in options.only:
        format, ask = CONSUMERS[consumer]
        say(f"\n== {consumer}: {FORMATS[format].description}")
        try:
            done = api_export.export([data, *synthetic], work / "exports" / format, format=format)
            say(f"exported {done.real} scans and {done.synthetic} synthetic slices")
            said = ask(work, done.out)
        except (LabelganError, ImportError) as error:
            said = f"not asked: {error}"
        say(said)
        rows.append((consumer, format, said))
    say(f"\n{measured_at()}\n\n| consumer | format | verdict |\n|---|---|---|")
    for row in rows:
        say(f"| {' | '.join(row)} |")
    sys.exit(any("refused" in said or "does not" in said for *_, said in rows))


if __name__ == "__main__":
    main()
