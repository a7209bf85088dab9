from __future__ import annotations

import pytest

from labelgan.api_audit import audit
from labelgan.errors import ConfigError


@pytest.mark.parametrize("more", [{}, {"held_out": "b", "exclude": ["P001"]}])
def test_held_out_patients_are_named_in_one_way(more, tmp_path):
    with pytest.raises(ConfigError, match="--held-out: give either a store"):
        audit("a", "b", tmp_path / "out", **more)


def test_an_unknown_setting_is_named(phantom_store, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown setting 'gates\.speed'"):
        audit("a", phantom_store.path, tmp_path / "out", exclude=["P001"], settings=["gates.speed=1"])
