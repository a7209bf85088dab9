from __future__ import annotations

import pytest

from labelgan.config.catalogue import TOPICS, catalogue, walk
from labelgan.config_catalogue_sources import (
    MODEL_SOURCES,
    NETWORK_SOURCES,
    PRESET_SOURCES,
    SETTING_SOURCES,
    model_source,
    source_of,
)
from labelgan.config.gan import MODELS
from labelgan.config.gan import PRESETS as GAN_PRESETS
from labelgan.config.seg import RECIPES
from labelgan.gan.objectives import OBJECTIVES


def test_sources_are_of_settings_models_and_presets_that_there_are():
    keys = {f"{topic}:{key}" for topic, entry in TOPICS.items() for key, _, _ in walk(entry.config)}
    assert set(SETTING_SOURCES) <= keys
    assert set(MODEL_SOURCES) == set(MODELS)
    assert set(NETWORK_SOURCES) == set(RECIPES)
    assert set(PRESET_SOURCES) <= set(GAN_PRESETS)


@pytest.mark.parametrize("model", sorted(set(MODELS) & set(OBJECTIVES)))
def test_a_model_names_the_paper_of_its_game(model):
    first_words = " ".join(OBJECTIVES[model].source.split()[:4]).rstrip(",")
    assert MODEL_SOURCES[model].startswith(first_words)


def test_a_description_s_own_paper_comes_first():
    assert source_of("prepare", "size", "as Doe et al. 2020 did (in part)") == "Doe et al. 2020"
    assert source_of("prepare", "size", "rows and columns") == "Li et al. 2018"
    assert source_of("prepare", "every", "keep every K-th") == ""


def test_a_value_is_from_the_paper_of_what_set_it():
    of = {setting.key: setting.source for setting in catalogue("train", model="wgan", preset="laptop")}
    assert of["objective.clip"] == "Arjovsky et al. 2017, algorithm 1"
    assert of["network.width"] == ""  # the preset is ours
    assert model_source("file run/config.toml") == ""
