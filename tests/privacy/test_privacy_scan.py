from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from tests.privacy.privacy_plants import (
    DESCRIP,
    FOLDER_ABOVE,
    FOLDER_WORK,
    PATIENT,
    PLANTS,
    SESSION,
    planted_bids,
    planted_wmh,
    spoil,
)
from tests.privacy.privacy_scan import PRINTED, Scanner, control, main, names_in, table

NAME = DESCRIP.text


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)
    return stream.getvalue()


def png(kind: bytes, data: bytes) -> bytes:
    """A PNG's signature and one chunk."""
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_a_name_is_found_in_every_encoding_and_case(encoding, change):
    content = b"\x00\x01before" + change(NAME).encode(encoding) + b"after"
    assert names_in(content) == {DESCRIP}
    assert not names_in(content.replace(b"d", b"").replace(b"D", b""))


@pytest.mark.parametrize(
    "fold",
    [
        gzip.compress,
        zipped,
        lambda content: gzip.compress(zipped(content)),
        lambda content: png(b"tEXt", b"Comment\0" + content),
        lambda content: png(b"zTXt", b"Comment\0\0" + zlib.compress(content)),
        lambda content: png(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(content)),
        lambda content: b"<img src='data:image/png;base64," + base64.b64encode(png(b"tEXt", content)) + b"'>",
        lambda content: json.dumps({"picture": base64.b64encode(content * 2).decode()}).encode(),
    ],
    ids=["gzip", "zip", "zip in gzip", "tEXt", "zTXt", "iTXt", "HTML", "JSON"],
)
def test_a_name_is_found_however_it_is_folded(fold):
    assert names_in(fold(b"padding " * 9 + NAME.encode())) == {DESCRIP}
    assert not names_in(fold(b"padding " * 12))


@pytest.mark.parametrize("plant", [planted_bids, planted_wmh])
def test_what_is_planted_is_there(tmp_path: Path, plant):
    cohort = plant(tmp_path, 3, (16, 16, 8))
    found = control(cohort)
    assert found >= {plant for plant in PLANTS if plant.place.startswith("NIfTI")} | {FOLDER_ABOVE, PATIENT}
    if plant is planted_bids:
        assert found == set(PLANTS) - {FOLDER_WORK}
    before = {path: path.read_bytes() for path in cohort.rglob("*.nii.gz")}
    spoil(cohort)
    assert sum(path.read_bytes() != content for path, content in before.items()) == 3


def test_where_a_name_may_stand(tmp_path: Path):
    open_eyes, keyed = Scanner(tmp_path), Scanner(tmp_path, tmp_path / "key")
    for scanner in (open_eyes, keyed):
        assert not any(scanner.may_stand(DESCRIP, where) for where in (PRINTED, "a.json", "study/places.json"))
        assert scanner.may_stand(FOLDER_ABOVE, "study/places.json")
        assert not scanner.may_stand(FOLDER_ABOVE, "study/study.json")
        assert not scanner.may_stand(SESSION, "study/places.json")
        assert scanner.may_stand(FOLDER_WORK, PRINTED)
    assert open_eyes.may_stand(PATIENT, "store/manifest.json")
    assert not keyed.may_stand(PATIENT, "store/manifest.json")
    assert open_eyes.may_stand(FOLDER_ABOVE, PRINTED)
    assert not keyed.may_stand(FOLDER_ABOVE, PRINTED)


def test_only_what_is_new_is_scanned_names_of_files_too_and_told(tmp_path: Path):
    scanner = Scanner(tmp_path)
    (tmp_path / "a.txt").write_text(NAME)
    scanner.scan("first")
    (tmp_path / f"{FOLDER_ABOVE.text}.txt").touch()
    scanner.scan("second")
    assert {stage.name: stage.files for stage in scanner.stages.values()} == {"first": 1, "second": 1}
    assert scanner.unwanted() == [
        ("first", "a.txt", DESCRIP.place),
        ("second", f"{FOLDER_ABOVE.text}.txt", FOLDER_ABOVE.place),
    ]
    assert f"| {DESCRIP.place} | **1** | 0 |" in table([scanner])


def test_a_command_that_ends_otherwise_than_expected_stops_the_scan(tmp_path: Path):
    with pytest.raises(RuntimeError, match="ended with 2"):
        Scanner(tmp_path).run("check", "check", tmp_path / "nothing")


@pytest.mark.drill
def test_no_planted_name_gets_out_of_any_command(tmp_path: Path) -> None:
    assert main(["--work", str(tmp_path)]) == 0
