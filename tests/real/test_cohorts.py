from __future__ import annotations

import numpy as np
import pytest

from labelgan.data.check.integrity import check_cohort
from labelgan.data.layouts.detect import read_cohort
from real_data import real_cohort, real_count

pytestmark = pytest.mark.real

COHORTS = [("ms3seg-wmh", "wmh"), ("open-ms-bids", "bids"), ("Dataset501_LGG", "nnunet")]
WITH_FACES = ("ms3seg-wmh", "Dataset501_LGG")  # the third one's skulls were stripped


@pytest.mark.parametrize(("name", "layout"), COHORTS)
def test_every_case_is_complete_and_without_problem(name: str, layout: str) -> None:
    count = real_count(name)
    report = check_cohort(real_cohort(name))
    assert report.ok
    assert ["may show a face" in problem.reason for problem in report.problems] == [True] * (name in WITH_FACES)
    assert report.cohort.layout == layout
    assert report.cohort.channels == ("FLAIR", "T1")
    assert len(report.cohort.cases) == len(report.cohort.patients) == count > 0
    for case, facts in zip(report.cohort.cases, report.facts, strict=True):
        assert list(case.images) == ["FLAIR", "T1"]
        assert case.mask is not None
        assert facts.lesion_voxels
        assert set(facts.hashes) == {"FLAIR", "T1"}
    digests = [digest for hashes in report.hashes.values() for digest in hashes.values()]
    assert len(set(digests)) == 2 * count


@pytest.mark.parametrize(("name", "layout"), COHORTS)
def test_lesions_are_bright_on_flair(name: str, layout: str) -> None:
    """Channels are what they are called, and the mask lies on them: a swap or a flip would show here."""
    case = read_cohort(real_cohort(name), layout).cases[0]
    flair, mask = case.load_image("FLAIR").data, case.load_mask()
    assert mask is not None
    assert np.median(flair[mask.data == 1]) > np.median(flair[(mask.data == 0) & (flair > flair.mean())])
