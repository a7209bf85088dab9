from __future__ import annotations

import json
import shutil

from labelgan.studio.grid import Grid
from labelgan.studio.real import real_cases
from labelgan.studio.session import Session


def found(session):
    source = next(s for s in session.index.sources.values() if s.kind == "synthetic")
    return real_cases(session.index, source, Grid.of(source.manifest))


def test_training_cases_are_found_in_the_store_by_their_hashes(session):
    real = found(session)
    assert [case.id for case in real.training] == ["P001", "P002", "P003"]
    assert {case.source.kind for case in (*real.training, *real.beside)} == {"store"}


def test_without_a_store_they_are_found_in_the_cohort(phantom_cohort, samples):
    session = Session([phantom_cohort, samples])
    session.fill()
    real = found(session)
    assert {case.source.kind for case in real.training} == {"cohort"}
    assert len(real.training) == len(real.beside) == 3


def test_who_was_held_out_stands_beside_the_training_cases(session, samples):
    source = next(s for s in session.index.sources.values() if s.kind == "synthetic")
    seen = source.manifest["generator"]["training_cases"]
    source.manifest["generator"]["training_cases"] = [case for case in seen if case["id"] != "P002"]
    (samples / "manifest.json").write_text(json.dumps(source.manifest))
    real = found(session)
    assert [case.id for case in real.training] == ["P001", "P003"]
    assert [case.id for case in real.beside] == ["P001", "P002", "P003"]


def test_a_name_alone_makes_no_training_case(phantom_cohort, samples, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(phantom_cohort, other)
    mask = next(other.rglob("wmh.nii.gz"))
    for name in ("FLAIR", "T1"):  # names stay, voxels do not
        for image in other.rglob(f"{name}.nii.gz"):
            shutil.copy(mask, image)
    session = Session([other, samples])
    session.fill()
    real = found(session)
    assert real.training == ()
    assert len(real.beside) == 3
