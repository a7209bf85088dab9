"""Arms, by what the segmenter is trained on: one place to add an arm (a line in ARMS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelgan.config.seg import SegConfig
from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError

# No movement at all: slices are shown as they are.
STILL = {"flip": 0.0, "rotate": 0.0, "shear": 0.0, "zoom": (1.0, 1.0)}


@dataclass(frozen=True)
class Arm:
    """One way to feed the segmenter.

    Attributes:
        description: one line for reports.
        real: real slices of the training patients are in the batches.
        classical: slices are flipped, rotated, sheared and zoomed.
        synthetic: the fold's synthetic slices are in the batches.
        shuffled: they carry each other's masks: a control that must not help.
        copypaste: lesions of training patients are pasted into other slices.
    """

    description: str
    real: bool = True
    classical: bool = False
    synthetic: bool = False
    shuffled: bool = False
    copypaste: bool = False


ARMS: dict[str, Arm] = {
    "real": Arm("real slices as they are"),
    "classical": Arm("real slices, flipped, rotated, sheared and zoomed", classical=True),
    "synthetic": Arm("synthetic slices alone, moved as in classical", real=False, classical=True, synthetic=True),
    "real+synthetic": Arm("real and synthetic slices as they are", synthetic=True),
    "classical+synthetic": Arm("as classical, with synthetic slices in every batch", classical=True, synthetic=True),
    "classical+copypaste": Arm(
        "as classical, with lesions of training patients pasted into other slices (Zhang et al. 2021)",
        classical=True,
        copypaste=True,
    ),
    "classical+copypaste+synthetic": Arm(
        "as classical+copypaste, with synthetic slices in every batch", classical=True, copypaste=True, synthetic=True
    ),
    "classical+shuffled": Arm(
        "control: as classical+synthetic, but the synthetic slices carry each other's masks",
        classical=True,
        synthetic=True,
        shuffled=True,
    ),
}  # fmt: skip

# Arms without synthetic slices, the weakest first. A gain over a weak one is no gain: the strongest of a study is its
# reference, where none is named.
STRENGTH = ("real", "classical", "classical+copypaste", "strong", "strong+copypaste")


def references_of(arms: Sequence[str], named: str | None = None) -> tuple[str, ...]:
    """Gives the arms that others are compared with: the study's reference, then the others without synthetic slices.

    Args:
        arms: of the study.
        named: the reference; None: the strongest by ``STRENGTH``.

    Returns:
        The strongest of the others first; empty where every arm has synthetic slices.

    Raises:
        ConfigError: ``named`` is none of these arms, or has synthetic slices.
    """
    found = tuple(arm for arm in reversed(STRENGTH) if arm in arms)
    if named is None:
        return found
    if named not in found:
        reason = "is none of the study's arms" if named not in arms else "has synthetic slices: nothing to compare with"
        raise ConfigError(f"--reference {named}", f"{reason}; name one of {', '.join(found) or 'real, classical'}")
    return (named, *(arm for arm in found if arm != named))


def require_arms(names: tuple[str, ...]) -> None:
    """Raises ConfigError naming the first arm that there is not."""
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"--arms {name}", f"unknown arm; one of {', '.join(ARMS)}")


def arm_settings(name: str, config: StudyConfig, share: float) -> SegConfig:
    """Gives the settings of an arm's networks: all arms share everything but what the arm is about.

    Args:
        name: key of ``ARMS``.
        config: the study's settings.
        share: synthetic share of a batch, where the arm has synthetic slices.
    """
    arm, base = ARMS[name], config.segmenter
    synthetic_share = (share if arm.real else 1.0) if arm.synthetic else 0.0
    train = base.train.model_copy(
        update={
            "members": 1,
            "synthetic_share": synthetic_share,
            "shuffle_synthetic_masks": arm.shuffled,
            "copypaste": config.copypaste if arm.copypaste else 0.0,
        }
    )
    augment = base.augment if arm.classical else base.augment.model_copy(update=STILL)
    return base.model_copy(update={"train": train, "augment": augment})
