"""LabelGAN: from a few annotated scans to labelled synthetic images, and an honest verdict on whether they help.

The verbs of the command line are functions here: `check`, `phantom`, `prepare`, `train`, `sample`,
`segment_train`, `segment_predict`, `segment_import_li`, `score`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from labelgan.api import (
        check,
        phantom,
        phantom_generator,
        prepare,
        sample,
        score,
        train,
    )
    from labelgan.api_audit import audit as run_audit
    from labelgan.api_export import export
    from labelgan.api_segment import segment_import_li, segment_predict, segment_train
    from labelgan.api_study import build_report
    from labelgan.api_study import study as run_study
    from labelgan.data.case import Case, Cohort
    from labelgan.data.layouts import read_cohort
    from labelgan.data.store import SliceStore
    from labelgan.errors import LabelganError
    from labelgan.gan.sample import Generator
    from labelgan.mixing import MixedSlices, SyntheticPool
    from labelgan.monai_transform import RandSyntheticSliced
    from labelgan.subjects import torchio_subjects

# Loaded when first asked for: importing the package stays fast.
_PLACES = {
    "check": "labelgan.api",
    "phantom": "labelgan.api",
    "phantom_generator": "labelgan.api",
    "prepare": "labelgan.api",
    "sample": "labelgan.api",
    "score": "labelgan.api",
    "segment_import_li": "labelgan.api_segment",
    "segment_predict": "labelgan.api_segment",
    "segment_train": "labelgan.api_segment",
    "train": "labelgan.api",
    "build_report": "labelgan.api_study",
    "export": "labelgan.api_export",
    "run_audit": "labelgan.api_audit:audit",
    "run_study": "labelgan.api_study:study",
    "Case": "labelgan.data.case",
    "Cohort": "labelgan.data.case",
    "Generator": "labelgan.gan.sample",
    "LabelganError": "labelgan.errors",
    "MixedSlices": "labelgan.mixing",
    "RandSyntheticSliced": "labelgan.monai_transform",
    "SliceStore": "labelgan.data.store",
    "SyntheticPool": "labelgan.mixing",
    "read_cohort": "labelgan.data.layouts",
    "torchio_subjects": "labelgan.subjects",
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
