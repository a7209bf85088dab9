from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from labelgan.config.audit import AuditConfig
from labelgan.config.base import CheckConfig, PrepareConfig, merge
from labelgan.config.catalogue import TOPICS, walk
from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError

finite = st.floats(1e-6, 1e6)
sides = st.integers(1, 64).map(lambda eighth: 8 * eighth)
prepare_configs = st.builds(
    PrepareConfig,
    size=st.tuples(sides, sides),
    spacing_mm=st.none() | finite,
    every=st.integers(1, 50),
    brain_mask=st.sampled_from(["auto", "li2018", "file", "deepbet"]),
    li2018_threshold=finite,
    n4=st.booleans(),
    register_t1=st.booleans(),
    drop_empty=st.booleans(),
    min_brain_fraction=st.floats(0, 1),
)


@given(config=prepare_configs)
@settings(max_examples=40, deadline=None)
def test_toml_round_trip(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert PrepareConfig.from_toml(path) == config


@pytest.mark.parametrize("topic", TOPICS)
def test_none_survives_the_toml_round_trip_of_every_setting_that_may_be_none(tmp_path, topic):
    kind, path = TOPICS[topic].config, tmp_path / "config.toml"
    for key, info, _ in walk(kind):
        if type(None) in get_args(info.annotation):
            config = kind().replace({key: None})
            path.write_text(config.to_toml() or "\n", encoding="utf-8")
            assert kind.from_toml(path) == config, key


LOOKS_LIKE_A_VALUE = ["2024-05-01", "2019", "true", "none", "None", "1e3", "[1]", '"quoted"', " padded "]


@given(name=st.sampled_from(LOOKS_LIKE_A_VALUE) | st.text())
@settings(max_examples=60, deadline=None)
def test_text_stays_text_whatever_it_looks_like(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "text.toml"
    config = StudyConfig().replace({"start_from": name, "audit.encoder.path": name})
    assert (config.start_from, config.audit.encoder.path) == (name, name)
    path.write_text(config.to_toml(), encoding="utf-8")
    assert StudyConfig.from_toml(path) == config


def test_values_are_replaced_by_dotted_key_and_checked(tmp_path):
    config = StudyConfig().replace({"generator.train.steps": 5, "prepare.size": [64, 96], "start_from": tmp_path})
    assert (config.generator.train.steps, config.prepare.size, config.start_from) == (5, (64, 96), str(tmp_path))
    assert config.replace({}) == config == config.with_settings({})
    assert config.with_settings({"start_from": "true"}).start_from == "true"
    with pytest.raises(ConfigError, match=r"^generator\.train\.stepz: unknown setting 'generator\.train\.stepz'$"):
        config.replace({"generator.train.stepz": 5})
    with pytest.raises(ConfigError, match=r"setting 'generator\.train\.steps': .* \(got 0\)"):
        config.replace({"generator.train.steps": 0})
    with pytest.raises(ConfigError, match=r"setting 'start_from': .*string \(got 2019\)"):
        config.replace({"start_from": 2019})


@pytest.mark.parametrize(
    ("text", "value"),
    [*((name, name) for name in ("2024-05-01", "2019", "true")), ("none", None), ('"none"', "none"), ("a.pt", "a.pt")],
)
def test_a_setting_that_is_text_needs_no_quotes(text, value):
    assert AuditConfig().with_settings([f"encoder.path={text}"]).encoder.path == value


def test_layers_are_put_over_one_another_part_by_part():
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [3]}
    assert merge(base, {"a": {"c": {"f": 4}}, "e": []}, {"g": {"h": 5}}) == {
        "a": {"b": 1, "c": {"d": 2, "f": 4}},
        "e": [],
        "g": {"h": 5},
    }
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "e": [3]}


def test_configurations_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        PrepareConfig.build({}).every = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_unknown_keys_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^configuration: unknown setting 'sise'$"):
        PrepareConfig.build({"sise": (64, 64)})
    path = tmp_path / "config.toml"
    path.write_text("every = 2\nevry = 3\n")
    with pytest.raises(
        ConfigError,
        match=r"config\.toml: unknown setting 'evry'; take it out, or use the version",
    ):
        PrepareConfig.from_toml(path)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"every": 0}, r"setting 'every': .* \(got 0\)"),
        ({"size": (64,)}, r"setting 'size\.1': .*"),
        ({"size": (64, 30)}, r"setting 'size\.1': .*multiple of 8 \(got 30\)"),
        ({"size": (0, 64)}, r"setting 'size\.0': .* \(got 0\)"),
        ({"size": (-8, 64)}, r"setting 'size\.0': .* \(got -8\)"),
        ({"spacing_mm": -1.0}, r"setting 'spacing_mm': .*greater than 0 \(got -1\.0\)"),
        ({"brain_mask": "mine"}, r"setting 'brain_mask': .*'deepbet' \(got 'mine'\)"),
    ],
)
def test_values_out_of_range_are_named_with_what_was_given(values, named):
    with pytest.raises(ConfigError, match=named) as caught:
        PrepareConfig.build(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"every = ", b"\xff\xfe", None], ids=["not toml", "not text", "absent"])
def test_files_that_are_no_toml_are_named(tmp_path, content):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be read as TOML: "):
        PrepareConfig.from_toml(path)


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("every=4", "every", 4),
        (" every = 4 ", "every", 4),
        ("spacing_mm=1.5", "spacing_mm", 1.5),
        ("spacing_mm=none", "spacing_mm", None),
        ("size=[64, 96]", "size", (64, 96)),
        ("brain_mask=li2018", "brain_mask", "li2018"),
        ('brain_mask="file"', "brain_mask", "file"),
        ("n4=true", "n4", True),
        ("min_brain_fraction=1e-1", "min_brain_fraction", 0.1),
    ],
)
def test_settings_are_read_as_their_types(setting, key, value):
    config = PrepareConfig.build({"spacing_mm": 2.0}).with_settings([setting])
    assert getattr(config, key) == value


def test_later_settings_win_and_others_stay():
    config = PrepareConfig.build({"n4": True}).with_settings(["every=2", "every=3"])
    assert (config.every, config.n4) == (3, True)


@pytest.mark.parametrize("setting", ["every", "=3", "  =3", ""])
def test_settings_without_key_or_value_are_refused(setting):
    with pytest.raises(ConfigError, match=r"expected KEY=VALUE"):
        PrepareConfig.build({}).with_settings([setting])


@pytest.mark.parametrize("key", ["evry", "every.more", "a.b.c", "size.0"])
def test_unknown_settings_are_refused_by_name(key):
    with pytest.raises(ConfigError, match=rf"^--set {key}=1: unknown setting '{key}'$"):
        PrepareConfig.build({}).with_settings([f"{key}=1"])


def test_limits_are_positive():
    for key in ("max_voxels", "max_file_bytes", "grid_tolerance_mm"):
        with pytest.raises(ConfigError, match=key):
            CheckConfig.build({key: 0})


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 5000, ".".join("a" * 5000) + " = 1"])
def test_toml_that_python_cannot_hold_is_one_config_error(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"cannot be read as TOML|unknown setting 'a'"):
        PrepareConfig.from_toml(path)
    with pytest.raises(ConfigError):
        PrepareConfig.build({}).with_settings([f"size={text.removeprefix('a = ')}"])
