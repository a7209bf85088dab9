from __future__ import annotations

import json
import shutil

import pytest

from labelgan.core.errors import DataError
from labelgan.data.curation import CURATION
from labelgan.data.layouts.detect import read_cohort
from labelgan.studio.images import lesion_areas
from labelgan.studio.index import Query
from labelgan.studio.session import Session


def ids(session, **query):
    return [(entry.case.id, entry.z) for entry in session.index.select(Query(**query))]


def source_of(session, kind):
    return next(source for source in session.index.sources.values() if source.kind == kind)


def test_every_slice_is_there(session, phantom_store):
    assert len(ids(session, origin="synthetic")) == 6
    assert len(ids(session, sources=frozenset({source_of(session, "store").key}))) == len(phantom_store)
    assert len(ids(session, sources=frozenset({source_of(session, "cohort").key}))) == 3 * 12
    assert session.index.complete.is_set()


def test_loads_are_those_of_the_masks(session, phantom_cohort, tiny_samples):
    for case in read_cohort(phantom_cohort).cases:
        (entry,) = [e for e in session.index.cases.values() if e.id == case.id and e.source.kind == "cohort"]
        assert [session.index.slices[key].load for key in entry.slices] == lesion_areas(case)
    for case in read_cohort(tiny_samples).cases:
        (entry,) = [e for e in session.index.cases.values() if e.id == case.id]
        assert session.index.slices[entry.slices[0]].load == pytest.approx(lesion_areas(case)[0])


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ({"lesion": "with"}, lambda e: e.load > 0),
        ({"lesion": "without"}, lambda e: e.load == 0),
        ({"least": 50.0, "most": 200.0}, lambda e: 50 <= e.load <= 200),
        ({"sites": frozenset({"Alpha"})}, lambda e: e.case.site == "Alpha"),
        ({"origin": "real"}, lambda e: not e.case.synthetic),
    ],
)
def test_filters_keep_what_fits(session, query, fits):
    found = session.index.select(Query(**query))
    assert found == [entry for entry in session.index.select(Query()) if fits(entry)]
    assert 0 < len(found) < len(session.index.slices)


def test_orders(session):
    loads = [entry.load for entry in session.index.select(Query(order="load"))]
    assert loads == sorted(loads, reverse=True)
    shuffled = ids(session, order="shuffled")
    assert shuffled != ids(session)
    assert sorted(shuffled) == sorted(ids(session))
    kinds = [entry.case.source.kind for entry in session.index.select(Query())]
    assert list(dict.fromkeys(kinds)) == ["cohort", "store", "synthetic"]


def test_decisions_are_written_beside_the_samples_and_filter(session, samples):
    first, second, *_ = [e for e in session.index.slices.values() if e.case.synthetic]
    session.index.decide(first, "reject")
    session.index.decide(second, "accept")
    written = json.loads((samples / CURATION).read_text())["samples"]
    assert {name: entry["decision"] for name, entry in written.items()} == {
        first.case.id: "reject",
        second.case.id: "accept",
    }
    assert ids(session, decision="reject") == [(first.case.id, 0)]
    assert ids(session, decision="accept") == [(second.case.id, 0)]
    assert len(ids(session, decision="undecided")) == 4
    session.index.decide(first, None)
    assert list(json.loads((samples / CURATION).read_text())["samples"]) == [second.case.id]


def test_what_another_window_decided_is_kept(session, samples, phantom_store):
    first, second, *_ = [e for e in session.index.slices.values() if e.case.synthetic]
    other = Session([samples])
    other.fill()
    other.index.decide(next(iter(other.index.slices.values())), "reject")
    session.index.decide(second, "reject")
    assert set(json.loads((samples / CURATION).read_text())["samples"]) == {first.case.id, second.case.id}
    again = Session([samples])
    again.fill()
    assert len(again.index.select(Query(decision="reject"))) == 2


def test_only_synthetic_samples_are_judged(session, scan, sample):
    with pytest.raises(DataError, match="is not a synthetic sample"):
        session.index.decide(scan, "reject")
    with pytest.raises(DataError, match="expected accept, reject or nothing"):
        session.index.decide(sample, "perhaps")


def test_samples_of_a_study_are_sealed(tiny_study):
    session = Session([tiny_study.folder])
    session.fill()
    entry = next(e for e in session.index.slices.values() if e.case.synthetic)
    with pytest.raises(DataError, match="belongs to a study's work"):
        session.index.decide(entry, "reject")
    assert not list(tiny_study.folder.rglob(CURATION))


def test_a_read_only_folder_is_told(session, sample, samples, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("labelgan.studio.index.write_curation", refuse)
    with pytest.raises(DataError, match="cannot be written to: Permission denied"):
        session.index.decide(sample, "reject")
    assert session.index.decision(sample) is None


def test_what_cannot_be_read_becomes_a_note_and_the_rest_is_shown(phantom_cohort, samples, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(phantom_cohort, broken)
    masks = sorted(broken.rglob("wmh.nii.gz"))
    masks[0].write_bytes(b"<html>")
    masks[1].unlink()
    masks[1].symlink_to(phantom_cohort.parent / "elsewhere.nii.gz")
    (samples / CURATION).write_text("{")
    session = Session([broken, samples])
    session.fill()
    notes = "\n".join(session.index.notes)
    assert "not NIfTI" in notes
    assert "curation.json: cannot be read as JSON" in notes
    assert len({e.case.id for e in session.index.slices.values() if not e.case.synthetic}) == 1 + (
        "leads out of the folder" not in notes
    )


def test_a_scan_that_is_linked_from_elsewhere_is_not_opened(phantom_cohort, tmp_path):
    inside = tmp_path / "inside"
    shutil.copytree(phantom_cohort, inside)
    image = next(inside.rglob("T1.nii.gz"))
    image.unlink()
    image.symlink_to(next(phantom_cohort.rglob("T1.nii.gz")))
    session = Session([inside])
    session.fill()
    assert any("T1.nii.gz leads out of the folder" in note for note in session.index.notes)
    assert len(session.index.cases) == 2
