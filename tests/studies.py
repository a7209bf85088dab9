"""Studies that never ran: their files, with made-up scores that look like real ones, for tests of what reads them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.rng import generator_for
from labelgan.scoring.metrics import METRICS

ARMS = ("real", "classical", "classical+copypaste", "classical+synthetic", "classical+shuffled")
# What an arm adds to the DSC of `real`; the other metrics follow.
EFFECTS = {"classical": 0.05, "classical+copypaste": 0.07, "classical+synthetic": 0.1, "classical+shuffled": -0.06}
COLUMNS = ("fold", "n_train", "repeat", "arm", "site", "patient", "case", *METRICS, "lesion_voxels", "predicted_voxels")


def write_study(
    folder: Path,
    *,
    arms: Sequence[str] = ARMS,
    patients: Sequence[str] = tuple(f"P{i:03d}" for i in range(1, 11)),
    numbers: Sequence[int] = (),
    repeats: int = 1,
    undefined: float = 0.0,
    status: str = "complete",
    verdict: bool = True,
    seed: int = 0,
    data: str = "ms3seg-wmh",
    **more: Any,
) -> Path:
    """Writes study.json, scores.csv and verdict.json as ``labelgan study`` leaves them.

    Args:
        folder: where to.
        arms: what was compared.
        patients: all of them; leave-one-out where ``numbers`` is empty.
        numbers: training patients of a learning curve.
        repeats: draws of a learning curve.
        undefined: share of scores that are undefined.
        status: complete or incomplete.
        verdict: whether there is a verdict.json.
        seed: of the scores.
        data: the cohort's name.
        more: keys of study.json to set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folds = _folds(patients, numbers, repeats, seed)
    rows = _rows(folds, arms, patients, undefined, seed)
    study = {
        "format": 1,
        "kind": "study",
        "status": status,
        "protocol": "learning-curve" if numbers else "cross-validation",
        "data": data,
        "test_data": None,
        "arms": list(arms),
        "references": [arm for arm in ("classical", "real") if arm in arms],
        "folds": folds,
        "config": {"arms": list(arms), "seed": seed, "start_from": None, "generator": {"train": {"steps": 500}}},
        "cost": [
            {"kind": "prepare", "jobs": 1, "seconds": 12.5},
            {"kind": "train generator", "jobs": len(folds), "seconds": 61.4 * len(folds)},
            {"kind": "train member", "jobs": 3 * len(folds), "seconds": 150.2 * len(folds)},
        ],
        "failed": [],
        "generators": [
            {
                "fold": fold["name"],
                "job": f"train-generator-{i:016x}",
                "diversity": 0.9,
                "lesion_rate": 0.4,
                "steps": 500,
            }
            for i, fold in enumerate(folds)
        ],
        "made_with": {"labelgan": "0.1.0", "python": "3.12"},
        "command": f"labelgan study {data} --out {folder.name}",
    } | more
    write_json(folder / "study.json", study)
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if verdict:
        write_json(folder / "verdict.json", _verdict(rows, arms, bool(numbers)))
    return folder


def write_json(path: Path, value: Any) -> None:
    """Writes JSON as the package does: without NaN."""
    path.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")


def change_json(path: Path, **values: Any) -> None:
    """Sets keys of a JSON file."""
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)


def _folds(patients: Sequence[str], numbers: Sequence[int], repeats: int, seed: int) -> list[dict[str, Any]]:
    if not numbers:
        return [
            {
                "name": f"fold-{i:02d}",
                "n_train": len(patients) - 1,
                "repeat": 0,
                "train": [p for p in patients if p != patient],
                "test": [patient],
            }
            for i, patient in enumerate(patients)
        ]
    folds: list[dict[str, Any]] = []
    for n in numbers:
        for repeat in range(repeats):
            order = generator_for(seed, "draw", n, repeat).permutation(len(patients))
            drawn = [str(patients[i]) for i in order]
            name = f"n{n:03d}-draw-{repeat}"
            folds.append({"name": name, "n_train": n, "repeat": repeat, "train": drawn[:n], "test": sorted(drawn[n:])})
    return folds


