"""Folder layouts that are read: one module a layout, detected by looking at the folder."""

from labelgan.data.case import Cohort
from labelgan.data.layouts.detect import LAYOUTS, Layout, detect_layout, read_cohort

__all__ = ["LAYOUTS", "Cohort", "Layout", "detect_layout", "read_cohort"]
