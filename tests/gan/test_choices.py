from __future__ import annotations

import pytest
import torch

from labelgan.config.choices import require_read
from labelgan.config.gan import MODELS, PRESETS, GanConfig
from labelgan.core.errors import ConfigError
from labelgan.gan.choices import choices
from labelgan.gan.networks.families import NETWORKS, family_of
from tiny import tiny_config


def refuse(model: str, *settings: str) -> None:
    config = GanConfig.for_model(model, settings=settings)
    require_read(config, settings, choices(config))


@pytest.mark.parametrize(
    ("model", "setting", "made"),
    [
        (
            "r3gan",
            "network.hidden=64",
            r"network\.family=r3gan does not read it; what applies: .*network\.blocks",
        ),
        ("r3gan", "network.noise_maps=3", r"network\.family=r3gan"),
        ("r3gan", "content.style=1", r"network\.family=r3gan"),
        ("r3gan", "objective.keep=1", r"network\.family=r3gan"),
        (
            "r3gan",
            "objective.clip=0.5",
            r"objective\.name=r3gan does not read it; .*objective\.penalty_every",
        ),
        ("wgan", "objective.penalty=5", r"objective\.name=wgan does not read it; .*objective\.clip"),
        ("wgan-gp", "objective.penalty_every=2", r"objective\.name=wgan-gp"),
        ("r3gan", "objective.saturating=true", r"objective\.name=r3gan"),
        ("refiner", "network.max_width=64", r"network\.family=refiner does not read it; .*network\.critic_width"),
        ("r3gan", "optimizer.momentum=0.9", r"optimizer\.name=adam does not read it; .*optimizer\.beta1"),
        ("gan", "optimizer.beta1=0.5", r"optimizer\.name=sgd does not read it; .*optimizer\.momentum"),
        ("r3gan", "augment.cutout=0.5", r"augment\.policy=flip,translate,intensity does not read it"),
    ],
)
def test_a_setting_of_another_family_is_refused_with_what_applies(model, setting, made):
    key = setting.partition("=")[0].replace(".", r"\.")
    with pytest.raises(ConfigError, match=rf"^--set {key}=\S+: {key} does not apply: {made}"):
        refuse(model, setting)


def test_what_is_chosen_along_with_it_is_read():
    refuse("r3gan", "objective.name=wgan", "objective.clip=0.5", "optimizer.name=sgd", "optimizer.momentum=0.9")
    refuse("refiner", "content.style=1", "objective.keep=1", "network.noise_maps=3")
    refuse("r3gan", 'augment.policy=["cutout"]', "augment.cutout=0.5")
    with pytest.raises(ConfigError, match=r"mask\.encoding=hard"):
        refuse("r3gan", "mask.encoding=hard", "mask.reach_px=5")


def test_a_default_and_what_nobody_gave_are_let_through():
    refuse("r3gan", f"network.hidden={GanConfig().network.hidden}")
    stored = GanConfig.for_model("r3gan", settings={"network.hidden": 64})  # as an old file may have it
    require_read(stored, ["train.steps=5"], choices(stored))
    with pytest.raises(ConfigError, match=r"^settings: network\.hidden does not apply"):
        require_read(stored, {"network.hidden": 64}, choices(stored))


def test_a_part_that_is_given_whole_is_judged_by_what_is_in_it():
    with pytest.raises(ConfigError, match=r"network\.hidden does not apply"):
        refuse("r3gan", "network={family='r3gan', hidden=64}")
    refuse("r3gan", "network={family='r3gan', width=64}")


class Recorded:
    """Settings of networks that note what is read of them."""

    def __init__(self, config: object) -> None:
        self.config, self.read = config, set()

    def __getattr__(self, name: str) -> object:
        self.read.add(name)
        return getattr(self.config, name)


@pytest.mark.parametrize("family", NETWORKS)
def test_a_family_names_what_its_networks_read(family):
    network = Recorded(tiny_config("r3gan", f"network.family={family}").network)
    with torch.no_grad():
        for build in (family_of(network).generator, family_of(network).critic):  # pyright: ignore[reportArgumentType]
            build(network, 3, (32, 32))  # pyright: ignore[reportArgumentType]
    assert network.read - {"family", "latent", "latent_dim", "noise_maps"} == set(NETWORKS[family].settings)


@pytest.mark.parametrize(
    ("model", "preset"), [(name, None) for name in MODELS] + [(name, key) for key in PRESETS for name in PRESETS[key]]
)
def test_models_and_presets_set_what_their_choices_read(model, preset):
    config = GanConfig.for_model(model, preset)
    require_read(config, PRESETS[preset][model] if preset else MODELS[model], choices(config))
