"""Times a few real steps of a study's own networks, on its own scans, on this machine, in a process of its own.

`cost_probe` starts it as ``python -m labelgan.study.cost.measure``: a request comes in on stdin as JSON, measurements
go out on stdout, one JSON object a line, as they are made, so that whatever was measured before a deadline counts.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.config.audit import AuditConfig
from labelgan.config.base import PrepareConfig
from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig
from labelgan.core.errors import LabelganError
from labelgan.core.progress import Report
from labelgan.data.case import Case
from labelgan.data.store import SliceStore
from labelgan.data.volume import ImageRef
from labelgan.study.plan import AUDIT, GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE

MOST_STEPS = 40  # of one training that is timed
MANY = 0.7  # of a budget's rest, for the larger batch
DRAWN = 1 / 12  # of a game's step for a slice: what it takes to draw one, for generator and critic of like size


def now() -> np.ndarray:
    """Wall-clock and processor time, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class _EnoughError(Exception):
    """Ends a training that is only timed."""


@dataclass
class Marks:
    """Notes the time at every report of a training, and ends it after ``most`` steps or past the deadline."""

    most: float = math.inf
    deadline: float = math.inf
    times: list[np.ndarray] = field(default_factory=lambda: [now()])

    def __call__(self, *_: object) -> None:
        self.times.append(now())
        if len(self.times) > self.most or time.perf_counter() > self.deadline:
            raise _EnoughError

    def spent(self) -> np.ndarray:
        """(intervals, 2) between the marks."""
        return np.diff(np.array(self.times), axis=0)

    def step(self, period: int) -> np.ndarray:
        """Mean time of a step over whole periods; the first step, which warms up, is left out where there are more."""
        spent = self.spent()
        if len(spent) == 1:
            return spent[0]
        return spent[1 : 1 + max(period, (len(spent) - 1) // period * period)].mean(axis=0)


@dataclass
class Timed:
    """Cost of a training; times are wall-clock and processor seconds.

    Attributes:
        step: at the full batch.
        batch: slices of the batch that was timed.
        around: before the first step and after the last.
        saving: more at a step that saves a checkpoint.
        bytes: of the folder in the end.
        checkpoint_bytes: of the checkpoints while it runs.
    """

    step: np.ndarray
    batch: int
    around: np.ndarray = field(default_factory=lambda: np.zeros(2))
    saving: np.ndarray = field(default_factory=lambda: np.zeros(2))
    bytes: int = 0
    checkpoint_bytes: int = 0

    def line(self, kind: str, recipe: str, every: int) -> dict[str, Any]:
        """As a measurement goes out; every so many steps there is a checkpoint."""
        return {
            "kind": kind,
            "recipe": recipe,
            "fixed": self.around.tolist(),
            "unit": (self.step + self.saving / every).tolist(),
            "fixed_bytes": self.bytes,
            "passing_bytes": self.checkpoint_bytes,
            "batch": self.batch,
        }


Train = Callable[[Path, int, int | None, Report], object]


def time_training(train: Train, folder: Path, batch: int, period: int, budget_s: float, around: int = 0) -> Timed:
    """Times a training within a budget.

    Steps are timed with one slice, then with a batch that fits the budget, and drawn out to the full batch along a
    line. Where time is left, a training of two steps is run to its end, for what comes before and after the steps.

    Args:
        train: called with (folder, batch size, steps or None for all, report).
        folder: to work in.
        batch: the full batch size.
        period: steps after which their costs repeat.
        budget_s: seconds of wall-clock time, roughly: a period of steps of one slice is run to its end.
        around: slices that are computed besides the steps in a training that is run to its end.
    """
    deadline = time.perf_counter() + budget_s

    def timed_step(name: str, size: int, most: int, until: float = math.inf) -> np.ndarray:
        marks = Marks(most, until)
        with contextlib.suppress(_EnoughError):
            train(folder / name, size, None, marks)
        return marks.step(period)

    one = timed_step("one", 1, period + 1)
    timed = Timed(one * batch, 1)
    slice_s = float(one[0])
    whole_s = slice_s * (2 + around * DRAWN)
    left = MANY * (deadline - time.perf_counter())
    size = min(batch, int(left / (slice_s * (period + 1))))
    if size > 1:
        steps = period * max(1, min(MOST_STEPS, int(left / (slice_s * size))) // period) + 1
        many = timed_step("many", size, steps, deadline)
        # A step of b slices takes a + b c; with few slices a counts, with the full batch c.
        slope = ((many - one) / (size - 1)).clip(0, many / size)
        timed = Timed(many + slope * (batch - size), size)
    if whole_s < deadline - time.perf_counter():
        marks = Marks()
        train(folder / "whole", 1, 2, marks)
        beginning, last, end = (*marks.spent(), now() - marks.times[-1])
        timed.around = (beginning - one).clip(0) + end
        timed.saving = (last - one).clip(0)
        in_all = folder_bytes(folder / "whole")
        checkpoints = sum(folder_bytes(path) for path in (folder / "whole").rglob("checkpoints"))
        timed.bytes, timed.checkpoint_bytes = in_all - checkpoints, 2 * checkpoints  # two are kept, one was made
    return timed


def folder_bytes(folder: Path) -> int:
    """Bytes of the files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


AUDIT_STEPS = 4  # of the encoder of an audit that is timed, besides one
SAMPLES = 16  # drawn: two blocks of `gan.sample`, the second of them timed
MOST_HEADERS = 400  # read to count slices; further cases are taken for their mean
# Slices that a short training of a generator draws besides its steps: 32 watched ones, at its last step and its end.
WATCHED = 64

Line = dict[str, Any]


class Measurer:
    """Measures what a request asks for; each method gives lines, and `lines` all of them.

    Args:
        request: as `cost_probe.request_of` makes it.
    """

    def __init__(self, request: Line) -> None:
        self.request = request
        self.folder = Path(request["folder"])
        self.deadline = time.perf_counter() + request["budget_s"]
        self.read_s = np.zeros(2)  # of the cohort's layout, by every job that reads scans
        self.voxel = np.zeros(2)
        self.voxels_a_slice = 1.0
        self.drawn: Path | None = None

    def left(self, share: float = 1.0) -> float:
        """A share of the seconds that are left."""
        return share * max(0.0, self.deadline - time.perf_counter())

    def lines(self) -> Iterator[Line]:
        """Measures everything, cheap kinds first; a kind that cannot be measured is told, and the rest goes on."""
        yield from self._slices()
        wanted = self.request["kinds"]
        store = SliceStore.open(self.folder / "store")
        for kind, measure in (
            (SCORE, self._score),
            (GENERATOR, self._generator),
            (SAMPLE, self._sample),
            (PREDICT, self._predict),
            (MEMBER, self._members),
            (AUDIT, self._audits),
        ):
            if kind in wanted:
                try:
                    yield from measure(store)
                except (LabelganError, RuntimeError, ValueError) as error:
                    yield {"kind": kind, "failed": str(error)[:300]}

    def _slices(self) -> Iterator[Line]:
        """Prepares a few cases: what a voxel costs, and how many slices of a scan have brain."""
        from labelgan.data.layouts.detect import read_cohort
        from labelgan.data.prepare.cohort import prepare_store

        began = now()
        cohort = read_cohort(Path(self.request["data"]))
        self.read_s = now() - began
        chosen = set(self.request["cases"])
        self.cases = [case for case in cohort.cases if case.id in chosen]
        self.held_out = [self.cases[-1].patient]  # from generators, so that their slices can be audited
        config = PrepareConfig.build(self.request["prepare"])
        others = [case.id for case in cohort.cases if case.id not in chosen]
        began = now()
        store = prepare_store(Path(self.request["data"]), self.folder / "store", config, exclude=others)
        spent = now() - began - self.read_s
        voxels = sum(self.request["voxels"][case.id] for case in self.cases)
        self.voxel, self.voxels_a_slice = spent / voxels, voxels / len(store)
        yield {
            "kind": PREPARE,
            "recipe": "",
            "fixed": self.read_s.tolist(),
            "unit": self.voxel.tolist(),
            "unit_bytes": folder_bytes(store.path) / voxels,
        }
        axial = sum(_axial_slices(case, config) for case in self.cases)
        share = len(store) / max(1, axial)
        slices = {"data": _all_slices(cohort.cases, config, share)}
        if self.request["test"] is not None:
            slices["test"] = _all_slices(read_cohort(Path(self.request["test"])).cases, config, share)
        yield {"slices": slices}

    def _score(self, _: SliceStore) -> Iterator[Line]:
        """Scores a mask against itself, read from a file as a prediction is."""
        from labelgan.data.export.write import nifti_bytes
        from labelgan.data.volume import LESION
        from labelgan.scoring.files import score_files

        case = max((case for case in self.cases if case.mask is not None), key=lambda c: self.request["voxels"][c.id])
        mask, reference = case.load_mask(), case.mask
        assert mask is not None
        assert reference is not None
        path = self.folder / "prediction.nii.gz"
        path.write_bytes(nifti_bytes((mask.data == LESION).astype(np.uint8), mask.affine))
        score_files(reference, ImageRef(path))  # imports
        began = now()
        score_files(reference, ImageRef(path))
        case.load_mask()
        spent = (now() - began) / mask.data.size
        yield {"kind": SCORE, "recipe": "", "fixed": self.read_s.tolist(), "unit": spent.tolist()}

    def _generator(self, store: SliceStore) -> Iterator[Line]:
        from labelgan.gan.train import train_generator

        recipe, given = next(iter(self.request["generators"].items()))
        config = GanConfig.build(given).replace({"train.device": self.request["device"]})

        def train(folder: Path, batch: int, steps: int | None, report: Report) -> None:
            changed = {"train.batch_size": batch} | ({} if steps is None else {"train.steps": steps})
            train_generator(store, folder, config.replace(changed), exclude=self.held_out, report=report)

        # The gradient penalty of some games comes at every K-th critic step.
        every, turns = config.objective.penalty_every, config.objective.critic_steps
        period = every // math.gcd(every, turns)
        place = self.folder / "generator"
        timed = time_training(train, place, config.train.batch_size, period, self.left(0.4), WATCHED)
        saved = min(config.train.checkpoint_every, config.train.sample_every)
        yield timed.line(GENERATOR, recipe, saved)

    def _sample(self, store: SliceStore) -> Iterator[Line]:
        from labelgan.gan.sample import BLOCK, sample_cohort

        run = self.folder / "generator" / "whole"
        if (run / "generator.safetensors").is_file():
            marks = Marks()
            self.drawn = self.folder / "samples"
            device = self.request["device"]
            sample_cohort(run, self.drawn, SAMPLES, format="npz", device=device, force=True, report=marks)
            in_all, unit = now() - marks.times[0], marks.spent()[BLOCK:].mean(axis=0)
            unit_bytes = folder_bytes(self.drawn) / SAMPLES
            fixed = (in_all - SAMPLES * unit).clip(0)
        elif self.request["generators"]:
            unit, fixed, unit_bytes = self._draw(store), np.zeros(2), 0.0
        else:
            return
        yield {
            "kind": SAMPLE,
            "recipe": "",
            "fixed": fixed.tolist(),
            "unit": unit.tolist(),
            "unit_bytes": unit_bytes,
        }

    def _draw(self, store: SliceStore) -> np.ndarray:
        """Time of one slice from a network with its first weights."""
        import torch

        from labelgan.gan.inputs.batches import training_rows
        from labelgan.gan.inputs.inputs import gather_content, make_inputs
        from labelgan.gan.trainer import build_networks
        from labelgan.training.device import choose_device

        config = GanConfig.build(next(iter(self.request["generators"].values())))
        network = build_networks(config, len(store.channels) + 1, store.size)[0]
        device = choose_device(self.request["device"])
        inputs = make_inputs(config, gather_content(store, training_rows(store, config), config))
        with torch.no_grad():
            network.to(device).eval()
            for indices in (range(1), range(2)):  # the first warms up
                began = now()
                drawn = network(*(tensor.to(device) for tensor in inputs.samples(0, indices)))
                inputs.finish(0, indices, drawn).cpu()
        return (now() - began) / 2

    def _members(self, store: SliceStore) -> Iterator[Line]:
        from labelgan.seg.train import train_segmenter

        read = self._read_synthetic(store)
        recipes = dict(self.request["members"])
        last: Timed | None = None
        for number, (recipe, given) in enumerate(recipes.items()):
            config = SegConfig.build(given["config"]).replace({"train.device": self.request["device"]})
            samples = self.drawn if given["samples"] else None
            if samples is None:
                config = config.replace({"train.synthetic_share": 0.0, "train.shuffle_synthetic_masks": False})

            def train(
                folder: Path, batch: int, steps: int | None, report: Report,
                config: SegConfig = config, samples: Path | None = samples,
            ) -> None:  # fmt: skip
                changed = {"train.batch_size": batch} | ({} if steps is None else {"train.steps": steps})
                train_segmenter(store, folder, config.replace(changed), synthetic=samples, report=report)

            # Where not even half a batch fits, the network is all that costs: the next arm's costs the same.
            if last is None or last.batch * 2 > config.train.batch_size:
                budget = self.left(0.9) / (len(recipes) - number)
                last = time_training(train, self.folder / f"member-{number}", config.train.batch_size, 1, budget)
            line = last.line(MEMBER, recipe, config.train.checkpoint_every)
            if samples is not None:
                line["fixed"] = (np.array(line["fixed"]) + read * max(0, given["samples"] - SAMPLES)).tolist()
            yield line

    def _audits(self, store: SliceStore) -> Iterator[Line]:
        """Times an audit of the drawn slices: a step of its encoder, and everything else by the slice."""
        from labelgan.audit.run import run_audit

        if self.drawn is None:
            yield {"kind": AUDIT, "failed": "there was no time to draw the slices that it needs"}
            return
        for number, (recipe, given) in enumerate(self.request["audits"].items()):
            config = AuditConfig.build(given).replace({"data.device": self.request["device"]})
            spent = []
            for steps in (1, 1 + AUDIT_STEPS):
                began = now()
                changed = config.replace({"encoder.steps": steps})
                run_audit(self.drawn, store, self.held_out, self.folder / f"audit-{number}-{steps}", changed)
                spent.append(now() - began)
            step = ((spent[1] - spent[0]) / AUDIT_STEPS).clip(0)
            yield {
                "kind": AUDIT,
                "recipe": recipe,
                "fixed": (step * config.encoder.steps).tolist(),
                "unit": ((spent[1] - step * (1 + AUDIT_STEPS)).clip(0) / (SAMPLES + len(store))).tolist(),
                "fixed_bytes": folder_bytes(self.folder / f"audit-{number}-1"),
            }

    def _read_synthetic(self, store: SliceStore) -> np.ndarray:
        """Time of reading one synthetic slice."""
        from labelgan.seg.synthetic import read_synthetic

        if self.drawn is None:
            return np.zeros(2)
        began = now()
        read_synthetic(self.drawn, store, ())
        return (now() - began) / SAMPLES

    def _predict(self, store: SliceStore) -> Iterator[Line]:
        """Times a pass of one network over one slice; a voxel costs what it costs to prepare."""
        from labelgan.seg.networks import build_segmenter
        from labelgan.seg.predict import Ensemble
        from labelgan.training.device import choose_device

        for recipe, given in self.request["predictions"].items():
            config = SegConfig.build(given["config"])
            began = now()
            network = build_segmenter(config.network, len(store.channels))
            device = choose_device(self.request["device"])
            ensemble = Ensemble([network], store.channels, store.config, config, device)
            images_NCHW = np.asarray(store.images[: min(2, config.predict.batch_size)], dtype=np.float32)
            ensemble.probabilities(images_NCHW[:1])
            loading, began = now() - began, now()
            ensemble.probabilities(images_NCHW)
            spent = (now() - began) / len(images_NCHW)
            yield {
                "kind": PREDICT,
                "recipe": recipe,
                "fixed": (self.read_s + given["networks"] * loading).tolist(),
                "unit": (spent + self.voxel * self.voxels_a_slice / given["networks"]).tolist(),
            }


def _axial_slices(case: Case, config: PrepareConfig) -> int:
    from labelgan.data.geometry import SliceGeometry
    from labelgan.data.reading.read import read_header

    header = read_header(next(iter(case.images.values())))
    return SliceGeometry.of(header.shape, header.affine, config.size).z.length


def _all_slices(cases: tuple[Case, ...], config: PrepareConfig, share: float) -> dict[str, float]:
    """Slices with brain of every case, from headers, a ``share`` of the axial ones each."""
    counted = {case.id: _axial_slices(case, config) * share for case in cases[:MOST_HEADERS]}
    mean = float(np.mean(list(counted.values())))
    return {case.id: counted.get(case.id, mean) for case in cases}


def main() -> int:
    """Answers the request on stdin; what libraries print goes to stderr."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(line: Line) -> None:
        print(json.dumps(line), file=answers, flush=True)

    from labelgan.training.device import choose_device

    device = choose_device(request["device"])
    from torch.utils import tensorboard  # noqa: F401 (what a worker imports)

    from labelgan.gan import train as _  # noqa: F401
    from labelgan.seg import train  # noqa: F401

    wall, processor = time.time() - request["began"], time.process_time()
    answer({"device": device.type, "start": [wall, processor]})
    from labelgan.data.pseudonyms import using

    with using(request.get("pseudonymise")):
        for line in Measurer(request).lines():
            answer(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
