from __future__ import annotations

import json
import re
import shutil
import signal
from dataclasses import replace

import pytest

import labelgan
from labelgan import api
from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError
from labelgan.data.layouts.detect import read_cohort
from tiny import settings_of, tiny_config

SMALL = {"size": (32, 32), "spacing_mm": 6.0}


def test_the_verbs_are_at_the_front_of_the_package():
    for verb in ("check", "phantom", "prepare", "sample", "train"):
        assert getattr(labelgan, verb) is getattr(api, verb)


def test_check_reports_progress_case_by_case(phantom_cohort):
    told: list[tuple[int, int, str]] = []
    assert api.check(str(phantom_cohort), layout="wmh", report=lambda *call: told.append(call)).ok
    assert told == [(1, 3, ""), (2, 3, ""), (3, 3, "")]


def test_phantoms_are_those_of_the_seed_and_are_told_one_by_one(tmp_path, phantom_cohort):
    told: list[tuple[int, int, str]] = []
    ids = api.phantom(tmp_path / "p", 1, 0, shape=(48, 48, 12), report=lambda *call: told.append(call))
    assert ids == ["P001"]
    assert told == [(1, 1, "P001")]
    (mask,) = (tmp_path / "p").glob("*/P001/wmh.nii.gz")
    assert mask.read_bytes() == (phantom_cohort / mask.relative_to(tmp_path / "p")).read_bytes()


def test_prepare_takes_settings_or_a_whole_config(phantom_cohort, tmp_path):
    one = api.prepare(phantom_cohort, tmp_path / "one", exclude=["P002"], **SMALL)
    other = api.prepare(phantom_cohort, tmp_path / "other", exclude=["P002"], config=PrepareConfig.build(SMALL))
    assert one.config == other.config
    assert [case.id for case in one.cases] == ["P001", "P003"]
    assert (one.path / "images.npy").read_bytes() == (other.path / "images.npy").read_bytes()
    with pytest.raises(ConfigError, match=r"^size: is given beside a whole config; give one or the other$"):
        api.prepare(phantom_cohort, tmp_path / "third", config=PrepareConfig.build(SMALL), size=(64, 64))
    with pytest.raises(ConfigError, match="unknown setting 'sise'"):
        api.prepare(phantom_cohort, tmp_path / "third", sise=(64, 64))


def test_settings_come_from_the_model_or_from_the_run_that_goes_on(tiny_run):
    assert api.training_config() == tiny_config().for_model("auto")
    assert api.training_config(model="gan", preset="laptop", settings=["train.steps=3"]).train.steps == 3
    run = tiny_config("r3gan", "train.collapse_ratio=0")
    assert api.training_config(resume_from=tiny_run) == run
    # a child may be trained elsewhere than its parent
    here = run.with_settings(["train.device=auto", "train.threads=0"])
    assert api.training_config(start_from=tiny_run, model="r3gan") == here
    assert api.training_config(resume_from=tiny_run, settings=["train.steps=9"]).train.steps == 9
    with pytest.raises(ConfigError, match=r"^--model gan: .* is a run of r3gan$"):
        api.training_config(resume_from=tiny_run, model="gan")
    with pytest.raises(ConfigError, match=r"^--preset laptop: .* was made with preset none$"):
        api.training_config(start_from=tiny_run, preset="laptop")


def test_train_and_sample_by_keyword(phantom_store, tmp_path):
    told: list[tuple[int, int, str]] = []
    result = api.train(
        phantom_store.path, tmp_path / "run", steps=2, seed=4, exclude=["P001"],
        settings=[*settings_of("auto"), "train.collapse_ratio=0"], report=lambda *call: told.append(call),
    )  # fmt: skip
    assert [call[:2] for call in told] == [(1, 2), (2, 2)]
    assert "critic" in told[-1][2]
    assert "seed = 4" in (result.run / "config.toml").read_text()
    assert {case["id"] for case in json.loads((result.run / "manifest.json").read_text())["training_cases"]} == {
        "P002",
        "P003",
    }
    told.clear()
    out = api.sample(
        result.run, tmp_path / "out", 2, format="png", device="cpu", report=lambda *call: told.append(call)
    )
    assert told == [(1, 2, ""), (2, 2, "")]
    assert api.check(out).ok