def _rows(
    folds: Sequence[dict[str, Any]], arms: Sequence[str], patients: Sequence[str], undefined: float, seed: int
) -> list[dict[str, Any]]:
    """Scores depend on places in the lists, not on names."""
    rows = []
    numbered = {patient: number for number, patient in enumerate(patients)}
    for fold in folds:
        for place, arm in enumerate(arms):
            for patient in fold["test"]:
                hard = generator_for(seed, "patient", numbered[patient]).normal(0, 0.1)
                draw = generator_for(seed, fold["name"], place, numbered[patient])
                level = 0.35 + 0.12 * math.log2(fold["n_train"]) / 1.6 + EFFECTS.get(arm, 0.02)
                dsc = float(np.clip(level + hard + draw.normal(0, 0.03), 0.02, 0.97))
                scores = {
                    "dsc": dsc,
                    "hd95_mm": 4 + 30 * (1 - dsc) ** 2 + abs(draw.normal(0, 1.5)),
                    "avd_percent": 100 * (1 - dsc) * draw.uniform(0.3, 1.2),
                    "lesion_recall": float(np.clip(dsc + draw.normal(0.05, 0.05), 0, 1)),
                    "lesion_f1": float(np.clip(dsc + draw.normal(-0.03, 0.05), 0, 1)),
                }
                shown = {name: "" if draw.random() < undefined else f"{value:.6g}" for name, value in scores.items()}
                rows.append(
                    {"fold": fold["name"], "n_train": fold["n_train"], "repeat": fold["repeat"], "arm": arm}
                    | {"site": "Utrecht", "patient": patient, "case": patient, **shown}
                    | {"lesion_voxels": 1500, "predicted_voxels": round(1500 * dsc + 100)}
                )
    return rows


def _verdict(rows: Sequence[dict[str, Any]], arms: Sequence[str], curve: bool) -> dict[str, Any]:
    """Means over patients; an interval is the mean ± 2 standard errors, which will do for looking at."""
    by_patient: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    for row in rows:
        for name in METRICS:
            cell = by_patient.setdefault((row["arm"], row["n_train"], name), {}).setdefault(row["patient"], [])
            cell.extend([float(row[name])] if row[name] else [])
    summary, comparisons, multipliers = [], [], []
    references = [arm for arm in ("classical", "real") if arm in arms]
    for (arm, n, name), patients in by_patient.items():
        values = [float(np.mean(scores)) for scores in patients.values() if scores]
        entry = {"arm": arm, "n_train": n, "metric": name, "n": len(values), "undefined": len(patients) - len(values)}
        figures = (np.mean(values), np.std(values, ddof=1), np.median(values)) if len(values) > 1 else (None,) * 3
        summary.append(entry | dict(zip(("mean", "sd", "median"), (f and float(f) for f in figures), strict=True)))
        for reference in references:
            if reference != arm:
                comparisons.append(_comparison(entry, reference, patients, by_patient[reference, n, name]))
        if curve and name == "dsc" and references and arm != references[0]:
            multipliers.append(
                {"arm": arm, "reference": references[0], "n_train": n, "score": summary[-1]["mean"], "needed": n * 1.4}
                | ({"multiplier": 1.4, "note": ""} if arm != arms[-1] else {"needed": None, "multiplier": None})
                | ({"note": "beyond the largest number of patients"} if arm == arms[-1] else {})
            )
    return {
        "format": 1,
        "headline": "classical+synthetic helps by DSC: +0.05 over classical (10 patients).",
        "reference": references[0] if references else None,
        "summary": summary,
        "comparisons": comparisons,
        "multipliers": multipliers,
        "policy": "a metric that an empty mask leaves undefined is left out of means and counted beside them",
        "resamples": 10000,
        "seed": 0,
    }


def _comparison(
    entry: dict[str, Any], reference: str, arm: dict[str, list[float]], base: dict[str, list[float]]
) -> dict[str, Any]:
    differences = [np.mean(arm[p]) - np.mean(base[p]) for p in arm if arm[p] and base.get(p)]
    n, metric = len(differences), METRICS[entry["metric"]]
    row = entry | {"reference": reference, "n": n, "undefined": len(arm) - n}
    if n < 2:
        nothing = {"difference": None, "interval": None, "p": None, "p_holm": None, "verdict": "no evidence"}
        return row | nothing | {"sentence": f"{entry['arm']}: too few patients."}
    middle, half = float(np.mean(differences)), float(2 * np.std(differences, ddof=1) / math.sqrt(n))
    sign = 1 if metric.better == "higher" else -1
    verdict = "helps" if sign * middle > half else "harms" if sign * middle < -half else "no evidence"
    sentence = f"With {entry['arm']}, {metric.title} changed by {middle:+.3f} against {reference}: {verdict}."
    return row | {
        "difference": middle,
        "interval": [middle - half, middle + half],
        "p": 0.01,
        "p_holm": 0.0004 if verdict == "helps" else 0.05,
        "verdict": verdict,
        "sentence": sentence,
    }
