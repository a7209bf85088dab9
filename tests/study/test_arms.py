from __future__ import annotations

import pytest

from labelgan.config.study import DEFAULT_ARMS, StudyConfig
from labelgan.core.errors import ConfigError
from labelgan.study.arms import ARMS, STRENGTH, arm_settings, references_of, require_arms


def test_the_issue_names_are_arms():
    named = {"real", "classical", "synthetic", "real+synthetic", "classical+synthetic"}
    assert named | {"classical+copypaste", "classical+shuffled"} <= set(ARMS)
    require_arms(DEFAULT_ARMS)


def test_an_unknown_arm_is_named():
    with pytest.raises(ConfigError, match="--arms magic: unknown arm; one of real, "):
        require_arms(("real", "magic"))


@pytest.mark.parametrize("name", ARMS)
def test_arms_share_everything_but_what_they_are_about(name):
    config = StudyConfig()
    arm, settings, base = ARMS[name], arm_settings(name, config, 0.25), config.segmenter
    free = {"members", "synthetic_share", "shuffle_synthetic_masks", "copypaste"}
    assert settings.model_dump(exclude={"augment": True, "train": free}) == base.model_dump(
        exclude={"augment": True, "train": free}
    )
    assert (settings.augment == base.augment) == arm.classical
    assert (settings.train.synthetic_share > 0) == arm.synthetic
    assert settings.train.shuffle_synthetic_masks == arm.shuffled
    assert (settings.train.copypaste > 0) == arm.copypaste
    assert settings.train.members == 1


def test_every_arm_without_synthetic_slices_has_its_strength():
    assert [name for name, arm in ARMS.items() if not arm.synthetic and name not in STRENGTH] == []


def test_the_strongest_arm_without_synthetic_slices_is_the_reference():
    assert references_of(DEFAULT_ARMS) == ("classical+copypaste", "classical", "real")
    assert references_of(("classical+synthetic", "strong", "real", "strong+copypaste")) == (
        "strong+copypaste",
        "strong",
        "real",
    )
    assert references_of(DEFAULT_ARMS, "classical") == ("classical", "classical+copypaste", "real")
    assert references_of(("synthetic", "classical+shuffled")) == ()


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (
            "strong",
            "--reference strong: is none of the study's arms; name one of classical[+]copypaste, classical, real",
        ),
        ("classical+synthetic", "--reference classical[+]synthetic: has synthetic slices: nothing to compare with"),
    ],
)
def test_a_reference_that_cannot_be_one_is_refused(named, words):
    with pytest.raises(ConfigError, match=words):
        references_of(DEFAULT_ARMS, named)


def test_without_real_slices_every_slice_is_synthetic():
    assert arm_settings("synthetic", StudyConfig(), 0.25).train.synthetic_share == 1
    assert arm_settings("classical+synthetic", StudyConfig(), 0.25).train.synthetic_share == 0.25


def test_the_real_arm_moves_nothing():
    augment = arm_settings("real", StudyConfig(), 0.25).augment
    assert (augment.flip, augment.rotate, augment.shear, augment.zoom) == (0, 0, 0, (1, 1))
