from __future__ import annotations

import json
import shutil

import pytest

from labelgan.data.layouts.detect import read_cohort
from labelgan.core.errors import LeakError
from labelgan.study.guard import require_unseen


def test_who_was_held_out_is_free_and_who_was_trained_on_is_not(tiny_segmenter, phantom_cohort, phantom_store):
    for case in read_cohort(phantom_cohort).cases:
        hashes = phantom_store.case(case.id).hashes
        if case.id == "P001":
            require_unseen(case, hashes, [tiny_segmenter])
        else:
            with pytest.raises(LeakError, match=rf"FLAIR.*{case.id} is to be tested on.*segmenter has.*manifest.json"):
                require_unseen(case, hashes, [tiny_segmenter])


@pytest.mark.parametrize(
    ("key", "words"), [("training_cases", "its generator has"), ("inherited_cases", "its generator's parent has")]
)
def test_the_generator_and_its_parent_count(tiny_segmenter, phantom_cohort, phantom_store, tmp_path, key, words):
    case = next(case for case in read_cohort(phantom_cohort).cases if case.id == "P001")
    folder = shutil.copytree(tiny_segmenter, tmp_path / "segmenter")
    manifest = json.loads((folder / "manifest.json").read_text())
    # One channel is enough, under whatever id.
    seen = {"id": "other", "hashes": {"T1": phantom_store.case("P001").hashes["T1"]}}
    manifest["synthetic"] = {key: [seen]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LeakError, match=f"{words} seen it as other"):
        require_unseen(case, phantom_store.case("P001").hashes, [tiny_segmenter, folder])
