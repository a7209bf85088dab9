"""Copies of patients among samples: distances to the nearest training slice, patterns, membership."""