def test_a_cohort_is_prepared_on_the_way_and_its_store_is_kept(phantom_cohort, tmp_path, monkeypatch):
    plain, prepared = api.prepare, []

    def prepare(data, out, **more):
        prepared.append(out)
        return plain(data, out, **{**more, **SMALL})

    monkeypatch.setattr("labelgan.api.base.prepare", prepare)
    out = tmp_path / "run"
    assert api.train(phantom_cohort, out, steps=2, settings=settings_of("auto")).steps == 2
    assert api.train(phantom_cohort, out, steps=3, resume=True).steps == 3
    assert prepared == [out / "store"]
    with pytest.raises(DataError, match=r"run: is not empty; go on with --resume, or name another folder"):
        api.train(phantom_cohort, out, steps=2, settings=settings_of("auto"))


def test_fine_tuning_begins_with_the_parents_settings(phantom_store, tiny_run, tmp_path):
    result = api.train(phantom_store.path, tmp_path / "run", steps=1, start_from=tiny_run)
    manifest = json.loads((result.run / "manifest.json").read_text())
    assert manifest["started_from"] == {"model": "r3gan", "steps": 6}
    assert "latent_dim = 8" in (result.run / "config.toml").read_text()
    with pytest.raises(DataError, match=r"^absent: is not a run folder: it has no config\.toml$"):
        api.train(phantom_store.path, tmp_path / "other", start_from="absent")


def test_an_interrupted_fine_tuning_goes_on_without_its_parent(phantom_store, tiny_run, tmp_path):
    """Everything that resuming needs is in the run's own folder."""
    parent = tmp_path / "parent"
    shutil.copytree(tiny_run, parent)
    out = tmp_path / "run"

    def stop(done: int, total: int, text: str) -> None:
        if done == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        api.train(phantom_store.path, out, steps=4, start_from=parent, report=stop)
    shutil.rmtree(parent)
    api.train(phantom_store.path, out, resume=True)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    # the leak guard still knows what the parent saw
    assert [case["id"] for case in manifest["inherited_cases"]] == ["P001", "P002", "P003"]


def test_one_cohort_or_several_by_any_kind_of_path(phantom_cohort, tiny_samples, tmp_path):
    done = labelgan.export(str(phantom_cohort), tmp_path / "one", format="monai")
    assert (done.real, done.synthetic, len(done.folds)) == (3, 0, 3)
    told: list[tuple[int, int, str]] = []
    done = labelgan.export(
        [phantom_cohort, str(tiny_samples)], str(tmp_path / "two"), format="wmh", report=lambda *now: told.append(now)
    )
    assert (done.real, done.synthetic) == (3, 6)
    assert len(read_cohort(tmp_path / "two").cases) == 9
    assert told[0][:2] == (0, 9)
    assert told[-1] == (9, 9, "")


def test_options_arrive(phantom_cohort, tmp_path):
    done = labelgan.export(
        phantom_cohort, tmp_path / "out", format="nnunet", folds=2, channels=["T1"], exclude=["P001"], drop_other=True
    )
    assert (done.real, len(done.folds)) == (2, 2)
    cohort = read_cohort(tmp_path / "out")
    assert cohort.channels == ("T1",)
    assert cohort.labels == {0: 0, 1: 1}


def test_what_an_old_run_carries_is_no_setting_of_the_user(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "old")
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(re.sub(r"(?m)^(hidden|stock) = .*$", r"\1 = 77", text))
    config = api.training_config(start_from=run, settings=["train.steps=3"])
    assert (config.network.hidden, config.content.stock, config.train.steps) == (77, 77, 3)
    assert api.training_config(resume_from=run, settings={"network.hidden": 77}).network.hidden == 77
    with pytest.raises(ConfigError, match=r"^settings: network\.hidden does not apply: network\.family=r3gan"):
        api.training_config(start_from=run, settings={"network.hidden": 78})


def test_a_game_needs_no_model_of_its_own(monkeypatch):
    from labelgan.gan.objectives import OBJECTIVES

    defaults = {"optimizer.generator_lr": 1e-4, "objective.critic_steps": 2}
    monkeypatch.setitem(OBJECTIVES, "other", replace(OBJECTIVES["wgan"], defaults=defaults))
    config = api.training_config(model="other", settings=["objective.clip=0.5"])
    assert (config.model, config.objective.name, config.objective.critic_steps) == ("other", "other", 2)
    assert (config.optimizer.generator_lr, config.network.family) == (1e-4, "r3gan")
    assert api.training_config(model="other", preset="laptop").network.width == 48
    with pytest.raises(ConfigError, match=r"objective\.penalty does not apply: objective\.name=other"):
        api.training_config(model="other", settings=["objective.penalty=1"])
