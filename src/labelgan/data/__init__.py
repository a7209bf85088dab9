"""Cohorts on disk, their check, the slice store, the phantom and the exports."""
