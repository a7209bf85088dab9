"""Membership inference: can it be told from the samples, or from the critic, who was trained on?

The attacker gives every real slice a score that should be higher for training slices. Its success is the area under
the ROC curve: 0.5 where it can only guess. Two patients differ, whoever was trained on, so it is read against a
control of members alone: training patients split at random, one part playing the outsiders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelgan.core.rng import generator_for


@dataclass(frozen=True)
class MembershipAttack:
    """Success of an attack that tells training slices from held-out ones.

    Attributes:
        auc: probability that a training slice scores above a held-out one, ties half; 0.5 is guessing.
        low, high: 95 % interval of it over resampled patients.
        control_low, control_high: 95 % range of the same where training patients alone are split at random; nan where
            there are fewer than two.
        members, others: slices.
        member_patients, other_patients: patients.
    """

    auc: float
    low: float
    high: float
    control_low: float
    control_high: float
    members: int
    others: int
    member_patients: int
    other_patients: int

    @property
    def succeeds(self) -> bool:
        """Whether it does better than chance, and than any such split of the members would."""
        return self.low > 0.5 and not self.auc <= self.control_high


def attack(
    member_scores: np.ndarray,
    member_patients: np.ndarray,
    other_scores: np.ndarray,
    other_patients: np.ndarray,
    *,
    seed: int = 0,
    repeats: int = 1000,
) -> MembershipAttack:
    """Measures one attack.

    For the nearest-sample attack, the score of a real slice is minus its distance to the nearest sample; for the
    critic's, what the critic says of it.

    Args:
        member_scores: (N,) of training slices, finite.
        member_patients: (N,) their patients.
        other_scores: (M,) of held-out slices, finite.
        other_patients: (M,) their patients.
        seed: of the resampling.
        repeats: resamplings of each kind.

    Raises:
        ValueError: a side is empty, or a score is not finite.
    """
    if not len(member_scores) or not len(other_scores):
        raise ValueError("an attack needs slices of both sides")
    if not (np.isfinite(member_scores).all() and np.isfinite(other_scores).all()):
        raise ValueError("an attack's scores must be finite")
    wins_PQ, pairs_PQ = _pairwise(member_scores, member_patients, other_scores, other_patients)
    aucs = []
    generator = generator_for(seed, "membership", "bootstrap")
    for _ in range(repeats):
        rows = generator.integers(len(wins_PQ), size=len(wins_PQ))
        columns = generator.integers(wins_PQ.shape[1], size=wins_PQ.shape[1])
        aucs.append(wins_PQ[np.ix_(rows, columns)].sum() / pairs_PQ[np.ix_(rows, columns)].sum())
    low, high = np.quantile(aucs, [0.025, 0.975])
    control_low, control_high = _control(member_scores, member_patients, wins_PQ.shape[1], seed, repeats)
    return MembershipAttack(
        auc=float(wins_PQ.sum() / pairs_PQ.sum()),
        low=float(low),
        high=float(high),
        control_low=control_low,
        control_high=control_high,
        members=len(member_scores),
        others=len(other_scores),
        member_patients=wins_PQ.shape[0],
        other_patients=wins_PQ.shape[1],
    )


def _control(scores: np.ndarray, patients: np.ndarray, others: int, seed: int, repeats: int) -> tuple[float, float]:
    """95 % range of the AUC where some of the members, as many patients as there are others, play outsiders."""
    wins_PP, pairs_PP = _pairwise(scores, patients, scores, patients)
    count = len(wins_PP)
    if count < 2:
        return float("nan"), float("nan")
    outsiders = max(1, min(others, count // 2))
    generator = generator_for(seed, "membership", "control")
    aucs = []
    for _ in range(repeats):
        order = generator.permutation(count)
        split = np.ix_(order[outsiders:], order[:outsiders])
        aucs.append(wins_PP[split].sum() / pairs_PP[split].sum())
    low, high = np.quantile(aucs, [0.025, 0.975])
    return float(low), float(high)


def _pairwise(
    scores: np.ndarray, patients: np.ndarray, other_scores: np.ndarray, other_patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(P, Q) pairs of slices that patient p's slices win against patient q's, ties half; (P, Q) pairs of slices."""
    _, number = np.unique(patients, return_inverse=True)
    _, other_number = np.unique(other_patients, return_inverse=True)
    counts, other_counts = np.bincount(number), np.bincount(other_number)
    wins_PQ = np.empty((len(counts), len(other_counts)))
    for column in range(len(other_counts)):
        theirs = np.sort(other_scores[other_number == column])
        below = (np.searchsorted(theirs, scores, "left") + np.searchsorted(theirs, scores, "right")) / 2
        wins_PQ[:, column] = np.bincount(number, weights=below)
    return wins_PQ, np.outer(counts, other_counts)
