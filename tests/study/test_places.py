from __future__ import annotations

import stat

from labelgan.study.places import PLACES, Places


def test_places_round_trip(tmp_path):
    places = Places(tmp_path / "data", start_from=tmp_path / "run", device="cpu")
    places.write(tmp_path)
    assert Places.of(tmp_path / "jobs" / "key") == places
    assert places.cohort("test") == places.data


def test_places_are_for_the_owner_alone(tmp_path):
    Places(tmp_path / "scans").write(tmp_path)
    assert stat.S_IMODE((tmp_path / PLACES).stat().st_mode) == 0o600
