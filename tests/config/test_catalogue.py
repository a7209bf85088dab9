from __future__ import annotations

from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from labelgan.config.catalogue import (
    MODEL_SOURCES,
    NETWORK_SOURCES,
    PRESET_SOURCES,
    TOPICS,
    catalogue,
    find,
    model_source,
    read_kind,
    source_of,
    unit_of,
    walk,
)
from labelgan.config.gan import MODELS, GanConfig
from labelgan.config.gan import PRESETS as GAN_PRESETS
from labelgan.config.seg import RECIPES, SegConfig
from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError
from labelgan.gan.objectives import OBJECTIVES


def values(topic: str, **options) -> dict[str, object]:
    return {setting.key: setting.value for setting in catalogue(topic, **options)}


def origins(topic: str, **options) -> dict[str, str]:
    return {setting.key: setting.origin for setting in catalogue(topic, **options)}


def leaves(config, parent: str = "") -> dict[str, object]:
    found = {}
    for key, value in config.items():
        found |= leaves(value, f"{parent}{key}.") if isinstance(value, dict) else {f"{parent}{key}": value}
    return found


@pytest.mark.parametrize("topic", TOPICS)
def test_every_setting_is_told_with_its_meaning_and_default(topic):
    told = {setting.key: setting for setting in catalogue(topic)}
    assert set(told) == set(leaves(TOPICS[topic].config().model_dump(mode="json")))
    for key, info, default in walk(TOPICS[topic].config):
        assert info.description, f"{topic}: {key} has no description"
        assert told[key].meaning == info.description
        assert told[key].default == default
        assert told[key].allowed


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("preset", [None, *GAN_PRESETS])
def test_values_of_a_model_are_those_that_it_trains_with(model, preset):
    if preset is not None and model not in GAN_PRESETS[preset]:
        with pytest.raises(ConfigError, match="is not for"):
            catalogue("train", model=model, preset=preset)
        return
    expected = leaves(GanConfig.for_model(model, preset).model_dump(mode="json"))
    assert values("train", model=model, preset=preset) == expected


@pytest.mark.parametrize("network", RECIPES)
def test_values_of_a_segmenter_are_those_that_it_trains_with(network):
    expected = leaves(SegConfig.for_segmenter(network, [], "laptop").model_dump(mode="json"))
    assert values("segment", network=network, preset="laptop") == expected


def test_values_of_a_study_are_those_of_its_parts():
    config = StudyConfig.for_names(GanConfig.for_model("wgan", "laptop"), "dynunet", "laptop")
    expected = leaves(config.model_dump(mode="json"))
    assert values("study", model="wgan", network="dynunet", preset="laptop") == expected


def test_what_set_a_value_is_told(tmp_path):
    of = origins("train", model="wgan", preset="laptop", settings=["train.steps=7", "objective.clip=0.02"])
    assert of["objective.clip"] == of["train.steps"] == "--set"
    assert of["objective.name"] == "model wgan"
    assert of["network.width"] == "preset laptop"
    assert of["mask.reach_px"] == "default"


def test_a_file_is_the_origin_of_what_neither_default_nor_model_gives(tmp_path):
    config = GanConfig.for_model("dcgan", "laptop", ["train.seed=3"])
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert read_kind(path) == "train"
    assert values("train", file=path) == leaves(config.model_dump(mode="json"))
    of = origins("train", file=path)
    assert {key for key, origin in of.items() if origin.startswith("file")} == {"train.seed"}
    assert of["network.family"] == "model dcgan"
    assert of["train.batch_size"] == "preset laptop"


@pytest.mark.parametrize(
    ("topic", "key", "unit"),
    [
        ("check", "max_voxels", "voxels"),
        ("check", "max_file_bytes", "bytes"),
        ("prepare", "size", "pixels"),
        ("prepare", "spacing_mm", "mm"),
        ("prepare", "min_brain_fraction", ""),
        ("train", "content.rotate", "degrees"),
        ("train", "train.ema_images", "images"),
        ("train", "train.checkpoint_every", "steps"),
        ("train", "train.batch_size", "slices"),
        ("train", "augment.cutout", ""),
        ("train", "optimizer.name", ""),
        ("segment", "train.schedule", ""),
        ("segment", "train.epochs", ""),
        ("segment", "augment.shear", "pixels a pixel"),
        ("audit", "fidelity.noise", "z-score"),
        ("audit", "fidelity.blur", ""),
        ("engine", "grace_s", "seconds"),
        ("engine", "memory_gb", "GB"),
    ],
)
def test_units_are_those_of_names_and_descriptions(topic, key, unit):
    (setting,) = [setting for setting in catalogue(topic) if setting.key == key]
    assert setting.unit == unit


