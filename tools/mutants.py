"""Breaks the code in one line at a time, and runs the tests that should notice: ``python -m tools.mutants``.

Each mutant is one of the mistakes that this kind of work is prone to, made by hand: a sign, a pixel, a percentile, a
patient who is not left out. The change is made in a copy of the sources, never in the checkout. A mutant that survives
is a missing test; 1 is then the exit code. ``--write`` writes the table into docs/results/mutants.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labelgan.core.provenance import measured_at
from tools.sections import write_section

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "results" / "mutants.md"
COPIED = ("src", "tests", "bench", "tools", "docs", "pyproject.toml", "README.md")
LIMIT_S = 600


@dataclass(frozen=True)
class Mutant:
    """One wrong line.

    Attributes:
        mistake: for the table.
        file: below src/labelgan.
        before: text that stands in the file exactly once.
        after: takes its place.
        tests: files below tests that should notice, those that are quickest first.
        late: its test was written because it had survived.
    """

    mistake: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    late: bool = False

    def applied(self, text: str) -> str:
        """Gives the file's text with the mistake; raises ValueError where ``before`` does not stand there once."""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.mistake}: {self.file} has {text.count(self.before)} of {self.before!r}")
        return text.replace(self.before, self.after)


GAME = ("gan/test_objectives.py",)
SCORES = ("scoring/test_metrics.py", "scoring/test_pair.py")
VERDICT = ("study/verdict/test_statistics.py", "study/verdict/test_verdict.py")
COPIES = ("audit/copies/test_copies.py",)

