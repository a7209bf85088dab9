"""Which real cases a synthetic cohort is compared with: those that its generator learned from, where they are here."""

from __future__ import annotations

from dataclasses import dataclass

from labelgan.data.synthetic_slices import seen_by_generator
from labelgan.core.errors import LabelganError
from labelgan.studio.grid import Grid
from labelgan.studio.index import CaseEntry, Index
from labelgan.studio.sources import Source


@dataclass(frozen=True)
class RealCases:
    """Real cases of the channels of a synthetic cohort.

    Attributes:
        training: those whose voxels its generator learned from; in a store rather than in their cohort.
        beside: the real cases of the folders that hold these; of all folders where there are none.
    """

    training: tuple[CaseEntry, ...]
    beside: tuple[CaseEntry, ...]


def real_cases(index: Index, source: Source, grid: Grid) -> RealCases:
    """Finds the training cases by the hashes of their voxels.

    A store lists hashes; of a cohort the cases that bear the name of a training case are read.

    Args:
        index: everything that was found.
        source: the synthetic cohort.
        grid: whose channels a case must have.

    Raises:
        DataError: the cohort's manifest is damaged.
    """
    seen = seen_by_generator(source.path)
    known = set() if seen is None else {value for case in seen.own for value in case["hashes"].values()}
    names = set() if seen is None else {case.get("id") for case in seen.own}
    real = [
        case for case in list(index.cases.values()) if not case.synthetic and set(grid.channels) <= set(case.channels)
    ]
    training = [case for case in real if case.hashes and not known.isdisjoint(case.hashes.values())]
    if not training:
        training = [case for case in real if case.hashes is None and case.id in names and _is(index, case, known)]
    folders = {case.source.key for case in training[:1]}
    beside = [case for case in real if not folders or case.source.key in folders]
    return RealCases(tuple(case for case in training if case.source.key in folders), tuple(beside))


def _is(index: Index, case: CaseEntry, known: set[str]) -> bool:
    try:
        return not known.isdisjoint(index.images(case).hashes().values())
    except (LabelganError, OSError):
        return False
