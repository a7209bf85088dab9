from __future__ import annotations

import pytest

from labelgan.config.audit import AuditConfig
from labelgan.core.errors import ConfigError


def test_settings_survive_toml(tmp_path):
    config = AuditConfig().with_settings(["gates.min_spread=0.25", "encoder.path=mine.pt", "data.one_cohort=false"])
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert AuditConfig.from_toml(tmp_path / "config.toml") == config != AuditConfig()


@pytest.mark.parametrize(
    "setting",
    ["gates.max_duplicates=1.5", "fidelity.neighbours=0", "encoder.side=20", "data.threads=auto", "gates.x=1"],
)
def test_what_makes_no_sense_is_refused(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0].split(".")[-1]):
        AuditConfig().with_settings([setting])


def test_every_setting_says_what_it_is():
    for part in AuditConfig().model_dump():
        for name, field in type(getattr(AuditConfig(), part)).model_fields.items():
            assert field.description, f"{part}.{name}"