MUTANTS = (
    # A sign of a loss
    Mutant(
        "generator climbs the loss of 2014",
        "gan/objectives.py",
        "else F.softplus(-fake_N).mean()",
        "else F.softplus(fake_N).mean()",
        GAME,
    ),
    Mutant(
        "Wasserstein critic with both signs turned",
        "gan/objectives.py",
        "fake_N.mean() - real_N.mean(), ",
        "real_N.mean() - fake_N.mean(), ",
        GAME,
    ),
    Mutant(
        "gradient penalty is a reward",
        "gan/objectives.py",
        "loss + turn.settings.penalty * penalty",
        "loss - turn.settings.penalty * penalty",
        GAME,
    ),
    Mutant(
        "R3GAN's generator plays for the critic",
        "gan/objectives.py",
        "F.softplus(real_N - turn.critic(turn.fake_NCHW))",
        "F.softplus(turn.critic(turn.fake_NCHW) - real_N)",
        GAME,
    ),
    Mutant("R2 is left out", "gan/objectives.py", "/ 2 * (r1 + r2)", "/ 2 * r1", GAME),
    Mutant(
        "soft Dice rewards what is missed",
        "seg/losses.py",
        "return 1 - (2 * overlap",
        "return 1 + (2 * overlap",
        ("seg/test_losses.py",),
    ),
    # A crop by one
    Mutant(
        "crop starts a pixel late",
        "data/geometry.py",
        "(_resampled(count, zoom) - length) // 2, length)",
        "(_resampled(count, zoom) - length) // 2 + 1, length)",
        ("data/test_geometry.py",),
    ),
    Mutant(
        "way back is off by a pixel",
        "data/geometry.py",
        "(np.arange(self.count) - offset) / slope",
        "(np.arange(self.count) - offset) / slope + 1",
        ("data/test_geometry.py",),
    ),
    Mutant(
        "skip is cropped from the wrong end",
        "seg/networks_li2018.py",
        "return pixels // 2, pixels - pixels // 2",
        "return pixels - pixels // 2, pixels // 2",
        ("seg/test_networks_li2018.py",),
    ),
    # Masks interpolated as images
    Mutant(
        "prepared masks are interpolated",
        "data/prepare/case.py",
        'geometry.to_store(labels, order="label", fill=0)',
        'np.rint(geometry.to_store(labels, order="image", fill=0)).astype(np.uint8)',
        ("data/prepare/test_case.py", "data/prepare/test_cohort.py"),
        late=True,
    ),
    Mutant(
        "moved masks are interpolated",
        "seg/augment.py",
        'mode="nearest", padding_mode="zeros"',
        'mode="bilinear", padding_mode="zeros"',
        ("seg/test_augment.py",),
    ),
    # Label 2 counted as lesion
    Mutant(
        "label 2 is lesion in soft Dice",
        "seg/losses.py",
        "truth_NHW = (masks_NHW == LESION).float()\n        sums",
        "truth_NHW = (masks_NHW > 0).float()\n        sums",
        ("seg/test_losses.py",),
    ),
    Mutant(
        "label 2 is lesion in the score",
        "scoring/pair.py",
        "REFERENCE_LESION = (0.5, 1.5)",
        "REFERENCE_LESION = (0.5, 2.5)",
        SCORES,
    ),
    Mutant(
        "prediction under label 2 counts",
        "scoring/pair.py",
        "predicted_lesion(prediction) & ~other,",
        "predicted_lesion(prediction),",
        SCORES,
    ),
    Mutant(
        "label 2 is lesion in the mask channel",
        "gan/inputs/batches.py",
        "torch.from_numpy(batch.masks_NHW).to(self.device) == 1",
        "torch.from_numpy(batch.masks_NHW).to(self.device) > 0",
        ("gan/inputs/test_batches.py",),
    ),
    Mutant(
        "label 2 is lesion in the store's index",
        "data/prepare/cohort.py",
        "(prepared.masks_ZHW == LESION).sum(axis=(1, 2))",
        "(prepared.masks_ZHW > 0).sum(axis=(1, 2))",
        ("data/prepare/test_cohort.py", "data/test_store.py"),
    ),
    Mutant(
        "label 2 is pasted as lesion",
        "seg/copypaste.py",
        "lesion_HW = moved_HW == LESION",
        "lesion_HW = moved_HW > 0",
        ("seg/test_copypaste.py",),
        late=True,
    ),
    # HD95
    Mutant(
        "HD95 is HD100", "scoring/metrics.py", "np.percentile(distances, 95)", "np.percentile(distances, 100)", SCORES
    ),
    Mutant(
        "HD95 takes the smaller of the two ways",
        "scoring/metrics.py",
        "return max(float(np.percentile(",
        "return min(float(np.percentile(",
        SCORES,
    ),
    # Units of the statistics
    Mutant(
        "scans are the units in place of patients",
        "study/verdict/score_table.py",
        'frame["patient"].map(place)',
        'frame["case"].map({case: row % len(place) for row, case in enumerate(frame["case"].unique())})',
        ("study/verdict/test_score_table.py", *VERDICT),
    ),
    Mutant(
        "resamples draw without replacement",
        "study/verdict/statistics.py",
        "rng.integers(size, size=(rows, size)) + offsets * size",
        "np.arange(size) + offsets * size",
        VERDICT,
    ),
    Mutant(
        "a patient's scans count each",
        "study/verdict/score_table.py",
        "sums / np.maximum(counts, 1), np.nan)",
        "sums, np.nan)",
        ("study/verdict/test_score_table.py", *VERDICT),
    ),
    Mutant(
        "training draws are forgotten",
        "study/verdict/statistics.py",
        "return float(np.hypot(of_patients, of_draws)) if self.added else max(of_patients, of_draws)",
        "return of_patients",
        VERDICT,
    ),
    Mutant("Holm's correction is left out", "study/verdict/statistics.py", "p * (len(known) - rank)", "p", VERDICT),
    Mutant(
        "the verdict reads p before Holm's correction",
        "study/verdict/verdict.py",
        "p_corrected=drawn_holm,",
        "p_corrected=drawn,",
        VERDICT,
        late=True,
    ),
    # Copies
    Mutant(
        "copies' limit is halved",
        "audit/copies/copies.py",
        "return self.closeness < 1",
        "return self.closeness < 0.5",
        COPIES,
        late=True,
    ),
    Mutant(
        "copies' limit is at ten times its false rate",
        "audit/copies/copies.py",
        "FALSE_RATE = 0.01",
        "FALSE_RATE = 0.1",
        COPIES,
    ),
    Mutant(
        "copies' limit is not shared among the spaces",
        "audit/copies/copies.py",
        "false_rate / len(reference.distances) * len(known)",
        "false_rate * len(known)",
        COPIES,
    ),
    # Hashes of the guard
    Mutant(
        "the second channel has no hash",
        "data/check/leaks.py",
        "{name: voxel_hash(volume) for name, volume in volumes.items()}",
        "{name: voxel_hash(volume) for name, volume in list(volumes.items())[:1]}",
        ("data/check/test_leaks.py", "data/prepare/test_case.py"),
        late=True,
    ),
    Mutant(
        "the guard does not compare voxels",
        "data/check/leaks.py",
        "if value in owners:",
        "if value is owners:",
        ("data/check/test_leaks.py",),
    ),
    Mutant(
        "the guard does not compare masks",
        "data/check/leaks.py",
        "if case.mask_hash in masks:",
        "if case.mask_hash is masks:",
        ("data/check/test_leaks.py",),
    ),
    Mutant(
        "the guard does not know the parent's cases",
        "data/check/leaks.py",
        "find_meetings(held_out, (*seen.own, *seen.inherited))",
        "find_meetings(held_out, seen.own)",
        ("data/check/test_leaks.py",),
    ),
    Mutant(
        "what a parent inherited is forgotten",
        "gan/train.py",
        'told["training_cases"] + told.get("inherited_cases", [])',
        'told["training_cases"]',
        ("gan/test_train.py",),
        late=True,
    ),
    Mutant(
        "-0 and 0 are different voxels",
        "data/reading/read.py",
        '.astype("<f4") + np.float32(0))',
        '.astype("<f4"))',
        ("data/reading/test_read.py",),
    ),
    Mutant(
        "the hash does not know shapes",
        "data/reading/read.py",
        "hashlib.sha256(repr(tuple(int(size) for size in data.shape)).encode())",
        "hashlib.sha256()",
        ("data/reading/test_read.py",),
        late=True,
    ),
    # --exclude
    Mutant(
        "train --exclude is ignored",
        "gan/inputs/batches.py",
        "rows = store.select(exclude=[case.id for case in store.hold_out(exclude)])",
        "rows = store.select()",
        ("gan/inputs/test_batches.py", "gan/test_train.py"),
    ),
    Mutant(
        "segment train --exclude is ignored",
        "seg/train.py",
        "store.select(exclude=[case.id for case in held_out])",
        "store.select()",
        ("seg/test_train.py",),
    ),
    Mutant(
        "prepare --exclude is ignored",
        "data/prepare/cohort.py",
        "if case.id not in exclude and case.patient not in exclude]",
        "]",
        ("data/prepare/test_cohort.py",),
    ),
    # Streams
    Mutant(
        "each step of the generator draws the same",
        "gan/trainer.py",
        'generator_for(seed, "generator turn", step)',
        'generator_for(seed, "generator turn")',
        ("gan/test_trainer.py", "gan/test_train.py"),
        late=True,
    ),
    Mutant(
        "resume draws from a stream of its own",
        "gan/trainer.py",
        'rng = generator_for(seed, "critic turn", step, turn)',
        'rng = self.__dict__.setdefault("_rng", generator_for(seed, "critic turn"))',
        ("gan/test_trainer.py", "gan/test_train.py"),
    ),
    Mutant(
        "every step of a segmenter takes the same slices",
        "seg/member.py",
        "*self.batches.batch(self.step, self.team)",
        "*self.batches.batch(0, self.team)",
        ("seg/test_train.py", "seg/test_member.py"),
        late=True,
    ),
    Mutant(
        "resume of a segmenter begins its rounds again",
        "seg/member.py",
        'self.total, self.step = checkpoint.step, state["since_start"]',
        "self.total, self.step = checkpoint.step, 0",
        ("seg/test_train.py",),
    ),
    Mutant(
        "resume forgets the optimizer",
        "gan/trainer.py",
        'unpack_optimizer(self.generator_optimizer, checkpoint.part("generator_optimizer"))',
        "pass",
        ("gan/test_trainer.py", "gan/test_train.py"),
    ),
    # The averaged generator
    Mutant(
        "the average stands still",
        "gan/trainer.py",
        "average.lerp_(current, weight)",
        "average.lerp_(current, 0.0)",
        ("gan/test_trainer.py",),
    ),
    Mutant(
        "the average is the generator itself",
        "gan/trainer.py",
        "average.lerp_(current, weight)",
        "average.copy_(current)",
        ("gan/test_trainer.py",),
    ),
    Mutant(
        "what is saved is not the average",
        "gan/train.py",
        "save_tensors(run.generator, self.trainer.averaged.state_dict())",
        "save_tensors(run.generator, self.trainer.generator.state_dict())",
        ("gan/test_train.py",),
    ),
    # Li et al. 2018
    Mutant(
        "an epoch is N slices in place of 4 N",
        "seg/batches.py",
        "config.train.showings * slices",
        "slices",
        ("seg/test_batches.py",),
    ),
    Mutant(
        "all slices are moved",
        "seg/augment.py",
        "angle * moved, shear * moved, np.where(moved[:, None], zoom, 1.0)",
        "angle, shear, zoom",
        ("seg/test_augment.py",),
    ),
    Mutant(
        "draws of a learning curve know the masks",
        "study/folds.py",
        'with_load = by == "site+load"',
        "with_load = True",
        ("study/test_folds.py",),
    ),
)


