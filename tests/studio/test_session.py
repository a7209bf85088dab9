from __future__ import annotations

import pytest

from labelgan.core.errors import DataError
from labelgan.studio.session import Session


def test_the_overview_counts_what_there_is(session):
    told = session.overview()
    assert told["complete"]
    assert told["channels"] == ["FLAIR", "T1"]
    assert {s["kind"]: (s["cases"], s["slices"] > 0) for s in told["sources"]} == {
        "cohort": (3, True),
        "store": (3, True),
        "run": (0, False),
        "synthetic": (6, True),
    }
    (run,) = [s for s in told["sources"] if s["kind"] == "run"]
    assert (run["model"], run["status"]) == ("r3gan", "complete")


def test_no_path_reaches_a_page(session, sample, scan, phantom_cohort, samples):
    shown = repr([session.overview(), session.brief(sample), session.detail(scan), session.volumes()])
    for path in (phantom_cohort, samples):
        assert str(path.parent) not in shown


def test_a_slice_is_told_in_full(session, scan):
    told = session.detail(scan)
    assert (told["case"], told["z"], told["synthetic"], told["has_mask"]) == (scan.case.id, scan.z, False, True)
    assert told["size"] == [48, 48]
    assert told["neighbours"][told["z"]] == told["key"] == scan.key
    assert told["decision"] is told["decided"] is None


def test_pictures_are_drawn_once(session, scan, monkeypatch):
    one = session.picture(scan, "T1", 64, "outline")
    monkeypatch.setattr("labelgan.studio.session.draw_slice", None)
    assert session.picture(scan, "T1", 64, "outline") is one
    assert one.startswith(b"\x89PNG")


def test_an_unknown_channel_shows_the_first(session, scan):
    assert session.picture(scan, "../T1", 64, "none") == session.picture(scan, "FLAIR", 64, "none")


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "0" * 24, None, 3, ["a"]])
def test_unknown_keys_open_nothing(session, key):
    for find in (session.source, session.slice, session.case, session.live, session.report):
        with pytest.raises(DataError, match="there is no such one"):
            find(key)


def test_keys_of_one_kind_open_no_other(session, sample):
    cohort = next(s for s in session.index.sources.values() if s.kind == "cohort")
    with pytest.raises(DataError):
        session.live(cohort.key)
    with pytest.raises(DataError):
        session.slice(sample.case.key)


def test_volumes_are_the_scans_and_open_where_the_lesion_is(session):
    told = session.volumes()
    assert [one["source"] for one in told] == sorted((one["source"] for one in told), key=lambda t: t != "cohort")
    for one in told:
        case = session.case(one["key"])
        loads = [session.index.slices[key].load for key in case.slices]
        assert loads[one["fullest"]] == max(loads)
        assert one["mask"]


def test_reports_are_those_inside_the_root(tiny_study, tmp_path):
    session = Session([tiny_study.folder])
    (study,) = [s for s in session.index.sources.values() if s.kind == "study"]
    assert session.report(study.key) == (tiny_study.folder / "report.html").read_bytes()
    outside = tmp_path / "study"
    outside.mkdir()
    (outside / "study.json").write_text("{}")
    (outside / "report.html").symlink_to(tiny_study.folder / "report.html")
    session = Session([outside])
    (study,) = session.index.sources.values()
    with pytest.raises(DataError, match="has no report yet"):
        session.report(study.key)
    assert session.overview()["sources"][0]["report"] is False
