"""``kill -9`` at random moments of preparing, training, sampling and studies: going on gives the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from drill_children import Child, begin, command, inline_study
from drill_commands import SAVING, options
from drill_kills import DONE_JOBS, checkpoints_hold, differences, kill_again_and_again, results_of

from labelgan.data.store import SliceStore
from tiny import SEG_SETTINGS, SETTINGS, tiny_study_config

DRILL = pytest.mark.drill


GENERATORS = [
    ("r3gan", 2, ()),
    *((name, kills, DRILL) for name, kills in (("r3gan", 16), ("refiner", 16), ("wgan-gp", 8))),
]


@pytest.mark.parametrize(("model", "kills"), [pytest.param(m, k, marks=marks) for m, k, marks in GENERATORS])
def test_training_a_generator(phantom_store: SliceStore, tmp_path: Path, told, model: str, kills: int):
    steps = 10 if kills == 2 else 24
    settings = options([*SETTINGS, *SAVING, f"train.steps={steps}", "train.collapse_ratio=0"])

    def start(folder: Path, log: Path) -> Child:
        train = ["train", str(phantom_store.path), "--out", str(folder), "--model", model, "--resume"]
        return begin(command, [*train, *settings], log=log)

    tally = kill_again_and_again(
        start, tmp_path, kills=kills, seed=1, saved="checkpoints/step-*", look=checkpoints_hold
    )
    told("kill -9", f"train, {model}", tally.count, len(tally.losses), tally.told())
    assert tally.losses == []


@DRILL
def test_training_from_a_cohort(phantom_cohort: Path, tmp_path: Path, told):
    """The slices are prepared first: a kill there leaves nothing that the next try stumbles over."""
    settings = options([*SETTINGS, *SAVING, "train.steps=3", "train.batch_size=2", "train.collapse_ratio=0"])

    def start(folder: Path, log: Path) -> Child:
        train = ["train", str(phantom_cohort), "--out", str(folder), "--model", "r3gan", "--resume"]
        return begin(command, [*train, *settings], log=log)

    tally = kill_again_and_again(start, tmp_path, kills=6, seed=7, saved="store/manifest.json", look=checkpoints_hold)
    told("kill -9", "train, r3gan, from scans", tally.count, len(tally.losses), tally.told())
    assert tally.losses == []


@DRILL
def test_training_a_segmenter(phantom_store: SliceStore, tiny_samples: Path, tmp_path: Path, told):
    settings = options([*SEG_SETTINGS, *SAVING, "train.steps=12", "train.early_step=3"])

    def start(folder: Path, log: Path) -> Child:
        train = ["segment", "train", str(phantom_store.path), "--out", str(folder), "--resume", "--fit-threshold"]
        return begin(command, [*train, "--synthetic", str(tiny_samples), *settings], log=log)

    tally = kill_again_and_again(
        start, tmp_path, kills=24, seed=2, saved="members/*/checkpoints/step-*", look=checkpoints_hold
    )
    told("kill -9", "segment train", tally.count, len(tally.losses), tally.told())
    assert tally.losses == []


def whole_or_absent(folder: Path, wanted: Path) -> str | None:
    """A folder that is moved to its place when it is whole is the same as that of an undisturbed run, or not there."""
    if folder.exists() and (wrong := differences(results_of(folder), results_of(wanted))):
        return f"{folder.name} is there with {', '.join(wrong)}"
    return None


@pytest.mark.parametrize(
    ("format", "kills"), [("npz", 2), *(pytest.param(f, 5, marks=DRILL) for f in ("wmh", "bids", "npz"))]
)
def test_sampling(tiny_run: Path, tmp_path: Path, told, format: str, kills: int):
    number = "16" if kills == 2 else "64"

    def start(folder: Path, log: Path) -> Child:
        sample = ["sample", str(tiny_run), "--out", str(folder), "--num", number, "--format", format, "--seed", "3"]
        return begin(command, sample, log=log)

    tally = kill_again_and_again(
        start, tmp_path, kills=kills, seed=3, saved="manifest.json",
        look=lambda folder: whole_or_absent(folder, tmp_path / "peace"),
    )  # fmt: skip
    told("kill -9", f"sample, {format}", tally.count, len(tally.losses), tally.told())
    assert tally.losses == []


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=DRILL)])
def test_preparing(phantom_cohort: Path, tmp_path: Path, told, kills: int):
    def start(folder: Path, log: Path) -> Child:
        prepare = ["prepare", str(phantom_cohort), str(folder), "--size", "32", "--spacing", "6", "--force"]
        return begin(command, prepare, log=log)

    tally = kill_again_and_again(
        start, tmp_path, kills=kills, seed=4, saved="manifest.json",
        look=lambda folder: whole_or_absent(folder, tmp_path / "peace"),
    )  # fmt: skip
    told("kill -9", "prepare", tally.count, len(tally.losses), tally.told())
    assert tally.losses == []


class DoneJobs:
    """Remembers which jobs of each study were done, and says which of them are no more."""

    def __init__(self) -> None:
        self.done: dict[Path, bytes] = {}

    def __call__(self, folder: Path) -> str | None:
        for path, content in self.done.items():
            if path.is_relative_to(folder) and (not path.is_file() or path.read_bytes() != content):
                return f"{path} was done and is no more"
        for path in folder.glob(DONE_JOBS):
            self.done[path] = path.read_bytes()
            json.loads(self.done[path])
        return checkpoints_hold(folder)


@DRILL
def test_a_study(study_cohort: Path, tmp_path: Path, told):
    config = tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2", "members=2")
    settings = tmp_path / "study.toml"
    settings.write_text(config.with_settings(["generator.train.checkpoint_every=1"]).to_toml())

    def start(folder: Path, log: Path) -> Child:
        return begin(inline_study, str(settings), str(study_cohort), str(folder), log=log)

    tally = kill_again_and_again(start, tmp_path, kills=16, seed=5, saved=DONE_JOBS, look=DoneJobs())
    told("kill -9", "study, the process that does its jobs", tally.count, len(tally.losses), tally.told())
    assert tally.losses == []


class KilledError(BaseException):
    """What a kill looks like from inside: no handler tidies up."""


@DRILL
@pytest.mark.parametrize("moment", ["write_if_new", "write_verdict", "write_json_atomic", "write_report"])
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_a_study_killed_while_it_concludes_never_shows_an_old_verdict(
    tiny_study, study_config, study_cohort: Path, tmp_path: Path, told, monkeypatch, moment: str, after: bool
):
    """Scores changed; the kill falls between two files of the conclusion; what goes on tells the new verdict."""
    from labelgan.study import run as study_run
    from labelgan.study.engine.engines import InlineEngine

    def conclude(out: Path):
        sources = study_run.StudySources(study_cohort)
        return study_run.run_study(study_config, sources, out, engine=lambda _: InlineEngine(), device="cpu").verdict

    killed, peace = (Path(shutil.copytree(tiny_study.folder, tmp_path / name)) for name in ("killed", "peace"))
    for out in (killed, peace):
        for score in tiny_study.plan.scores.values():
            path = out / "jobs" / score.key / "done.json"
            done = json.loads(path.read_text())
            for row in done["result"]["rows"]:
                row["dsc"] = 0.9 if row["dsc"] is None else row["dsc"] / 2
            path.write_text(json.dumps(done))
    wanted = conclude(peace)
    assert wanted != tiny_study.verdict
    plain = getattr(study_run, moment)

    def die(path: Path, *arguments, **more):
        if moment in ("write_if_new", "write_json_atomic") and path.name not in ("scores.csv", "study.json"):
            return plain(path, *arguments, **more)
        if after:
            plain(path, *arguments, **more)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(study_run, moment, die)
        with pytest.raises(KilledError):
            conclude(killed)
    assert conclude(killed) == wanted
    lost = differences(results_of(killed), results_of(peace))
    told("kill -9", f"study, {'after' if after else 'before'} {moment}", 1, len(lost), "the new verdict")
    assert lost == []
