from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest
from trees import bids_subject, wmh_cohort

from labelgan.cli.app import run_command
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.check.integrity import check_cohort
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.pseudonyms import keyfile, masked, masked_error, shown_path, using

NAMES = ("DoeJane", "RoeRichard")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(bytes(range(32)))
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return wmh_cohort(tmp_path / "scans", NAMES)


def pseudonym(patient: str) -> str:
    """By the definition: HMAC-SHA256 of a labelled name, twelve hex digits."""
    return "p-" + hmac.digest(bytes(range(32)), b"patient\0" + patient.encode(), hashlib.sha256).hex()[:12]


def test_ids_are_keyed_digests_in_their_own_order_and_the_same_everywhere(scans: Path, key: Path) -> None:
    with using(key):
        cohort = read_cohort(scans)
    assert [case.id for case in cohort.cases] == sorted(pseudonym(name) for name in NAMES)
    assert [case.patient for case in cohort.cases] == [case.id for case in cohort.cases]
    with using(key):
        assert read_cohort(scans) == cohort
    key.write_bytes(bytes(32))
    with using(key):
        assert not {case.id for case in read_cohort(scans).cases} & {case.id for case in cohort.cases}


def test_without_a_key_nothing_changes(scans: Path, key: Path) -> None:
    with using(None):
        assert keyfile() is None
        assert tuple(case.id for case in read_cohort(scans).cases) == NAMES
    with using(key):
        assert keyfile() == key
    assert keyfile() is None
    assert shown_path(scans) is None
    assert masked(str(scans)) == str(scans)


def test_sessions_of_a_patient_stay_together(tmp_path: Path, key: Path) -> None:
    for session in ("20190401", "20200402"):
        bids_subject(tmp_path / "bids", "JaneDoe", session)
    with using(key):
        cases = read_cohort(tmp_path / "bids").cases
    assert len({case.patient for case in cases}) == 1
    assert len({case.id for case in cases}) == 2
    for case in cases:
        assert re.fullmatch(r"p-[0-9a-f]{12}_[0-9a-f]{8}", case.id)
        assert case.id.startswith(case.patient)
        assert re.fullmatch(r"s-[0-9a-f]{12}", case.session or "")


def test_synthetic_slices_are_nobodys(scans: Path, key: Path) -> None:
    samples = [{"id": name} for name in NAMES]
    (scans / "manifest.json").write_text(json.dumps({"kind": "synthetic-slices", "samples": samples}))
    with using(key):
        assert tuple(case.id for case in read_cohort(scans).cases) == NAMES


def test_check_names_no_one(scans: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = scans / "Utrecht" / NAMES[0] / "pre/T1.nii.gz"
    broken.write_bytes(b"")
    for options in (["--json"], []):
        capsys.readouterr()
        assert run_command(["check", str(scans), *options, "--pseudonymise", str(key)]) == 1
        out, err = capsys.readouterr()
        assert not any(name in out + err for name in NAMES)
        if options:
            (problem,) = json.loads(out)["problems"]
            assert (problem["case"], problem["file"]) == (pseudonym(NAMES[0]), f"{pseudonym(NAMES[0])}/T1")


def test_duplicates_name_no_one(scans: Path, key: Path) -> None:
    (scans / "Utrecht" / NAMES[1] / "pre/T1.nii.gz").write_bytes(
        (scans / "Utrecht" / NAMES[0] / "pre/T1.nii.gz").read_bytes()
    )
    with using(key):
        told = json.dumps(check_cohort(scans).to_json())
    assert "same voxels as case p-" in told
    assert not any(name in told for name in NAMES)


def test_errors_are_masked_and_keep_their_kind(scans: Path, key: Path) -> None:
    with using(key):
        first = read_cohort(scans).cases[0]
        path = first.images["FLAIR"].path
        error = masked_error(LeakError(path, f"is {path}"))
    assert isinstance(error, LeakError)
    assert str(error) == f"{first.id}/FLAIR: is {first.id}/FLAIR"


def test_errors_of_any_kind_come_out_masked(scans: Path, key: Path) -> None:
    inside = scans / "Utrecht" / NAMES[0]
    first, second = (pseudonym(name) for name in NAMES)

    def told(error: Exception) -> Exception:
        with pytest.raises(type(error) if isinstance(error, DataError) else Exception) as caught, using(key):
            read_and_raise(error)
        return caught.value

    def read_and_raise(error: Exception) -> None:
        read_cohort(scans)
        raise error

    words = f"{inside}/notes of {NAMES[0]}_2.txt, {NAMES[1]}: {inside}/pre/T1.nii.gz; {scans}/Utrecht/other"
    assert str(told(DataError(scans, words))) == f"cohort: {first}/notes of {first}_2.txt, {second}: {first}/T1; -"
    other = told(PermissionError(13, "Permission denied", str(scans / "other")))
    assert (type(other), str(other)) == (PermissionError, "[Errno 13] Permission denied: '-'")
    harmless = ValueError("nothing to hide in 3 of dataset.json, DoeJanet")
    assert told(harmless) is harmless


def test_files_that_a_layout_does_not_take_are_not_named(tmp_path: Path, key: Path) -> None:
    bids_subject(tmp_path / "bids", "JaneDoe")
    bids_subject(tmp_path / "bids", "RichardRoe")
    anat = tmp_path / "bids" / "sub-JaneDoe" / "anat"
    (anat / "sub-JaneDoe_run-JaneAgain_FLAIR.nii.gz").write_bytes((anat / "sub-JaneDoe_FLAIR.nii.gz").read_bytes())
    with using(key):
        report = check_cohort(tmp_path / "bids").to_json()
    (told,) = report["problems"]
    assert told["reason"] == "chosen as FLAIR among several; not used: -"
    assert not any(name in json.dumps(report) for name in ("Jane", "Richard"))


def test_numbers_are_no_names(tmp_path: Path, key: Path) -> None:
    wmh_cohort(tmp_path / "scans", ("1", "20"))
    with using(key):
        read_cohort(tmp_path / "scans")
        assert masked("20 voxels of 1 case") == "20 voxels of 1 case"


@pytest.mark.parametrize(("content", "said"), [(b"short", "16 to 4096 bytes"), (bytes(5000), "16 to 4096 bytes")])
def test_a_key_of_the_wrong_size_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match=said), using(tmp_path / "key"):
        pass
    with pytest.raises(ConfigError, match="no such file; make a key"), using(tmp_path / "none"):
        pass


def test_a_collision_is_refused(scans: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelgan.data.pseudonyms._digest", lambda *_: "0" * 12)
    with using(key), pytest.raises(Exception, match="share a pseudonym"):
        read_cohort(scans)


def test_everything_else_of_a_case_stays(scans: Path, key: Path) -> None:
    before = {pseudonym(case.id): case for case in read_cohort(scans).cases}
    with using(key):
        for case in read_cohort(scans).cases:
            was = before[case.id]
            assert case == dataclasses.replace(was, id=case.id, patient=case.id)
