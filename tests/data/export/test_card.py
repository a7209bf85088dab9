from __future__ import annotations

import json
import re
import shutil

import pytest

from labelgan.data.check.integrity import check_cohort
from labelgan.data.export.card import CARD, cohort_card, enter_audit
from labelgan.data.export.write import EXPORTERS
from labelgan.data.layouts.detect import read_cohort
from labelgan.gan.sample import sample_cohort

MANIFEST = {
    "channels": ["FLAIR", "T1"],
    "size": [64, 96],
    "spacing_mm": [3.0, 1.234, 0.987],
    "layout": "wmh",
    "seed": 7,
    "keep_best": 0.25,
    "samples": [{"id": f"syn{n}", "lesion_voxels": n % 3} for n in range(1200)],
    "audited": {"kept": 1200, "dropped": {"copy of a training slice": 5}},
    "generator": {
        "model": "r3gan",
        "steps": 4321,
        "sha256": "sha256:abc",
        "training_cases": [
            {"id": "secret-a", "patient": "secret-p", "slices": 10},
            {"id": "secret-b", "patient": "secret-p", "slices": 20},
            {"id": "secret-c", "patient": "secret-q", "slices": 3},
        ],
        "inherited_cases": [{"id": "secret-d", "patient": "secret-r", "slices": 3}],
    },
}
AUDIT = {
    "passed": False,
    "samples": {"slices": 1200},
    "train": {"slices": 33},
    "held_out": {"slices": 20},
    "gates": [{"name": "copies", "passed": False, "reason": "share of copies 0.2 (at most 0.05)"}],
    "findings": [{"name": "copies.share", "title": "copies", "value": 0.2, "anchors": {"good": 0.01, "bad": None}}],
}


def test_the_card_says_what_the_manifest_says():
    card = " ".join(cohort_card(MANIFEST).split())
    for said in (
        "1,200 slices of 64×96 pixels of 1.23×0.99 mm, slices 3.00 mm apart",
        "layout `wmh`; 800 of them show a lesion",
        "r3gan, 4,321 steps, weights sha256:abc",
        "**Seed**: 7; of every 4 slices the critic kept one",
        "33 slices of 2 patients (its parent saw 1 more)",
        "copy of a training slice: 5",
        'size_categories: ["1K<n<10K"]',
        "**Licence**: fill in",
        "Not for diagnosis",
        "Not audited yet",
    ):
        assert said in card, said
    assert "secret" not in card


def test_an_audit_is_entered_and_what_was_filled_in_stays(tmp_path):
    assert not enter_audit(tmp_path, AUDIT)
    (tmp_path / CARD).write_text(cohort_card(MANIFEST).replace("license_name: fill-in", "license_name: mine"))
    card = ""
    for _ in range(2):
        assert enter_audit(tmp_path, AUDIT)
        card = (tmp_path / CARD).read_text()
        assert card == cohort_card(MANIFEST, AUDIT).replace("license_name: fill-in", "license_name: mine")
    assert "The audit failed: 1,200 samples, 33 training slices, 20 held-out slices." in card
    assert "20.0% of the samples count as copies of training slices. **Do not share them.**" in card
    assert "- **copies**: failed; share of copies 0.2 (at most 0.05)" in card
    assert "| copies | 0.2 | 0.01 | – |" in card
    assert "Not audited" not in card
    (tmp_path / CARD).write_text("my own words")
    assert not enter_audit(tmp_path, AUDIT)
    assert (tmp_path / CARD).read_text() == "my own words"


@pytest.mark.parametrize("format", EXPORTERS)
def test_every_format_has_a_card_that_its_reader_does_not_mind(tiny_run, tmp_path, format):
    root = sample_cohort(tiny_run, tmp_path / "cohort", 3, format=format)
    manifest = json.loads((root / "manifest.json").read_text())
    assert (root / CARD).read_text(encoding="utf-8") == cohort_card(manifest)
    lines = (root / CARD).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "---"
    header = dict(line.split(": ", 1) for line in lines[1 : lines.index("---", 1)])
    assert {"license", "task_categories", "size_categories"} <= set(header)
    assert header["size_categories"] == '["n<1K"]'
    assert read_cohort(root).manifest.is_synthetic
    with_card = check_cohort(root)
    bare = shutil.copytree(root, tmp_path / "bare" / "cohort")
    (bare / CARD).unlink()
    without = check_cohort(bare)
    assert [case.id for case in with_card.cohort.cases] == [case.id for case in without.cohort.cases]
    assert with_card.cohort.layout == EXPORTERS[format].layout
    assert [(p.case, p.reason) for p in with_card.problems] == [(p.case, p.reason) for p in without.problems]


def first_point(card: str) -> str:
    """The first item of a card's first list."""
    return " ".join(next(line for line in card.split("\n") if line.startswith("- ")).split())


def test_a_card_opens_with_what_may_not_be_shared():
    """Of slices that are composed from patients, and of those made from noise."""
    assert first_point(cohort_card(MANIFEST)).startswith("- **May repeat patients: audit before you share.**")
    composed = {**MANIFEST, "generator": {**MANIFEST["generator"], "content": {"patients": 33, "phantoms": 33}}}
    card = cohort_card(composed)
    assert first_point(card).startswith("- **Shows parts of patients: share only what you may share of their scans.**")
    assert "lesions of 2 training patients" in " ".join(card.split())
    for text in (card, cohort_card(MANIFEST)):
        assert not re.search(r"shows? no patient", text, re.IGNORECASE)


def test_an_audit_without_copies_is_no_promise():
    clean = {**AUDIT, "gates": [{"name": "copies", "passed": True, "reason": "few"}]}
    assert "Copies that are not searched for may be among them." in cohort_card(MANIFEST, clean)
    silent = {**AUDIT, "findings": []}
    assert "count as copies" not in cohort_card(MANIFEST, silent)
