"""Real or synthetic? A blinded test: slices one by one, an answer for each, accuracy with its interval.

Each slice is real or synthetic by a coin toss of its own, so that answers so far tell nothing of the next one. Both are
shown on one grid, windowed by the same rule, without a name.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from labelgan.core.errors import DataError, LabelganError
from labelgan.core.files import read_json, write_json_atomic
from labelgan.core.rng import generator_for
from labelgan.data.curation import BLIND_TESTS
from labelgan.data.pictures import grey_window
from labelgan.studio.index import Index, SliceEntry
from labelgan.studio.pictures import draw_slice
from labelgan.studio.real import Grid, real_cases
from labelgan.studio.sources import Source

Answer = Literal["real", "synthetic"]
FORMAT_VERSION = 1
FEWEST, MOST = 5, 500
MOST_TESTS = 50  # that are kept open at a time


def wilson_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson, JASA 22, 1927, 209-212).

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share")
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


@dataclass(eq=False)
class BlindTest:
    """One test; its answers are known to the server alone until it is over.

    Attributes:
        key: its name in addresses.
        source: the synthetic cohort.
        seed: of the draws.
        masks: whether outlines are shown.
        trials: slices in order.
        answers: given so far.
    """

    key: str
    source: Source
    seed: int
    masks: bool
    trials: list[SliceEntry]
    answers: list[Answer] = field(default_factory=list)
    saved: bool = False

    @property
    def truth(self) -> list[Answer]:
        """True kinds of the slices."""
        return ["synthetic" if entry.case.synthetic else "real" for entry in self.trials]

    def result(self) -> dict[str, Any]:
        """Accuracy so far with its 95 % Wilson interval, and the table of answers."""
        given = list(zip(self.truth, self.answers, strict=False))
        right = sum(truth == answer for truth, answer in given)
        low, high = wilson_interval(right, len(given)) if given else (0.0, 1.0)
        names: tuple[Answer, ...] = ("real", "synthetic")
        table = {f"{t} called {a}": sum(pair == (t, a) for pair in given) for t in names for a in names}
        return {
            "trials": len(given),
            "right": right,
            "accuracy": right / len(given) if given else None,
            "interval": [low, high],
            "level": 0.95,
            "table": table,
        }


class BlindTests:
    """The tests of this session."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.tests: dict[str, BlindTest] = {}
        self._lock = threading.Lock()

    def begin(
        self, source: Source, trials: int, seed: int | None = None, masks: bool = False, lesions: bool = False
    ) -> BlindTest:
        """Draws a test.

        Args:
            source: the synthetic cohort.
            trials: how many slices.
            seed: of the draws; None takes one at random.
            masks: show the outlines of lesions.
            lesions: only slices with a lesion.

        Raises:
            DataError: too few or too many trials, or no real slice of the same channels.
        """
        if not FEWEST <= trials <= MOST:
            raise DataError("blind test", f"{trials} slices; {FEWEST} to {MOST} are possible")
        grid = Grid.of(source.manifest)
        seed = secrets.randbelow(2**31) if seed is None else seed
        made = [case for case in list(self.index.cases.values()) if case.source is source]
        sides = {
            synthetic: [
                entry for case in cases for key in case.slices if (entry := self.index.slices[key]).load or not lesions
            ]
            for synthetic, cases in ((True, made), (False, real_cases(self.index, source, grid).beside))
        }
        for synthetic, entries in sides.items():
            if not entries:
                word = "synthetic" if synthetic else "real"
                raise DataError(source.title, f"there is no {word} slice to show; name a folder that has some")
        drawn: list[SliceEntry] = []
        left = {
            kind: list(generator_for(seed, "blind", str(kind)).permutation(len(side))) for kind, side in sides.items()
        }
        for trial in range(trials):
            kind = bool(generator_for(seed, "blind", "coin", trial).integers(2))
            if not left[kind]:
                raise DataError(source.title, f"has too few slices for {trials} trials; ask for fewer")
            drawn.append(sides[kind][int(left[kind].pop())])
        test = BlindTest(secrets.token_hex(12), source, seed, masks, drawn)
        with self._lock:
            self.tests[test.key] = test
            for old in list(self.tests)[:-MOST_TESTS]:
                del self.tests[old]
        return test

    def picture(self, test: BlindTest, trial: int, channel: int, side: int) -> bytes:
        """One channel of one slice as PNG; only the slice that is due, and those before it, may be seen.

        Raises:
            DataError: there is no such slice or channel, or it is not due yet.
        """
        grid = Grid.of(test.source.manifest)
        if not 0 <= trial <= min(len(test.answers), len(test.trials) - 1) or not 0 <= channel < len(grid.channels):
            raise DataError("blind test", "this slice is not due")
        entry = test.trials[trial]
        images_NCHW, masks_NHW = grid.bring(self.index.images(entry.case))
        # z-scores and intensities alike: held to air, windowed by the slice itself
        plane = images_NCHW[entry.z, channel]
        mask = masks_NHW[entry.z] if test.masks else None
        return draw_slice(plane, mask, grey_window(plane), grid.pixel_mm, side, "outline" if test.masks else "none")

    def answer(self, test: BlindTest, trial: int, answer: Any) -> dict[str, Any]:
        """Takes an answer; the last one ends the test and writes it beside the samples.

        Raises:
            DataError: the answer is none, or not of the slice that is due; or the file cannot be written.
        """
        with self._lock:
            if answer not in ("real", "synthetic") or trial != len(test.answers) or trial >= len(test.trials):
                raise DataError("blind test", "expected real or synthetic, for the slice that is due")
            test.answers.append(answer)
            over = len(test.answers) == len(test.trials)
            told: dict[str, Any] = {"done": len(test.answers), "trials": len(test.trials), "over": over}
            if over:
                told |= {"result": test.result(), "truth": test.truth, "answers": test.answers}
                try:
                    self._save(test)
                    told["saved"] = BLIND_TESTS
                except (OSError, LabelganError) as error:
                    told["not_saved"] = " ".join(str(error).split())
            return told

    def _save(self, test: BlindTest) -> None:
        path = test.source.path / BLIND_TESTS
        earlier = read_json(path) if path.exists() else {"format": FORMAT_VERSION, "kind": "blind-tests", "tests": []}
        if not isinstance(earlier, dict) or not isinstance(earlier.get("tests"), list):
            raise DataError(path, "is damaged; move it away")
        rows = [
            {"source": e.case.source.kind, "case": e.case.id, "z": e.z, "truth": truth, "answer": answer}
            for e, truth, answer in zip(test.trials, test.truth, test.answers, strict=True)
        ]
        entry = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": test.seed,
            "outlines_shown": test.masks,
            **test.result(),
            "rows": rows,
        }
        write_json_atomic(path, {**earlier, "tests": [*earlier["tests"], entry]})
        test.saved = True


def chance_words(result: dict[str, Any]) -> str:
    """Explains an accuracy in a sentence."""
    low, high = result["interval"]
    if low > 0.5:
        return "better than chance: the slices can be told apart"
    if high < 0.5:
        return "worse than chance: synthetic slices look more real than real ones, or the two were mixed up"
    return "chance is inside the interval: this test did not tell them apart"