def run(mutant: Mutant, copy: Path) -> tuple[str, float]:
    """Runs a mutant's tests on a copy of the sources: (the first test that failed, or "", seconds)."""
    source = copy / "src" / "labelgan" / mutant.file
    text = source.read_text(encoding="utf-8")
    began = time.perf_counter()
    source.write_text(mutant.applied(text), encoding="utf-8")
    try:
        for tests in mutant.tests:
            call = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-n0",
                "-p",
                "no:cacheprovider",
                "--no-header",
                f"tests/{tests}",
            ]
            env = dict(os.environ, PYTHONPATH=str(copy / "src"), PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
            done = subprocess.run(call, cwd=copy, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
            failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", done.stdout, re.MULTILINE)
            if done.returncode not in (0, 1) or (done.returncode and not failed):
                raise RuntimeError(
                    f"{mutant.mistake}: pytest could not run {tests}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
                )
            if failed:
                return re.sub(r"\[.*", "", failed[1]), time.perf_counter() - began
        return "", time.perf_counter() - began
    finally:
        source.write_text(text, encoding="utf-8")


def as_section(rows: list[tuple[Mutant, str]]) -> str:
    """The table of mutants and the tests that noticed them."""
    killed = sum(bool(test) for _, test in rows)
    late = sum(mutant.late for mutant, _ in rows)
    lines = [
        "## Mistakes made on purpose",
        "",
        f"`python -m tools.mutants --write` breaks one line at a time in a copy of the sources. {killed} of",
        f"{len(rows)} mistakes are noticed; {late} of them were not at first, and got a test (in bold).",
        measured_at(),
        "",
        "| mistake | in | noticed by |",
        "|---|---|---|",
    ]
    for mutant, test in rows:
        noticed = f"`{test}`" if test else "**nothing**"
        lines.append(f"| {f'**{mutant.mistake}**' if mutant.late else mutant.mistake} | `{mutant.file}` | {noticed} |")
    return "\n".join(lines)


def main() -> int:
    """Runs the mutants and prints what noticed them; 1 where one survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="mutants with this in their mistake or file")
    parser.add_argument("--write", action="store_true", help="write docs/results/mutants.md")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        for mutant in MUTANTS:
            if options.only in mutant.mistake or options.only in mutant.file:
                test, seconds = run(mutant, copy)
                rows.append((mutant, test))
                print(f"{'killed' if test else 'SURVIVED'}  {mutant.mistake}  {test}  {seconds:.0f} s", flush=True)
    if options.write:
        write_section(DOCUMENT, "mutants", as_section(rows))
    return int(not all(test for _, test in rows))


if __name__ == "__main__":
    sys.exit(main())
