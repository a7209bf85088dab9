"""A study's ``scores.csv``: its columns, read and checked. A row is one test case of one fold, segmented by one arm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.core.errors import DataError
from labelgan.scoring.metrics import METRICS

if TYPE_CHECKING:
    from pandas import DataFrame

TEXT = ("fold", "arm", "site", "patient", "case")
WHOLE = ("n_train", "repeat")
VOXELS = ("lesion_voxels", "predicted_voxels")
LARGEST = 2**31  # of a whole number: more is a damaged file
COLUMNS = ("fold", "n_train", "repeat", "arm", "site", "patient", "case", *METRICS, *VOXELS)


def read_scores(path: str | Path, *, may_be_empty: bool = False) -> DataFrame:
    """Reads and checks a study's ``scores.csv``.

    Args:
        path: the file.
        may_be_empty: a header without rows is no fault.

    Returns:
        The columns ``COLUMNS``: text as text, ``n_train`` and ``repeat`` whole, the rest float, NaN where undefined.

    Raises:
        DataError: naming the file and the first thing that is wrong.
    """
    import pandas

    path = Path(path)
    try:
        # The parser in C takes a missing cell for an empty one, which a metric may be.
        frame = pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", engine="python")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise DataError(path, f"cannot be read as CSV: {error}") from None
    torn: Any = frame.isna().any(axis=1)  # an empty cell is "", a missing one NaN
    if torn.any():
        raise _at(path, "the row", torn, "has too few cells")
    return check_scores(frame, path, may_be_empty=may_be_empty)


def check_scores(frame: DataFrame, subject: str | Path = "scores", *, may_be_empty: bool = False) -> DataFrame:
    """Gives a checked copy of scores, in the types of `read_scores`.

    Raises:
        DataError: naming ``subject`` and the first thing that is wrong.
    """
    import pandas

    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(subject, f"has no column {', '.join(missing)}")
    if frame.empty and not may_be_empty:
        raise DataError(subject, "holds no score")
    clean: Any = pandas.DataFrame(index=pandas.RangeIndex(len(frame)))
    for name in COLUMNS:
        column: Any = frame[name].reset_index(drop=True)
        if name in TEXT:
            clean[name] = column.where(column.notna(), "").astype(str)
            if name != "site" and (clean[name] == "").any():
                raise _at(subject, name, clean[name] == "", "is empty")
        else:
            clean[name] = _numbers(column, name, subject)
    _check_rows(clean, subject)
    return clean


def _numbers(column: Any, name: str, subject: str | Path) -> Any:
    import pandas

    numbers: Any = column
    if not pandas.api.types.is_numeric_dtype(column):
        numbers = pandas.to_numeric(column.replace("", np.nan), errors="coerce")
        unreadable = numbers.isna() & column.notna() & (column.astype(str) != "")
        if unreadable.any():
            raise _at(subject, name, unreadable, "is no number")
    numbers = numbers.astype(np.float64)
    if name in WHOLE:
        least = 1 if name == "n_train" else 0
        odd = ~numbers.between(least, LARGEST) | (numbers % 1 != 0)
        if odd.any():
            raise _at(subject, name, odd, f"is not a whole number of at least {least}")
        return numbers.astype(np.int64)
    ratio = name in METRICS and not METRICS[name].unit
    odd = (numbers < 0) | (numbers > (1 if ratio else np.finfo(np.float64).max))
    if odd.any():
        raise _at(subject, name, odd, "lies outside 0 to 1" if ratio else "is negative or not finite")
    return numbers


def _check_rows(frame: Any, subject: str | Path) -> None:
    twice = frame.duplicated(["fold", "n_train", "repeat", "arm", "patient", "case"])
    if twice.any():
        row = frame.loc[twice].iloc[0]
        raise DataError(subject, f"{row['fold']} has two scores of case {row['case']} in arm {row['arm']}")
    tests = frame[["n_train", "repeat", "patient", "fold"]].drop_duplicates()
    twice = tests.duplicated(["n_train", "repeat", "patient"])
    if twice.any():
        row = tests.loc[twice].iloc[0]
        raise DataError(
            subject,
            f"patient {row['patient']} is tested by two folds of repeat {row['repeat']}, n_train {row['n_train']}",
        )


def _at(subject: str | Path, column: str, rows: object, reason: str) -> DataError:
    line = int(np.flatnonzero(np.asarray(rows))[0]) + 2  # the first line is the header
    return DataError(subject, f"line {line}: {column} {reason}")
