"""How a study's numbers and names are put into words: units, signs, arms, protocols, verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labelgan.scoring.metrics import METRICS, Metric
from labelgan.report.study_files import HARMS, HELPS, NO_EVIDENCE, Comparison, StudyFiles

# Shape and word carry the verdict; colour only repeats them.
SHAPES = {HELPS: "▲", HARMS: "▼", NO_EVIDENCE: "○"}
CLASSES = {HELPS: "helps", HARMS: "harms", NO_EVIDENCE: "none"}

# What the parts of an arm's name mean, where a study does not describe its arms.
PARTS = {
    "real": "real slices as they are",
    "classical": "real slices, flipped, rotated, sheared and zoomed",
    "synthetic": "synthetic slices with their synthetic masks",
    "copypaste": "lesions of training patients pasted into other slices",
    "shuffled": "synthetic slices with each other's masks: a control that must not help",
}

WHAT_METRICS_SAY = {
    "dsc": "overlap of predicted and reference lesion voxels, 0 to 1",
    "hd95_mm": "how far apart the two outlines lie, largest 5 % left out",
    "avd_percent": "error of the total lesion volume",
    "lesion_recall": "share of reference lesions that were touched, 0 to 1",
    "lesion_f1": "recall of lesions and precision of found ones together, 0 to 1",
}


def heading(metric: Metric) -> str:
    """Title, unit, and an arrow, kept on their line, that points to where values are better: ``HD95, mm ↓``."""
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.title}{unit}\u00a0{'↑' if metric.better == 'higher' else '↓'}"


def number(value: float | None, metric: Metric, *, signed: bool = False) -> str:
    """A value with the digits that its unit deserves; a dash where it is undefined."""
    if value is None:
        return "–"
    digits = {"": 3, "mm": 2, "%": 1}.get(metric.unit, 3)
    if abs(value) >= 1e5:
        text = f"{value:+.3g}" if signed else f"{value:.3g}"
    else:
        text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "−")


def interval(entry: Comparison) -> str:
    """``−0.012 to +0.034``, or a dash."""
    if entry.interval is None:
        return "–"
    low, high = (number(bound, METRICS[entry.metric], signed=True) for bound in entry.interval)
    return f"{low} to {high}"


def p_value(p: float | None) -> str:
    """Three digits, never 0; a dash where there is none."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 patient``, ``3 patients``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def span(values: Sequence[int]) -> str:
    """``9``, or ``8 to 9``."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def some(names: Sequence[str], most: int = 12) -> str:
    """The first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def arm_text(arm: str, descriptions: dict[str, str]) -> str:
    """The study's own description of an arm, or what the parts of its name mean."""
    if arm in descriptions:
        return descriptions[arm]
    parts = [PARTS.get(part) for part in arm.split("+")]
    return "; with ".join(part for part in parts if part) if all(parts) else "not described by the study"


def protocol_text(files: StudyFiles) -> str:
    """What was done to whom, in a sentence or two."""
    folds = files.study.folds
    if not folds:
        return "No folds are recorded."
    sizes = f"{span([fold.n_train for fold in folds])} training patients"
    repeats = len({fold.repeat for fold in folds})
    if files.study.protocol == "learning-curve":
        numbers = sorted({fold.n_train for fold in folds})
        draws = counted(repeats, "draw")
        return (
            f"Learning curve: {draws} of {', '.join(map(str, numbers))} training patients each. Every draw trains its "
            "own generator and segmenters; they are tested on patients whom they never saw."
        )
    alone = all(len(fold.test) == 1 for fold in folds)
    kind = "leave one patient out" if alone else f"{math.ceil(len(folds) / repeats)} folds"
    again = f", {repeats} times over" if repeats > 1 else ""
    return (
        f"Cross-validation ({kind}{again}): every patient is held out once{' each time' if repeats > 1 else ''} and "
        f"tested with networks of {sizes}. The generator of a fold never sees the patients held out there."
    )


def tally(comparisons: Sequence[Comparison]) -> list[tuple[str, int]]:
    """How many comparisons say helps, harms and no evidence, in this order."""
    return [(verdict, sum(entry.verdict == verdict for entry in comparisons)) for verdict in SHAPES]
