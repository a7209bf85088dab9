"""Labelled slices as a cohort on disk: one module a format."""

from labelgan.data.export.records import LabelledVolume
from labelgan.data.export.write import EXPORTERS, FORMATS, export_cohort, write_cases

__all__ = ["EXPORTERS", "FORMATS", "LabelledVolume", "export_cohort", "write_cases"]
