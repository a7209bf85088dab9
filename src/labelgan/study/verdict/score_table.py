"""A study's scores, laid out as patients by repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.scoring.metrics import METRICS
from labelgan.scoring.scores_csv import VOXELS

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one number of training patients, whole.

    Attributes:
        n_train: training patients; in cross-validation the median over folds.
        patients: (P,) ids, sorted by site, then id.
        sites: (P,) site of each patient.
        repeats: (R,) the repeats.
        folds: (P, R) which fold tested a patient, -1 for none.
        draws: number of folds.
        owner: (N,) patient of each scan tested: a scan tested in two repeats stands here twice.
        column: (N,) repeat of each scan tested.
        values: for each arm and metric, (N,), NaN where undefined or not scored.
        nothing: for each arm, (N,): there is no lesion in the reference, and none was predicted.
        scored: for each arm, (N,): the scan has a row of scores.
    """

    n_train: int
    patients: np.ndarray
    sites: np.ndarray
    repeats: np.ndarray
    folds: np.ndarray
    draws: int
    owner: np.ndarray
    column: np.ndarray
    values: dict[str, dict[str, np.ndarray]]
    nothing: dict[str, np.ndarray]
    scored: dict[str, np.ndarray]

    def by_patient(self, values: np.ndarray) -> np.ndarray:
        """Averages values of scans (N,) over a patient's scans: (P, R), NaN where there is none."""
        known = ~np.isnan(values)
        shape = (len(self.patients), len(self.repeats))
        place = self.owner[known] * shape[1] + self.column[known]
        size = math.prod(shape)
        sums, counts = np.bincount(place, values[known], size), np.bincount(place, minlength=size)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).reshape(shape)


def tables_of(frame: DataFrame) -> list[ScoreTable]:
    """Lays checked scores out: a table for each number of training patients, in rising order.

    In cross-validation the folds of one repeat divide the patients, and their training sets may differ by a patient or
    two: they make one table. They are known by that no patient is tested twice in a repeat.
    """
    tests: Any = frame[["repeat", "patient", "fold", "n_train"]].drop_duplicates()
    if not tests.duplicated(["repeat", "patient"]).any():
        return [_table(frame, int(tests.drop_duplicates(["repeat", "fold"])["n_train"].median()))]
    by_size: Any = frame.groupby("n_train", sort=True)
    return [_table(part, int(n_train)) for n_train, part in by_size]


def _table(frame: Any, n_train: int) -> ScoreTable:
    sites = frame.groupby("patient")["site"].agg(lambda names: "+".join(sorted({name for name in names if name})))
    order = sites.reset_index().sort_values(["site", "patient"])
    patients = order["patient"].to_numpy(str)
    place = {patient: row for row, patient in enumerate(patients.tolist())}
    repeats, column = np.unique(frame["repeat"].to_numpy(), return_inverse=True)
    owner = frame["patient"].map(place).to_numpy(np.int64)
    # A fold's name may come back in another repeat.
    fold = frame.groupby(["repeat", "fold"], sort=True).ngroup().to_numpy()
    scan = frame.groupby(["repeat", "patient", "case"], sort=True).ngroup().to_numpy()
    first = np.unique(scan, return_index=True)[1]
    folds = np.full((len(patients), len(repeats)), -1)
    folds[owner, column] = fold
    figures = {name: frame[name].to_numpy(np.float64) for name in (*METRICS, *VOXELS)}
    arm_of = frame["arm"].to_numpy(str)
    values: dict[str, dict[str, np.ndarray]] = {}
    nothing, scored = {}, {}
    for arm in dict.fromkeys(arm_of.tolist()):
        rows = arm_of == arm
        laid = {name: np.full(len(first), np.nan) for name in figures}
        for name, column_values in figures.items():
            laid[name][scan[rows]] = column_values[rows]
        values[arm] = {name: laid[name] for name in METRICS}
        nothing[arm] = np.all([laid[name] == 0 for name in VOXELS], axis=0)
        scored[arm] = np.isin(np.arange(len(first)), scan[rows])
    return ScoreTable(
        n_train=n_train,
        patients=patients,
        sites=order["site"].to_numpy(str),
        repeats=repeats,
        folds=folds,
        draws=int(fold.max()) + 1,
        owner=owner[first],
        column=column[first],
        values=values,
        nothing=nothing,
        scored=scored,
    )
