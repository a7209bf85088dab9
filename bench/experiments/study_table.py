"""Prints a finished study as Markdown, as docs/results has it: `python -m bench.experiments.study_table STUDY
[REFERENCE]`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from labelgan.core.files import read_json
from labelgan.scoring.metrics import METRICS

DIGITS = {"hd95_mm": 1, "avd_percent": 0}


def shown(metric: str, value: float | None, signed: bool = False) -> str:
    """A value with as many digits as its metric deserves."""
    return "–" if value is None else f"{value:{'+' if signed else ''}.{DIGITS.get(metric, 3)}f}"


def title(metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{METRICS[metric].title}, {unit}" if unit else METRICS[metric].title


def means(verdict: dict[str, Any]) -> list[str]:
    lines = [f"| n | arm | {' | '.join(map(title, METRICS))} |", f"|---:|---|{'---:|' * len(METRICS)}"]
    rows = {(row["n_train"], row["arm"], row["metric"]): row for row in verdict["summary"]}
    for n_train, arm in dict.fromkeys((row["n_train"], row["arm"]) for row in verdict["summary"]):
        cells = []
        for metric in METRICS:
            row = rows[n_train, arm, metric]
            undefined = f" ({row['undefined']} undefined)" if row["undefined"] else ""
            cells.append(f"{shown(metric, row['mean'])} ± {shown(metric, row['sd'])}{undefined}")
        lines.append(f"| {n_train} | {arm} | {' | '.join(cells)} |")
    return lines


def differences(verdict: dict[str, Any], reference: str) -> list[str]:
    lines = [f"| n | arm − {reference} | {' | '.join(map(title, METRICS))} |", f"|---:|---|{'---|' * len(METRICS)}"]
    rows = {
        (row["n_train"], row["arm"], row["metric"]): row
        for row in verdict["comparisons"]
        if row["reference"] == reference
    }
    for n_train, arm in dict.fromkeys((n_train, arm) for n_train, arm, _ in rows):
        cells = []
        for metric in METRICS:
            row = rows[n_train, arm, metric]
            low, high = row["interval"] or (None, None)
            word = "" if row["verdict"] == "no evidence" else f" **{row['verdict']}**"
            interval = f"{shown(metric, low, True)} to {shown(metric, high, True)}"
            cells.append(f"{shown(metric, row['difference'], True)} ({interval}){word}")
        lines.append(f"| {n_train} | {arm} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    folder, reference = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "classical"
    verdict, study = read_json(folder / "verdict.json"), read_json(folder / "study.json")
    made = study["made_with"]
    print(f"Measured at revision {made.get('git', 'unknown')} of labelgan {made['labelgan']}.", "")
    print(verdict["headline"], "", *means(verdict), "", *differences(verdict, reference), sep="\n")
    if verdict.get("multipliers"):
        print("\n| n | arm | DSC | patients that the reference needs | multiplier | |\n|---:|---|---:|---:|---:|---|")
        for row in verdict["multipliers"]:
            if row.get("metric", "dsc") != "dsc":
                continue
            needed, ratio = (
                "–" if row[key] is None else f"{row[key]:.{digits}f}"
                for key, digits in (("needed", 1), ("multiplier", 2))
            )
            score = shown("dsc", row["score"])
            print(f"| {row['n_train']} | {row['arm']} | {score} | {needed} | {ratio} | {row['note']} |")
    print("\n| job | jobs | seconds |\n|---|---:|---:|")
    for row in study["cost"]:
        print(f"| {row['kind']} | {row['jobs']} | {row['seconds']:.0f} |")


if __name__ == "__main__":
    main()
