"""Folds of a cross-validation that no generator has looked into.

Synthetic cases are never validated on. A fold trains on the slices of a generator only where that generator has seen
none of the fold's validation patients; so the patients that generators have not seen decide which folds there can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelgan.core.errors import ConfigError, LeakError
from labelgan.core.rng import generator_for
from labelgan.data.check.leaks import KnownScan, require_no_leak
from labelgan.data.export.records import Fold
from labelgan.data.manifests import SeenCases

FOLDS = 5  # as nnU-Net makes, where nothing says otherwise


@dataclass(frozen=True)
class SyntheticGroup:
    """The slices of one generator: their cohort's folder, what the generator has seen, and their ids."""

    root: Path
    seen: SeenCases | None
    ids: tuple[str, ...]


def make_folds(
    scanned: Sequence[KnownScan], synthetic: Sequence[SyntheticGroup] = (), count: int | None = None, seed: int = 0
) -> tuple[Fold, ...]:
    """Makes folds by patient.

    Patients are grouped by which generators have not seen them; every fold validates on patients of one group, and
    trains on all other patients and on the slices of that group's generators. Patients that every generator has seen
    are trained on in every fold and validated on in none.

    Args:
        scanned: annotated real cases.
        synthetic: synthetic cohorts.
        count: how many folds; None makes one a group, or five where there is one group.
        seed: of the draw.

    Returns:
        The folds; none where there are fewer than two patients to tell apart.

    Raises:
        LeakError: a generator has seen every patient, or its manifest does not tell whom it has seen.
        ConfigError: ``count`` is more than there are patients to validate on, or fewer than there are groups.
    """
    by_patient: dict[str, list[KnownScan]] = {}
    for case in scanned:
        by_patient.setdefault(case.patient, []).append(case)
    if not by_patient or (len(by_patient) < 2 and not synthetic):
        return ()
    unseen = {patient: _unseen_by(cases, synthetic, scanned) for patient, cases in by_patient.items()}
    for number, group in enumerate(synthetic):
        if not any(number in numbers for numbers in unseen.values()):
            raise LeakError(
                group.root,
                f"its generator has seen all {len(by_patient)} annotated patients, so no fold may train on its slices; "
                "train one with --exclude",
            )
    groups: dict[tuple[int, ...], list[str]] = {}
    for patient, numbers in unseen.items():
        if numbers or not synthetic:
            groups.setdefault(numbers, []).append(patient)
    folds = []
    for numbers, parts in _distributed(groups, count, seed):
        made = [identifier for number in numbers for identifier in synthetic[number].ids]
        for part in parts:
            held_out = frozenset(part)
            train = [case.id for case in scanned if case.patient not in held_out]
            validation = tuple(case.id for case in scanned if case.patient in held_out)
            folds.append(Fold((*train, *made), validation))
    return tuple(folds)


def require_unseen_by_any(held_out: Sequence[KnownScan], synthetic: Sequence[SyntheticGroup]) -> None:
    """Raises LeakError when a generator has seen a case that is kept for testing."""
    for group in synthetic:
        require_no_leak(group.root, group.seen, held_out, held_out)


def _unseen_by(
    cases: Sequence[KnownScan], synthetic: Sequence[SyntheticGroup], cohort: Sequence[KnownScan]
) -> tuple[int, ...]:
    """Numbers of the generators that have seen none of a patient's cases."""
    numbers = []
    for number, group in enumerate(synthetic):
        if group.seen is None:
            require_no_leak(group.root, None, cases, cohort)  # says why it refuses
        try:
            require_no_leak(group.root, group.seen, cases, cohort)
        except LeakError:
            continue
        numbers.append(number)
    return tuple(numbers)


def _distributed(
    groups: Mapping[tuple[int, ...], list[str]], count: int | None, seed: int
) -> list[tuple[tuple[int, ...], list[list[str]]]]:
    """Deals every group's patients to its folds, larger groups getting more of them."""
    patients = sum(len(members) for members in groups.values())
    if count is None:
        count = len(groups) if len(groups) > 1 else min(FOLDS, patients)
    if count > patients:
        raise ConfigError(f"--folds {count}", f"there are {patients} patients to validate on")
    if count < len(groups):
        raise ConfigError(
            f"--folds {count}", f"the patients that the generators have not seen make {len(groups)} groups, one a fold"
        )
    shares = dict.fromkeys(groups, 1)
    for _ in range(count - len(groups)):
        roomy = [numbers for numbers in groups if shares[numbers] < len(groups[numbers])]
        shares[max(roomy, key=lambda numbers: len(groups[numbers]) / shares[numbers])] += 1
    distributed = []
    for numbers, members in groups.items():
        order = generator_for(seed, "folds", *numbers).permutation(len(members))
        shuffled = [members[index] for index in order]
        distributed.append((numbers, [shuffled[start :: shares[numbers]] for start in range(shares[numbers])]))
    return distributed
