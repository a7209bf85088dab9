from __future__ import annotations

import pytest

from labelgan.config.gan import GanConfig
from labelgan.config.study import EngineConfig, StudyConfig
from labelgan.core.errors import ConfigError
from tiny import tiny_study_config


def test_the_defaults_are_leave_one_out_with_at_most_a_third_synthetic():
    config = StudyConfig()
    assert (config.folds, config.protocol, config.members) == ("lopo", "cross-validation", 3)
    assert config.share == pytest.approx(1 / 3)
    assert max(config.shares) <= 1 / 3


def test_toml_round_trip(tmp_path):
    config = tiny_study_config("patients=[5, 3, 3]", "share=auto", "start_from=phantom", "repeats=2")
    assert config.patients == (3, 5)
    assert config.protocol == "learning-curve"
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert StudyConfig.from_toml(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("folds=1", "folds"),
        ("folds=loco", "folds"),
        ("share=1.0", "share"),
        ("share=most", "share"),
        ("arms=[]", "arms"),
        ('arms=["real", "real"]', "twice"),
        ("patients=[0]", "patients"),
        ("generator.network.width=wide", "generator"),
        ("segmenter.train.speed=1", "segmenter.train.speed"),
    ],
)
def test_a_wrong_setting_is_named(setting, key):
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        StudyConfig().with_settings([setting])


def test_names_give_the_stages_their_settings():
    config = StudyConfig.for_names(GanConfig.for_model("wgan-gp"), "segresnet", None, ["segmenter.train.steps=7"])
    assert config.generator.model == "wgan-gp"
    assert (config.segmenter.network.name, config.segmenter.train.steps) == ("segresnet", 7)


def test_a_preset_reaches_the_segmenter():
    config = StudyConfig.for_names(GanConfig.for_model("r3gan", "laptop"), "li2018", "laptop")
    assert config.segmenter.network.width < 64
    assert config.generator.network.width == 48


def test_defaults_leave_the_size_to_the_machine():
    config = EngineConfig()
    assert (config.workers, config.threads, config.gpus, config.address) == (None, None, None, None)
    assert config.cluster == "slurm"


@pytest.mark.parametrize("setting", ["workers=0", "threads=0", "gpus=-1", "cluster=pbs", "poll_s=0", "nodes=3"])
def test_what_makes_no_sense_is_refused_by_name(setting: str):
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        EngineConfig().with_settings([setting])


def test_a_file_of_before_strata_drew_by_load(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(StudyConfig().to_toml())
    assert StudyConfig.from_toml(file).strata == "site"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("strata")))
    assert StudyConfig.from_toml(file).strata == "site+load"
