from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from audit_cases import GATE_OF, ONE_DISGUISE, Audited
from labelgan.audit.gates import ONE_HELD_OUT
from labelgan.audit.run import PARTS, audit_slices, run_audit
from labelgan.audit.slices import AuditData
from labelgan.config.audit import AuditConfig
from labelgan.config.base import PrepareConfig
from labelgan.core.errors import LeakError
from labelgan.core.rng import generator_for
from tiny import folder_bytes
from toy_slices import toy_slices

SETTINGS = [
    *("encoder.side=16", "encoder.width=8", "encoder.features=8", "encoder.steps=5", "encoder.batch_size=8"),
    *("fidelity.projections=16", "fidelity.patches=8", "fidelity.pairs=20", "fidelity.kernel_blocks=3"),
    *("data.device=cpu", "data.one_cohort=false"),
]
CONFIG = AuditConfig().with_settings(SETTINGS)
FACTS = {name: {"name": name, "slices": 1, "patients": 1} for name in ("samples", "train", "held_out")}
TRAIN, HELD_OUT = toy_slices(60, 0), toy_slices(40, 1)


def with_hot_pixels(samples):
    """One pixel in a hundred is brighter than in any training slice."""
    samples.images_NCHW[generator_for(0, "hot").random(samples.images_NCHW.shape) < 0.01] = 30
    return samples


def audited(samples, out):
    data = AuditData(samples, TRAIN, HELD_OUT)
    return audit_slices(data, out, CONFIG, torch.device("cpu"), facts=FACTS, notes=["a note"])


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """Slices of patients that nobody has seen, presented as samples."""
    out = tmp_path_factory.mktemp("unseen")
    return audited(toy_slices(40, 2, synthetic=True), out), out


def test_unseen_patients_pass_every_gate(unseen):
    report, _ = unseen
    assert report.passed, report.failed_gates
    assert {gate.name for gate in report.gates} == {"diversity", "labels", "load", "range", "copies"}
    assert len({finding.name for finding in report.findings}) == len(report.findings)


def test_what_it_leaves_behind(unseen):
    report, out = unseen
    told = json.loads((out / "audit.json").read_text())
    assert told["kind"] == "audit"
    assert told["passed"] is True
    assert [finding["name"] for finding in told["findings"]] == [finding.name for finding in report.findings]
    assert told["notes"] == ["a note"]
    assert told["config"] == CONFIG.model_dump(mode="json")
    assert "torch" in told["made_with"]
    assert AuditConfig.from_toml(out / "config.toml") == CONFIG
    pictures = {path.name for path in (out / "pictures").iterdir()}
    assert pictures == {"samples.png", "train.png", *(f"closest_{number:02d}.png" for number in range(1, 11))}
    assert (out / "encoder.safetensors").is_file()


def test_twice_gives_the_same_files(unseen, tmp_path):
    audited(toy_slices(40, 2, synthetic=True), tmp_path)
    assert folder_bytes(tmp_path) == folder_bytes(unseen[1])


@pytest.mark.parametrize(
    ("samples", "gate"),
    [
        (toy_slices(40, 2, synthetic=True).select(np.full(40, 4)), "diversity"),
        (TRAIN.select(slice(0, 40)), "copies"),
        (with_hot_pixels(toy_slices(40, 2, synthetic=True)), "range"),
    ],
    ids=["one slice", "training slices", "hot pixels"],
)
def test_planted_faults_fail_their_gate(samples, gate, tmp_path):
    report = audited(samples, tmp_path)
    assert not report.passed
    assert gate in {failed.name for failed in report.failed_gates}
    assert json.loads((tmp_path / "audit.json").read_text())["passed"] is False


def test_an_audit_of_folders(tiny_samples, phantom_store, tmp_path):
    with pytest.raises(LeakError):
        run_audit(tiny_samples, phantom_store, ["P003"], tmp_path / "leak", CONFIG)
    assert not (tmp_path / "leak").exists()
    told: list[str] = []
    teams: set[int] = set()

    def tell(done: int, steps: int, what: str) -> None:
        told.append(what)
        teams.update(team["num_threads"] for team in threadpool_info())

    held_out = phantom_store.path.parent / "cohort"
    assert held_out.is_dir()
    config = CONFIG.with_settings(["data.threads=1"])
    report = run_audit(held_out, phantom_store, ["P003"], tmp_path / "out", config, report=tell)
    assert teams == {1}, "NumPy and torch work with the threads that were asked for"
    assert told == ["encoder", *PARTS, ""]
    assert report.facts["train"] == {"slices": len(phantom_store.rows_of(["P001", "P002"])), "patients": 2, "cases": 2}
    assert report.facts["samples"]["slices"] == len(phantom_store)
    assert "does not tell" in report.notes[0]
    assert report.notes[-1] == f"Every gate is {ONE_HELD_OUT}."
    assert all(gate.reason.endswith(ONE_HELD_OUT) for gate in report.gates)
    assert "copies" in {gate.name for gate in report.failed_gates}


def test_an_encoder_of_an_audit_serves_another(unseen, tmp_path):
    config = CONFIG.with_settings([f"encoder.path={unseen[1] / 'encoder.safetensors'}"])
    data = AuditData(toy_slices(40, 2, synthetic=True), TRAIN, HELD_OUT)
    report = audit_slices(data, tmp_path, config, torch.device("cpu"), facts=FACTS, notes=[])
    assert report.finding("pair.w1") == unseen[0].finding("pair.w1")


@pytest.fixture(scope="module")
def phantoms(phantoms_of, tmp_path_factory) -> Audited:
    """Fourteen phantoms, of whom seven are learned from and three held out."""
    folder = tmp_path_factory.mktemp("planted")
    prepare = PrepareConfig.build({"size": (48, 48), "spacing_mm": 4.0})
    config = CONFIG.with_settings(["data.one_cohort=true", "encoder.steps=40"])
    return Audited.split(phantoms_of(14, 5), folder, prepare, config, sizes=(7, 3))


@pytest.mark.slow
def test_patients_whom_nobody_has_seen_pass_every_gate(phantoms):
    report = phantoms.audit(phantoms.unseen)
    assert [gate.passed for gate in report.gates] == [True] * 5, report.gates
    assert (report.finding("copies.share").value or 0) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in GATE_OF if fault not in ONE_DISGUISE])
def test_a_whole_audit_finds_what_was_planted(phantoms, fault):
    report = phantoms.audit(phantoms.planted(fault))
    assert GATE_OF[fault] in {gate.name for gate in report.failed_gates}
    if GATE_OF[fault] == "copies":
        assert (report.finding("copies.share").value or 0) >= 0.99
