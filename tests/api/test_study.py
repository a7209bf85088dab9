from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import labelgan
from labelgan.api import study as api_study
from labelgan.core.errors import ConfigError, DataError
from labelgan.study.places import Places
from labelgan.study.results import shareable


def test_a_preset_sets_slices_generator_and_segmenter():
    config = api_study.study_config(preset="laptop")
    assert config.prepare.size == (64, 64)
    assert config.generator.preset == "laptop"
    assert config.segmenter.network.width < 64
    assert api_study.study_config(preset="laptop", settings=["prepare.size=[96, 96]"]).prepare.size == (96, 96)


def test_a_parent_run_settles_the_generator():
    config = api_study.study_config(start_from="phantom", preset="laptop")
    assert config.start_from == "phantom"
    assert config.generator.network.width == 48
    assert api_study.study_sources("data", start_from=config.start_from).start_from is not None
    with pytest.raises(DataError, match="not a run folder"):
        api_study.study_config(start_from="nowhere")


@pytest.mark.parametrize("name", ["2024-05-01", "2019", "true", "none"])
def test_a_parent_run_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(labelgan.phantom_generator(), name)
    config = api_study.study_config(start_from=name)
    assert config.start_from == name
    Path("study.toml").write_text(shareable(config).to_toml())
    assert api_study.study_config(config="study.toml") == config
    assert api_study.study_sources("data", start_from=config.start_from).start_from == Path(name)


def test_a_file_settles_everything(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(api_study.study_config(model="wgan-gp").to_toml())
    assert api_study.study_config(config=path, settings=["seed=4"]).seed == 4
    assert api_study.study_config(config=path).generator.model == "wgan-gp"
    with pytest.raises(ConfigError, match=r"--network: is settled by .*study\.toml"):
        api_study.study_config(config=path, network="li2018")


def test_an_old_study_goes_on_with_its_own_settings(tmp_path):
    (tmp_path / "config.toml").write_text(api_study.study_config(settings=["seed=9"]).to_toml())
    assert api_study.study_config(resume_from=tmp_path).seed == 9
    assert api_study.study_config(resume_from=tmp_path, settings=["samples=3"]).samples == 3
    assert api_study.study_config(resume_from=tmp_path, model="gan").seed == 0
    assert api_study.study_config(resume_from=tmp_path / "new").seed == 0


def test_a_study_finds_the_run_again_that_it_starts_from(tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(labelgan.phantom_generator(), parent)
    config = api_study.study_config(start_from=parent)
    study = tmp_path / "study"
    study.mkdir()
    (study / "config.toml").write_text(shareable(config).to_toml())
    assert str(tmp_path) not in (study / "config.toml").read_text()
    Places(tmp_path / "scans", start_from=parent).write(study)
    assert api_study.study_config(resume_from=study) == config
    Places(tmp_path / "scans", start_from=tmp_path / "other").write(study)
    assert api_study.study_config(resume_from=study).start_from == "parent"


def test_a_study_in_one_call(study_cohort, study_config, tiny_study, tmp_path):
    out, plan = Path(shutil.copytree(tiny_study.folder, tmp_path / "study")), tiny_study.plan
    lost = [plan.members["fold-00", "classical"][0].key, *(job.key for job in plan.scores.values())]
    for key in lost:
        shutil.rmtree(out / "jobs" / key)
    result = labelgan.run_study(study_cohort, out, config=study_config, workers=1, device="cpu")
    assert (result.run.done, result.run.reused) == (len(lost), len(plan.jobs) - len(lost))
    assert result.verdict == tiny_study.verdict
    with pytest.raises(ConfigError, match="preset: is given beside a whole config"):
        labelgan.run_study(study_cohort, tmp_path / "other", config=study_config, preset="laptop")
    with pytest.raises(ConfigError, match="--reference real: is none of the study's arms; name one of classical"):
        labelgan.run_study(study_cohort, tmp_path / "study", config=study_config, reference="real", device="cpu")


def test_the_verdict_of_a_finished_study_and_of_none(tiny_study, tmp_path):
    assert api_study.verdict(tiny_study.folder) == tiny_study.verdict
    with pytest.raises(DataError, match="holds no study"):
        api_study.build_report(tmp_path)
