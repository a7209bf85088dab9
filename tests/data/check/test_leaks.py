"""A patient is known under another name and in another form: twins of `TWINS` meet, strangers do not."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from bench.experiments.fingerprints import DISGUISES
from labelgan.core.errors import DataError, LeakError
from labelgan.core.rng import generator_for
from labelgan.data.check.fingerprint import REFUSE_AT, to_text
from labelgan.data.check.integrity import check_cohort
from labelgan.data.check.leaks import LEAST_MASK, KnownScan, find_meetings, find_twins, hash_of_mask, require_no_leak
from labelgan.data.check.seen import SeenCase, SeenCases
from labelgan.data.export.mix import export_sources
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.cohort import prepare_store
from labelgan.data.reading.read import voxel_hash
from labelgan.data.store import SliceStore
from labelgan.data.volume import Volume
from tiny import with_twin

TWINS = {
    "re-saved with auto-scaling": "re-saved with 256 levels",
    "x 1.1 + 1": "x 1.1 + 1",
    "one voxel changed": "one voxel changed",
    "bias field": "bias field of 40 %",
    "mirrored": "mirrored left to right",
    "cropped by one": "cropped by one voxel",
    "padded by one": "padded by one voxel",
    "resampled by 0.9": "resampled by 0.9",
    "noise": "noise of 10 %",
    "gamma": "gamma of 0.6",
    "turned": "turned by 90 degrees",
    "inverted": "inverted",
    "warped": "warped by 2 %",
    "lowest slices off": "lowest 15 % cut off",
}


def known(case, images=None, name=None, mask=None) -> KnownScan:
    volumes = images or {channel: case.load_image(channel) for channel in case.images}
    return KnownScan.of(name or case.id, name or case.patient, volumes, mask)


@pytest.fixture(scope="module")
def cases(phantom_cohort):
    return read_cohort(phantom_cohort).cases


@pytest.fixture(scope="module")
def patients(cases) -> list[KnownScan]:
    return [known(case, mask=case.load_mask()) for case in cases]


def twin_of(case, disguise: str) -> KnownScan:
    """Every channel in disguise, channels by other names, without a mask."""
    images = {}
    for number, channel in enumerate(case.images):
        volume = case.load_image(channel)
        data = np.ascontiguousarray(DISGUISES[disguise](volume.data, generator_for(0, disguise)), dtype=np.float32)
        images[f"image {number}"] = Volume(data, volume.affine)
    return known(case, images, "Q")


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_met_and_by_what_travels_with_a_generator(name, cases, patients):
    twin = twin_of(cases[0], TWINS[name])
    assert not set(twin.hashes.values()) & set(patients[0].hashes.values())
    (meeting,) = find_meetings(patients, [twin])
    assert (meeting.first, meeting.second) == (0, 0)
    assert "bits of its fingerprint" in meeting.words
    named = dataclasses.replace(twin, prints=dict(zip(cases[0].images, twin.prints.values(), strict=True)))
    (twins,) = find_twins([*patients, named])
    assert (twins.first, twins.second, twins.refused) == (0, 3, True)
    travelled = {channel: to_text(prints) for channel, prints in twin.prints.items()}
    seen = SeenCases((), (SeenCase(hashes=dict(twin.hashes), fingerprints=travelled),))
    with pytest.raises(LeakError, match=r"made from the held-out case P001 \(\d+% of the bits"):
        require_no_leak(cases[0].images["T1"].path, seen, patients[:1], patients)
    require_no_leak(cases[0].images["T1"].path, seen, patients[1:], patients)


def test_a_mask_is_known_under_another_image(cases, patients):
    other = {"FLAIR": Volume(cases[1].load_image("FLAIR").data * 3 + 7, np.eye(4))}
    twin = known(cases[1], other, "Q", cases[0].load_mask())
    (twins,) = find_twins([patients[0], patients[2], twin])
    assert (twins.first, twins.second, twins.certain) == (0, 2, True)
    assert "the mask is that of P001" in twins.words
    assert [(m.first, m.words) for m in find_meetings([patients[0]], [twin])] == [(0, "the same mask as Q")]


@pytest.mark.parametrize("voxels", [0, LEAST_MASK - 1, LEAST_MASK])
def test_a_mask_of_few_voxels_is_nobodys(voxels):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask.flat[:voxels] = 1
    mask.flat[-20:] = 2  # other pathology is no lesion
    assert (hash_of_mask(Volume(mask, np.eye(4))) is not None) == (voxels == LEAST_MASK)
    assert hash_of_mask(None) is None


def test_strangers_and_sessions_of_one_patient_are_no_twins(patients):
    assert find_twins(patients) == []
    assert find_meetings(patients[:1], patients[1:]) == []
    session = dataclasses.replace(patients[0], id="P001-2")
    assert find_twins([patients[0], session]) == []


def test_scans_without_prints_are_compared_by_hashes_alone(patients):
    bare = [dataclasses.replace(scan, prints={}, mask_hash=None) for scan in patients]
    assert len(find_meetings(bare, patients)) == 3
    assert find_meetings([dataclasses.replace(bare[0], hashes={"T1": "sha256:0"})], patients) == []


@pytest.fixture(scope="module")
def twins(phantom_cohort, tmp_path_factory):
    return with_twin(phantom_cohort, tmp_path_factory.mktemp("twins") / "cohort")


@pytest.fixture(scope="module")
def warned_store(twins, tmp_path_factory):
    """A store with twins, and the warnings of its preparation."""
    from labelgan.config.base import PrepareConfig

    warnings: list[str] = []
    config = PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0})
    return prepare_store(twins, tmp_path_factory.mktemp("twins") / "store", config, warn=warnings.append), warnings


SAID = "patients P001 and P009 may be one person"


def test_check_warns_of_twins(twins, phantom_cohort):
    report = check_cohort(twins)
    found = [problem for problem in report.problems if SAID in problem.reason]
    assert [(problem.case, problem.severity) for problem in found] == [("P009", "warning")]
    assert report.ok
    assert check_cohort(phantom_cohort).problems == ()


def test_prepare_warns_of_twins_and_no_fold_may_part_them(warned_store):
    store, warnings = warned_store
    assert [SAID in line for line in warnings] == [True]
    for name, other in (("P001", "P009"), ("P009", "P001")):
        with pytest.raises(LeakError, match=rf"case {other} is the held-out case {name} \(\d+% of the bits"):
            store.hold_out([name])
    assert [case.id for case in store.hold_out(["P001", "P009"])] == ["P001", "P009"]
    assert [case.id for case in store.hold_out(["P002"])] == ["P002"]
    assert [SAID in line for line in store.guard_notes(["P002"])] == [True]


def test_two_people_who_are_taken_for_one_can_be_told_apart(twins, tmp_path):
    from labelgan.config.base import PrepareConfig

    warnings: list[str] = []
    config = PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0, "fingerprints": False})
    store = prepare_store(twins, tmp_path / "store", config, warn=warnings.append)
    assert (warnings, store.prints) == ([], None)
    assert [case.id for case in SliceStore.open(store.path).hold_out(["P001"])] == ["P001"]


def test_a_store_keeps_the_prints_of_its_cases(warned_store, twins):
    store = SliceStore.open(warned_store[0].path)
    scans = store.known(store.cases)
    for scan, case in zip(scans, read_cohort(twins).cases, strict=True):
        again = known(case, mask=case.load_mask())
        assert scan.mask_hash == again.mask_hash
        assert scan.prints.keys() == again.prints.keys() == {"FLAIR", "T1"}
        assert all(np.array_equal(scan.prints[name], again.prints[name]) for name in scan.prints)
    told = store.identity(store.cases[0], 3)
    assert told["slices"] == 3
    assert SeenCase.model_validate(told).prints.keys() == {"FLAIR", "T1"}


def test_a_session_holds_out_its_whole_patient_and_says_so(phantom_store):
    cases = tuple(
        case.model_copy(update={"patient": "one"}) if case.id != "P001" else case for case in phantom_store.cases
    )
    manifest = phantom_store.manifest.model_copy(update={"cases": cases})
    store = dataclasses.replace(phantom_store, manifest=manifest)
    assert store.guard_notes(["P002"]) == ["--exclude P002 leaves out patient one whole: P002, P003"]
    for names in (["one"], ["P002", "P003"], ["P001"], []):
        assert store.guard_notes(names) == []


def test_a_slice_that_the_manifest_does_not_list_is_refused(tiny_samples, tmp_path):
    root = tmp_path / "samples"
    shutil.copytree(tiny_samples, root)
    path = next(root.rglob("*.npz"))
    for name in ("syn999999", path.stem.replace("syn", "syn_")):  # the latter is one name with the sample's in BIDS
        strange = shutil.copy(path, path.with_name(f"{name}.npz"))
        with pytest.raises(DataError, match=rf"manifest\.json: does not list .*{name}.*, which is no sample"):
            read_cohort(root)
        strange.unlink()


def test_prints_at_the_limit_are_refused(patients):
    """The share that is stated is the one that counts."""
    prints = np.unpackbits(patients[0].prints["T1"], axis=-1)
    for share, meets in ((REFUSE_AT + 0.03, True), (REFUSE_AT - 0.08, False)):
        flipped = prints.copy()
        flip = generator_for(0, "flip").permutation(512)[: round(512 * (1 - share))]
        flipped[..., flip] ^= 1
        twin = KnownScan("Q", "Q", {}, None, {"T1": np.packbits(flipped, axis=-1)})
        assert bool(find_meetings(patients[:1], [twin])) == meets


def test_what_is_written_for_the_guard_is_json(warned_store):
    store, _ = warned_store
    assert json.loads(json.dumps([store.identity(case) for case in store.cases]))[0]["mask_hash"].startswith("sha256:")


def test_folds_of_an_export_do_not_part_twins(twins, tmp_path):
    with pytest.raises(LeakError, match=r"^P009: of patient P009 may be case P001 of patient P001 .*--exclude one"):
        export_sources([twins], tmp_path / "out", "nnunet", folds=2)
    assert len(export_sources([twins], tmp_path / "out", "nnunet", folds=2, exclude=["P009"]).folds) == 2
    assert export_sources([twins], tmp_path / "all", "bids").real == 4


def test_every_channel_is_known_by_its_own_voxels():
    rng = generator_for(0, "channels")
    volumes = {name: Volume(rng.random((6, 6, 4), np.float32), np.eye(4)) for name in ("FLAIR", "T1", "T2")}
    scan = KnownScan.of("c", "p", volumes, None, prints=False)
    assert scan.hashes == {name: voxel_hash(volume) for name, volume in volumes.items()}
    for name, volume in volumes.items():  # one channel in common is enough
        other = KnownScan.of("d", "q", {name: volume}, None, prints=False)
        assert [meeting.words for meeting in find_meetings([scan], [other])] == ["the same voxels as d"]
