"""Errors, files, random streams, provenance, progress and interrupts: what everything else stands on."""
