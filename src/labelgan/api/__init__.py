"""The verbs of the command line as functions."""

from labelgan.api.base import (
    PHANTOM_GENERATOR,
    check,
    export,
    overlays,
    phantom,
    phantom_generator,
    prepare,
    sample,
    score,
    train,
    training_config,
)

__all__ = [
    "PHANTOM_GENERATOR",
    "check",
    "export",
    "overlays",
    "phantom",
    "phantom_generator",
    "prepare",
    "sample",
    "score",
    "train",
    "training_config",
]
