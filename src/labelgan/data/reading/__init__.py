"""Readers of untrusted image files: NIfTI, NumPy archives and pictures, bounded in size before they allocate."""

from labelgan.data.reading.read import read_header, read_mask, read_volume, voxel_hash

__all__ = ["read_header", "read_mask", "read_volume", "voxel_hash"]
