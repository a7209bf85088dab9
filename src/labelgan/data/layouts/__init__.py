"""Folder layouts that are read: one module a layout, detected by looking at the folder."""

from labelgan.data.layouts.detect import LAYOUTS, Layout, detect_layout, read_cohort

__all__ = ["LAYOUTS", "Layout", "detect_layout", "read_cohort"]
