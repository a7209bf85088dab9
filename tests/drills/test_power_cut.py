"""A power cut: what is trusted later was synced, then named, then its name was synced; and what is torn is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drill_commands import options
from drill_kills import differences, results_of
from drill_power import Disk, watched_disk

from labelgan.cli.app import run_command
from labelgan.core.files import write_bytes_atomic
from labelgan.data.phantom.cohort import write_phantom_cohort
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.run import StudySources, run_study
from tiny import SEG_SETTINGS, SETTINGS, settings_of, tiny_study_config

DRILL = pytest.mark.drill


@pytest.fixture
def disk():
    with watched_disk() as disk:
        yield disk


# The watch itself, on planted faults


def test_the_watch_finds_nothing_where_all_is_done(disk: Disk, tmp_path: Path):
    write_bytes_atomic(tmp_path / "new" / "folder" / "file", b"x")
    assert disk.lost(tmp_path / "new") == []
    assert (disk.renamed, disk.too_early) == (1, [])


def test_the_watch_finds_what_was_never_synced(disk: Disk, tmp_path: Path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_bytes(b"x")
    lost = [f"the name {tmp_path}/new", f"the name {tmp_path}/new/file", f"the bytes of {tmp_path}/new/file"]
    assert disk.lost(tmp_path / "new") == lost
    (tmp_path / "new").rename(tmp_path / "named")
    assert disk.too_early == [f"the name {tmp_path}/new/file", f"the bytes of {tmp_path}/new/file"]


def test_the_watch_finds_what_was_written_after_the_sync(disk: Disk, tmp_path: Path):
    path = tmp_path / "new" / "file"
    write_bytes_atomic(path, b"x")
    with path.open("ab") as stream:
        stream.write(b"y")
    assert disk.lost(tmp_path / "new") == [f"the bytes of {path}"]


# Every command


def test_a_phantom_cohort(disk: Disk, tmp_path: Path, told):
    write_phantom_cohort(tmp_path / "cohort", 1, 0, shape=(32, 32, 6))
    _judge(disk, tmp_path / "cohort", "phantom", told)


def test_a_slice_store(disk: Disk, phantom_cohort: Path, tmp_path: Path, told):
    out = tmp_path / "deep" / "store"
    assert run_command(["prepare", str(phantom_cohort), str(out), "--size", "32", "--spacing", "6"]) == 0
    _judge(disk, tmp_path / "deep", "prepare", told)
    assert run_command(["prepare", str(phantom_cohort), str(out), "--size", "32", "--spacing", "6", "--force"]) == 0
    _judge(disk, tmp_path / "deep", "prepare --force", told)


@pytest.mark.parametrize("model", ["refiner"])
def test_a_run_folder(disk: Disk, phantom_store, tmp_path: Path, told, model: str):
    settings = options([*settings_of(model), "train.steps=4", "train.collapse_ratio=0"])
    train = ["train", str(phantom_store.path), "--out", str(tmp_path / "runs" / "a"), "--model", model, *settings]
    assert run_command(train) == 0
    _judge(disk, tmp_path / "runs", "train", told)


def test_a_segmenter(disk: Disk, phantom_store, tmp_path: Path, told):
    settings = options([*SEG_SETTINGS, "train.steps=4"])
    assert run_command(["segment", "train", str(phantom_store.path), "--out", str(tmp_path / "seg"), *settings]) == 0
    _judge(disk, tmp_path / "seg", "segment train", told)


@pytest.mark.parametrize(
    "format", ["npz", *(pytest.param(name, marks=DRILL) for name in ("wmh", "bids", "nnunet", "png"))]
)
def test_samples(disk: Disk, tiny_run: Path, tmp_path: Path, told, format: str):
    out = tmp_path / "samples"
    assert run_command(["sample", str(tiny_run), "--out", str(out), "--num", "3", "--format", format]) == 0
    _judge(disk, out, f"sample, {format}", told)


@DRILL
def test_an_export(disk: Disk, phantom_cohort: Path, tmp_path: Path, told):
    assert run_command(["export", str(phantom_cohort), "--out", str(tmp_path / "e"), "--format", "nnunet"]) == 0
    _judge(disk, tmp_path / "e", "export", told)


@DRILL
def test_predictions(disk: Disk, tiny_segmenter: Path, phantom_cohort: Path, tmp_path: Path, told):
    out = tmp_path / "masks"
    assert run_command(["segment", "predict", str(tiny_segmenter), str(phantom_cohort), "--out", str(out)]) == 0
    _judge(disk, out, "segment predict", told)


@DRILL
def test_a_study(disk: Disk, study_cohort: Path, tmp_path: Path, told):
    config = tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2", "generator.train.steps=4")
    out = tmp_path / "study"
    result = run_study(config, StudySources(study_cohort), out, engine=lambda _: InlineEngine(), device="cpu")
    assert result.run.complete
    _judge(disk, out, "study", told)


def _judge(disk: Disk, folder: Path, what: str, told: Callable[..., None]) -> None:
    lost = [*disk.too_early, *disk.lost(folder)]
    told("power cut", what, disk.renamed, len(lost), "renames, each after its bytes; every name synced after it")
    assert lost == []


# Torn files: a name that is there, over bytes that are not all there

DAMAGES = {
    "half of it": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
}
TORN = {
    "run": ("sample", ("manifest.json", "config.toml", "generator.safetensors", "critic.safetensors")),
    "store": ("train", ("manifest.json", "config.toml", "images.npy", "masks.npy", "brains.npy", "index.npy")),
    "seg": ("segment predict", ("manifest.json", "config.toml", "prepare.toml", "members/0/weights.safetensors")),
    "samples": ("segment train", ("manifest.json", "images/syn000001.npz", "masks/syn000001.npz")),
}


@pytest.mark.parametrize("damage", [name if name == "nothing" else pytest.param(name, marks=DRILL) for name in DAMAGES])
@pytest.mark.parametrize("kind", TORN)
def test_a_torn_file_is_told_and_not_trusted(
    tiny_run: Path, phantom_store, tiny_segmenter: Path, tiny_samples: Path, phantom_cohort: Path,
    tmp_path: Path, told, capsys: pytest.CaptureFixture[str], kind: str, damage: str,
):  # fmt: skip
    reader, names = TORN[kind]
    sources = {"run": tiny_run, "store": phantom_store.path, "seg": tiny_segmenter, "samples": tiny_samples}
    trusted = []
    for name in names:
        folder = tmp_path / name.replace("/", "-") / kind
        shutil.copytree(sources[kind], folder)
        (folder / name).write_bytes(DAMAGES[damage]((folder / name).read_bytes()))
        out = folder.parent / "out"
        settings = options([*(SETTINGS if kind == "store" else SEG_SETTINGS), "train.steps=1"])
        call = {
            "run": ["sample", str(folder), "--out", str(out), "--num", "2", "--keep-best", "0.5"],
            "store": ["train", str(folder), "--out", str(out), "--model", "r3gan", *settings],
            "seg": ["segment", "predict", str(folder), str(phantom_cohort), "--out", str(out)],
            "samples": [
                *("segment", "train", str(phantom_store.path), "--out", str(out)),
                *("--synthetic", str(folder), *settings),
            ],
        }[kind]
        code = run_command(call)
        line = capsys.readouterr().err.strip().splitlines()[-1:]
        if code != 2 or not line or not line[0].startswith("error: ") or Path(name).name not in line[0]:
            trusted.append(f"{name}: exit code {code}: {line}")
    told(
        "torn",
        f"{reader}: {kind} folder, {damage} left",
        len(names),
        len(trusted),
        "one line that names it, exit code 2",
    )
    assert trusted == []


@DRILL
@pytest.mark.parametrize("name", ["study.json", "verdict.json", "scores.csv", "cohort.json", "done.json"])
def test_a_torn_file_of_a_study_is_made_again(study_cohort: Path, tmp_path: Path, told, name: str):
    config, out = tiny_study_config('arms=["classical"]', "folds=2"), tmp_path / "study"

    def run():
        return run_study(config, StudySources(study_cohort), out, engine=lambda _: InlineEngine(), device="cpu")

    first, wanted = run(), results_of(out)
    torn = next(out.rglob(name))
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    again = run()
    lost = differences(results_of(out), wanted)
    told("torn", f"study: half of {name} left", 1, len(lost), f"made again, {again.run.done} jobs done again")
    assert lost == []
    assert again.verdict == first.verdict
    assert again.run.done == (1 if name == "done.json" else 0)
