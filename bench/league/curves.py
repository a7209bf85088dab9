"""A league's learning curves: what each arm scores for so many training patients."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.league.plan import REFERENCES, WITH_SAMPLES, arm_of
from labelgan.core.files import write_bytes_atomic

METRICS = {"dsc": "DSC", "lesion_f1": "lesion F1"}
# Okabe and Ito's palette: told apart by colour-blind readers.
_REFERENCES = {"classical": "#000000", "classical+copypaste": "#E69F00"}
_ROWS = ("#0072B2", "#CC79A7", "#009E73", "#56B4E9", "#D55E00")
_STYLES = dict(zip(WITH_SAMPLES, ("-", "--"), strict=True))


def curves(verdict: dict[str, Any], rows: Sequence[str]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """For every metric and arm of two sizes or more, its (training patients, mean) in rising order.

    Args:
        verdict: with ``summary``, as in league.json.
        rows: keys of ``league_plan.ROWS``.
    """
    wanted = {*REFERENCES, *(arm_of(arm, row) for row in rows for arm in WITH_SAMPLES)}
    found: dict[str, dict[str, list[tuple[int, float]]]] = {metric: {} for metric in METRICS}
    for row in sorted(verdict["summary"], key=lambda row: row["n_train"]):
        if row["arm"] in wanted and row["metric"] in found and row["mean"] is not None:
            found[row["metric"]].setdefault(row["arm"], []).append((row["n_train"], row["mean"]))
    return {metric: {arm: points for arm, points in arms.items() if len(points) > 1} for metric, arms in found.items()}


def draw_curves(verdict: dict[str, Any], rows: Sequence[str]) -> bytes | None:
    """Draws them side by side; gives PNG bytes, or None where no row has two sizes."""
    from matplotlib.figure import Figure

    found = curves(verdict, rows)
    styles = {name: (colour, "-") for name, colour in _REFERENCES.items()}
    for number, row in enumerate(rows):
        styles |= {arm_of(arm, row): (_ROWS[number % len(_ROWS)], style) for arm, style in _STYLES.items()}
    if not any(arm not in _REFERENCES for arms in found.values() for arm in arms):
        return None
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(METRICS))
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for arm, points in found[metric].items():
            colour, style = styles[arm]
            axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", markersize=4, label=arm)
        sizes = sorted({size for points in found[metric].values() for size, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("annotated training patients")
        axes.set_ylabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()


def curve_lines(name: str, verdict: dict[str, Any], rows: Sequence[str], doc: Path) -> list[str]:
    """Draws a league's curves under ``images/league`` and gives the lines that show them; none where there are none."""
    png = draw_curves(verdict, rows)
    if png is None:
        return []
    file = doc.parent.parent / "images" / "league" / f"{name}-curves.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(file, png)
    alt = f"mean DSC and lesion F1 by number of training patients, {name}"
    return ["### Learning curves", "", f"![{alt}](../images/league/{file.name})", ""]
