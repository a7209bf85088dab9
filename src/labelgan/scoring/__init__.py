"""The challenge's five metrics, for a pair of masks, for files and for folders."""

from labelgan.scoring.metrics import METRICS

__all__ = ["METRICS"]
