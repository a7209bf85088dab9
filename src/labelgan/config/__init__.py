"""Every setting with its default, unit and meaning: frozen models, the only place for defaults."""

from labelgan.config.base import CheckConfig, Config, PrepareConfig

__all__ = ["CheckConfig", "Config", "PrepareConfig"]
