"""LabelGAN: from a few annotated scans to labelled synthetic images, and an honest verdict on whether they help.

The verbs of the command line are functions here: `check`, `phantom`, `prepare`, `train`, `sample`,
`segment_train`, `segment_predict`, `segment_import_li`, `score`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labelgan.core.version import __version__

if TYPE_CHECKING:
    from labelgan.api.audit import audit as run_audit
    from labelgan.api.base import (
        check,
        export,
        phantom,
        phantom_generator,
        prepare,
        sample,
        score,
        train,
    )
    from labelgan.api.segment import segment_import_li, segment_predict, segment_train
    from labelgan.api.study import build_report
    from labelgan.api.study import study as run_study
    from labelgan.core.errors import LabelganError
    from labelgan.data.case import Case
    from labelgan.data.layouts import Cohort, read_cohort
    from labelgan.data.store import SliceStore
    from labelgan.gan.sample import Generator
    from labelgan.integrations.mixing import MixedSlices, SyntheticPool
    from labelgan.integrations.monai import RandSyntheticSliced
    from labelgan.integrations.torchio import torchio_subjects

# Loaded when first asked for: importing the package stays fast.
_PLACES = {
    "check": "labelgan.api",
    "phantom": "labelgan.api",
    "phantom_generator": "labelgan.api",
    "prepare": "labelgan.api",
    "sample": "labelgan.api",
    "score": "labelgan.api",
    "segment_import_li": "labelgan.api.segment",
    "segment_predict": "labelgan.api.segment",
    "segment_train": "labelgan.api.segment",
    "train": "labelgan.api",
    "build_report": "labelgan.api.study",
    "export": "labelgan.api",
    "run_audit": "labelgan.api.audit:audit",
    "run_study": "labelgan.api.study:study",
    "Case": "labelgan.data.case",
    "Cohort": "labelgan.data.layouts",
    "Generator": "labelgan.gan.sample",
    "LabelganError": "labelgan.core.errors",
    "MixedSlices": "labelgan.integrations.mixing",
    "RandSyntheticSliced": "labelgan.integrations.monai",
    "SliceStore": "labelgan.data.store",
    "SyntheticPool": "labelgan.integrations.mixing",
    "read_cohort": "labelgan.data.layouts.detect",
    "torchio_subjects": "labelgan.integrations.torchio",
}

__all__ = [
    "Case",
    "Cohort",
    "Generator",
    "LabelganError",
    "MixedSlices",
    "RandSyntheticSliced",
    "SliceStore",
    "SyntheticPool",
    "__version__",
    "build_report",
    "check",
    "export",
    "phantom",
    "phantom_generator",
    "prepare",
    "read_cohort",
    "run_audit",
    "run_study",
    "sample",
    "score",
    "segment_import_li",
    "segment_predict",
    "segment_train",
    "torchio_subjects",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        module, _, function = _PLACES[name].partition(":")
        return getattr(import_module(module), function or name)
    raise AttributeError(f"module 'labelgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
