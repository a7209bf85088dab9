"""Distances between the distributions of samples and of real slices, and the diversity of samples."""
