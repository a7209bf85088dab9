from __future__ import annotations

import shutil

import numpy as np

from labelgan.study.engine.ledger import Ledger
from labelgan.study.pictures import WORST, study_pictures
from labelgan.study.run import StudySources, scan_cohorts


def test_pictures_of_a_finished_study(tiny_study, study_cohort, tmp_path):
    cohort, test = scan_cohorts(StudySources(study_cohort), tmp_path)
    ledger = Ledger(tiny_study.folder)
    pictures = study_pictures(tiny_study.plan, ledger, cohort, test)
    assert list(pictures.synthetic) == list(pictures.real) == ["fold-00", "fold-01"]
    for picture in (*pictures.synthetic.values(), *pictures.real.values(), *pictures.overlays):
        assert isinstance(picture.image, np.ndarray)
        assert picture.image.ndim == 3
        assert picture.image.std() > 0
    assert len(pictures.overlays) == WORST
    # The worst comes first.
    scores = [float(picture.caption.split("DSC ")[1].split(". ")[0]) for picture in pictures.overlays]
    assert scores == sorted(scores)
    assert all("classical+synthetic" in picture.caption for picture in pictures.overlays)
    assert all(path.is_file() for _, path in (*pictures.generators, *pictures.members))


def test_what_has_moved_or_is_not_done_is_left_out(tiny_study, study_cohort, tmp_path):
    cohort, test = scan_cohorts(StudySources(study_cohort), tmp_path)
    out = shutil.copytree(tiny_study.folder, tmp_path / "study")
    ledger = Ledger(out)
    (ledger.folder(tiny_study.plan.generators["fold-00"]) / "done.json").unlink()
    moved = type(cohort)(tmp_path / "gone", cohort.cases)
    pictures = study_pictures(tiny_study.plan, ledger, moved, test)
    assert list(pictures.synthetic) == ["fold-01"]
    assert pictures.overlays == []
