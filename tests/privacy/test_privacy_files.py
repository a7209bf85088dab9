"""Names planted in headers, sidecars and folders reach no file: every command on a small cohort, its bytes searched."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.privacy.privacy_plants import HEADER, INSIDE, planted_bids, planted_wmh
from tests.privacy.privacy_scan import Scanner, desk, run_stages


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(bytes(range(32)))
    return path


def test_no_text_of_a_header_and_no_path_gets_into_a_file(tmp_path: Path):
    scanner = Scanner(desk(tmp_path))
    run_stages(scanner, planted_wmh(tmp_path, shape=(24, 24, 8)), study=False, everything=False)
    assert not scanner.unwanted()
    assert {plant.kind for stage in scanner.stages.values() for plant in stage.finds} >= {INSIDE}
    assert not any(plant.kind == HEADER for stage in scanner.stages.values() for plant in stage.finds)


@pytest.mark.slow
def test_under_pseudonyms_a_whole_study_names_no_one(tmp_path: Path, key: Path):
    scanner = Scanner(desk(tmp_path), key)
    run_stages(scanner, planted_bids(tmp_path, shape=(24, 24, 8)), everything=False)
    assert not scanner.unwanted()
    assert not any(plant.kind in (HEADER, INSIDE) for stage in scanner.stages.values() for plant in stage.finds)
    assert scanner.stages["study"].files > 100
    places = scanner.work / "study" / "places.json"
    assert stat.S_IMODE(places.stat().st_mode) == 0o600
