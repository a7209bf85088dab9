from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.config.gan import (
    AUTO_MODEL,
    MODELS,
    PRESETS,
    AugmentConfig,
    GanConfig,
    LoopConfig,
    MaskChannelConfig,
    NetworkConfig,
)
from labelgan.core.errors import ConfigError
from labelgan.gan.networks.families import NETWORKS
from labelgan.gan.objectives import OBJECTIVES

gan_configs = st.builds(
    GanConfig,
    model=st.sampled_from(sorted(MODELS)),
    preset=st.none() | st.sampled_from(sorted(PRESETS)),
    network=st.builds(
        NetworkConfig, latent_dim=st.integers(1, 4096), expansion=st.floats(0.01, 100), patch=st.sampled_from([1, 2, 4])
    ),
    mask=st.builds(
        MaskChannelConfig, encoding=st.sampled_from(["distance", "hard", "gaussian"]), reach_px=st.integers(1, 16)
    ),
    augment=st.builds(AugmentConfig, policy=st.lists(st.sampled_from(["flip", "cutout"]), max_size=3).map(tuple)),
    train=st.builds(
        LoopConfig,
        lesion_fraction=st.none() | st.floats(0, 1),
        ema_images=st.floats(0, 1e9),
        device=st.text(max_size=8),
        deterministic=st.booleans(),
    ),
)


@given(config=gan_configs)
@settings(max_examples=40, deadline=None)
def test_toml_round_trip(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert GanConfig.from_toml(path) == config


def test_none_survives_where_it_is_not_the_default(tmp_path):
    config = GanConfig.for_model("r3gan", None, ["train.lesion_fraction=none"])
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert GanConfig.from_toml(tmp_path / "config.toml").train.lesion_fraction is None
    assert "preset" not in config.to_toml()


def test_the_default_model_is_r3gan():
    assert GanConfig.for_model("r3gan") == GanConfig()
    assert GanConfig().objective.name == GanConfig().network.family == "r3gan"


@pytest.mark.parametrize("model", MODELS)
def test_models_name_what_exists_and_pass_the_toml_round_trip(model, tmp_path):
    config = GanConfig.for_model(model)
    assert config.model == model
    assert config.objective.name in OBJECTIVES
    assert config.network.family in NETWORKS
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert GanConfig.from_toml(tmp_path / "config.toml") == config


@pytest.mark.parametrize(("model", "preset"), [(m, p) for p, models in PRESETS.items() for m in models])
def test_presets_change_the_model_and_settings_come_last(model, preset):
    config = GanConfig.for_model(model, preset)
    assert config.preset == preset
    assert config.objective.name == GanConfig.for_model(model).objective.name
    assert config.model_dump(exclude={"preset"}) != GanConfig.for_model(model).model_dump(exclude={"preset"})
    assert GanConfig.for_model(model, preset, ["train.batch_size=3"]).train.batch_size == 3


def test_figures_of_the_papers():
    dcgan, wgan, wgan_gp = (GanConfig.for_model(name) for name in ("dcgan", "wgan", "wgan-gp"))
    # Radford et al. 2016, section 4
    assert (dcgan.optimizer.generator_lr, dcgan.optimizer.beta1, dcgan.network.latent_dim) == (2e-4, 0.5, 100)
    # Arjovsky et al. 2017, algorithm 1
    assert (wgan.optimizer.name, wgan.optimizer.critic_lr) == ("rmsprop", 5e-5)
    assert (wgan.objective.clip, wgan.objective.critic_steps, wgan.train.batch_size) == (0.01, 5, 64)
    # Gulrajani et al. 2017, algorithm 1
    assert (wgan_gp.optimizer.generator_lr, wgan_gp.optimizer.beta1, wgan_gp.optimizer.beta2) == (1e-4, 0.0, 0.9)
    assert (wgan_gp.objective.penalty, wgan_gp.objective.critic_steps) == (10.0, 5)
    # Cabrera et al. 2019
    uned = GanConfig.for_model("wgan-gp", "uned2019")
    assert (uned.optimizer.generator_lr, uned.optimizer.beta1, uned.optimizer.beta2) == (1e-4, 0.5, 0.9)
    assert (uned.objective.penalty, uned.objective.critic_steps, uned.train.batch_size) == (10.0, 8, 8)
    assert (uned.network.latent_dim, uned.network.latent, uned.mask.encoding) == (128, "normal", "gaussian")


def test_auto_is_a_model_that_there_is():
    config = GanConfig.for_model("auto")
    assert config == GanConfig.for_model(AUTO_MODEL)
    assert config.model in MODELS


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"^--model vae: unknown model; one of auto, r3gan, refiner, gan"):
        GanConfig.for_model("vae")
    with pytest.raises(ConfigError, match=r"^--preset tiny: unknown preset; one of uned2019, laptop$"):
        GanConfig.for_model("gan", "tiny")
    with pytest.raises(ConfigError, match=r"^--preset uned2019: is not for --model gan; for wgan-gp$"):
        GanConfig.for_model("gan", "uned2019")


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("train.batchsize=4", "unknown setting 'train.batchsize'"),
        ("trian.batch_size=4", "unknown setting 'trian.batch_size'"),
        ("train.batch_size=many", "setting 'train.batch_size'"),
        ("train.batch_size=0", "setting 'train.batch_size'"),
        ("network.patch=3", "setting 'network.patch'"),
        ('augment.policy=["flop"]', "setting 'augment.policy.0'"),
    ],
)
def test_settings_at_fault_are_named(setting, named):
    with pytest.raises(ConfigError) as caught:
        GanConfig.for_model("r3gan", None, [setting])
    assert named in str(caught.value)
