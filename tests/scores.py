"""Scores of studies, as few lines as a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas


def make_scores(
    arms: Mapping[str, Any], *, n_train: int = 2, sites: Sequence[str] = "", curve: bool = False, **metrics: Any
) -> Any:
    """Gives a DataFrame of scores.csv's rows: patients p00, p01, ... of one scan each.

    Args:
        arms: DSC for each arm, (P,) or (P, R); None is undefined. Lesion recall and F1 are the same, HD95 is
            10 (1 - DSC) mm and AVD 100 (1 - DSC) %.
        n_train: training patients.
        sites: one for each patient.
        curve: each repeat is one fold, that tests everybody; else each patient has a fold.
        metrics: for each metric a table for each arm, instead of what follows from DSC.
    """
    rows = []
    for arm, given in arms.items():
        dsc = _table(given)
        own = {name: _table(tables[arm]) for name, tables in metrics.items()}
        for (patient, repeat), value in np.ndenumerate(dsc):
            follows = {"dsc": value, "hd95_mm": 10 * (1 - value), "avd_percent": 100 * (1 - value)}
            follows |= {"lesion_recall": value, "lesion_f1": value}
            follows |= {name: table[patient, repeat] for name, table in own.items()}
            fold = f"n{n_train}-draw{repeat}" if curve else f"fold-{patient:03d}-{repeat}"
            person = f"p{patient:02d}"
            rows.append(
                {"fold": fold, "n_train": n_train, "repeat": repeat, "arm": arm}
                | {"site": sites[patient] if sites else "", "patient": person, "case": person}
                | follows
                | {"lesion_voxels": 100, "predicted_voxels": 90}
            )
    return pandas.DataFrame(rows)


def _table(values: Any) -> np.ndarray:
    table = np.array(values, dtype=np.float64)
    return table[:, None] if table.ndim == 1 else table