def test_units_and_sources_are_what_fields_say_of_themselves():
    said = [info.json_schema_extra for topic in TOPICS.values() for _, info, _ in walk(topic.config)]
    named = {key for extra in said if isinstance(extra, dict) for key in extra}
    assert named == {"unit", "source"}  # a misspelt one would be of no use
    assert unit_of(FieldInfo(description="share of the pixels")) == ""
    assert unit_of(FieldInfo(description="side", json_schema_extra={"unit": "pixels"})) == "pixels"


@pytest.mark.parametrize(("ending", "unit"), [("_mm", "mm"), ("_px", "pixels"), ("_s", "seconds"), ("_gb", "GB")])
def test_a_name_that_ends_in_a_unit_has_it(ending, unit):
    named = [(key, info) for topic in TOPICS.values() for key, info, _ in walk(topic.config) if key.endswith(ending)]
    assert named
    assert {key: unit_of(info) for key, info in named} == dict.fromkeys((key for key, _ in named), unit)


def test_choices_and_limits_are_told():
    allowed = {setting.key: setting.allowed for setting in catalogue("train")}
    assert allowed["mask.encoding"] == "distance | hard | gaussian"
    assert allowed["augment.translate"] == "number, ≥ 0, ≤ 0.5"
    assert allowed["train.lesion_fraction"] == "number | none, ≥ 0, ≤ 1"
    assert allowed["content.zoom"] == "2 × number"
    assert {setting.key: setting.allowed for setting in catalogue("study")}["folds"].startswith("lopo | whole number")


def test_a_setting_is_found_by_its_name_its_end_or_a_part():
    assert [setting.key for setting in find("objective.penalty")] == ["objective.penalty"]
    assert [setting.key for setting in find("penalty")] == ["objective.penalty"]
    assert {setting.key for setting in find("checkpoint")} == {"train.checkpoint_every"}
    assert {setting.topic for setting in find("steps")} == {"train", "segment", "audit"}
    assert [setting.topic for setting in find("audit:encoder.steps")] == ["audit"]
    # parts of a study are told once, unless the study is named
    assert [setting.topic for setting in find("n4")] == ["prepare"]
    assert [setting.key for setting in find("study:n4")] == ["prepare.n4"]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: find("pennalty"), "pennalty: no such setting; did you mean penalty"),
        (lambda: find("train:"), "no such setting"),
        (lambda: find("xyzzy"), "`labelgan config show` lists them all"),
        (lambda: find("cook:steps"), "cook: no settings of that name; choose from check, prepare, train"),
        (lambda: catalogue("train", model="vae"), "--model vae: unknown model"),
        (lambda: catalogue("segment", preset="huge"), "--preset huge: unknown preset"),
        (lambda: catalogue("train", settings=["train.stepz=2"]), "unknown setting 'train.stepz'"),
        (lambda: read_kind(Path("no.toml")), "no.toml: cannot be read as TOML"),
    ],
)
def test_what_is_wrong_is_one_line(act, said):
    with pytest.raises(ConfigError) as error:
        act()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_no_topic_is_refused(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text("colour = 'red'\n")
    with pytest.raises(ConfigError, match="a configuration of none of check, prepare"):
        read_kind(path)


def test_sources_are_of_models_and_presets_that_there_are():
    assert set(MODEL_SOURCES) == set(MODELS)
    assert set(NETWORK_SOURCES) == set(RECIPES)
    assert set(PRESET_SOURCES) <= set(GAN_PRESETS)


@pytest.mark.parametrize("model", sorted(set(MODELS) & set(OBJECTIVES)))
def test_a_model_names_the_paper_of_its_game(model):
    first_words = " ".join(OBJECTIVES[model].source.split()[:4]).rstrip(",")
    assert MODEL_SOURCES[model].startswith(first_words)


def test_a_description_s_own_paper_comes_first():
    for words, source in (("as Doe et al. 2020 did (in part)", "Doe et al. 2020"), ("rows", "Roe et al. 2018")):
        info = FieldInfo(description=words, json_schema_extra={"source": "Roe et al. 2018"})
        assert source_of(info) == source
    assert source_of(FieldInfo(description="keep every K-th")) == ""


def test_a_value_is_from_the_paper_of_what_set_it():
    of = {setting.key: setting.source for setting in catalogue("train", model="wgan", preset="laptop")}
    assert of["objective.clip"] == "Arjovsky et al. 2017, algorithm 1"
    assert of["network.width"] == ""  # the preset is ours
    assert model_source("file run/config.toml") == ""
