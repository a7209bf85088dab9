from __future__ import annotations

import pytest

from labelgan.config.seg import PRESETS, RECIPES, SegConfig
from labelgan.core.errors import ConfigError
from labelgan.seg.networks import SEGMENTERS


def test_the_defaults_are_those_of_the_paper():
    config = SegConfig.for_segmenter("li2018")
    assert (config.network.width, config.network.norm) == (64, None)
    train, predict, augment = config.train, config.predict, config.augment
    assert (train.members, train.epochs, train.steps, train.batch_size, train.lr) == (3, 50, None, 30, 2e-4)
    assert (train.schedule, train.loss, train.lesion_share, train.copypaste) == ("constant", "dice", None, 0)
    assert (train.restart_above, predict.threshold, predict.emptied) == (0.99, 0.45, 0.125)
    assert (augment.flip, augment.rotate, augment.shear, augment.zoom) == (0.5, 15.0, 0.1, (0.9, 1.1))
    assert (train.showings, augment.moved, augment.zoom_apart) == (4, 0.5, True)


@pytest.mark.parametrize(
    ("name", "preset"), [("dynunet", None), ("segresnet", None), ("li2018", "laptop"), ("dynunet", "laptop")]
)
def test_other_trainings_show_slices_as_before(name, preset):
    config = SegConfig.for_segmenter(name, preset=preset)
    assert config.augment == SegConfig().augment
    assert config.train.showings == 1


def test_a_file_of_before_these_settings_keeps_its_training(tmp_path):
    lines = SegConfig().to_toml().splitlines()
    old = [line for line in lines if not line.startswith(("showings", "moved", "zoom_apart"))]
    assert len(lines) == len(old) + 3
    (tmp_path / "config.toml").write_text("\n".join(old))
    assert SegConfig.from_toml(tmp_path / "config.toml") == SegConfig()


def test_every_network_has_settings_and_the_other_way_round():
    assert RECIPES.keys() == SEGMENTERS.keys()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_changes_a_network_and_settings_come_last(name, preset):
    config = SegConfig.for_segmenter(name, ["train.lr=0.5"], preset)
    assert (config.preset, config.network.name, config.train.lr) == (preset, name, 0.5)
    for part, changes in PRESETS[preset].items():
        values = getattr(config, part).model_dump(mode="json")
        assert {key: values[key] for key in changes if key != "lr"} == {
            key: value for key, value in changes.items() if key != "lr"
        }


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match=r"^--preset big: unknown preset; one of laptop$"):
        SegConfig.for_segmenter("li2018", preset="big")


@pytest.mark.parametrize("norm", [[], ["network.norm=none"], ["network.norm=batch"]])
@pytest.mark.parametrize("name", RECIPES)
def test_settings_survive_the_file(tmp_path, name, norm):
    config = SegConfig.for_segmenter(name, ["train.steps=7", "network.width=8", "augment.zoom=[1, 1.5]", *norm])
    assert (config.network.name, config.train.steps, config.augment.zoom) == (name, 7, (1.0, 1.5))
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert SegConfig.from_toml(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("unet", [], r"^--network unet: unknown network; one of li2018, dynunet, segresnet$"),
        ("li2018", ["train.stepz=3"], r"^--set train\.stepz=3: unknown setting 'train\.stepz'$"),
        ("li2018", ["predict.threshold=1.5"], r"^--set: setting 'predict\.threshold'"),
        ("li2018", ["network.norm=layer"], r"^--set: setting 'network\.norm'"),
        ("li2018", ["augment.zoom=[1.1, 0.9]"], r"^--set: setting 'augment': .*smallest and a largest"),
    ],
)
def test_what_is_wrong_is_named(name, settings, said):
    with pytest.raises(ConfigError, match=said):
        SegConfig.for_segmenter(name, settings)
