"""Settings of engines."""

from __future__ import annotations

import pytest

from labelgan.config_engine import EngineConfig
from labelgan.core.errors import ConfigError


def test_defaults_leave_the_size_to_the_machine():
    config = EngineConfig()
    assert (config.workers, config.threads, config.gpus, config.address) == (None, None, None, None)
    assert config.cluster == "slurm"


@pytest.mark.parametrize("setting", ["workers=0", "threads=0", "gpus=-1", "cluster=pbs", "poll_s=0", "nodes=3"])
def test_what_makes_no_sense_is_refused_by_name(setting: str):
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        EngineConfig().with_settings([setting])
