"""Cohorts that are known but lie nowhere, for tests of folds and plans."""

from __future__ import annotations

from pathlib import Path

from labelgan.study.cohort import KnownCase, KnownCohort


def cohort_of(
    loads: dict[str, float], sites: dict[str, str] | None = None, cases: int = 1, digest: str = "0"
) -> KnownCohort:
    """Patients with lesion loads in mL, some sites, so many cases each, and files of a hash."""
    known = [
        KnownCase(
            id=f"{patient}-{number}",
            patient=patient,
            site=(sites or {}).get(patient),
            stamp=(),
            files={f"{patient}-{number}.nii": digest},
            hashes={"FLAIR": f"{patient}-{number}"},
            lesion_ml=load,
            voxels=1,
        )
        for patient, load in loads.items()
        for number in range(cases)
    ]
    return KnownCohort(Path("cohort"), tuple(known))


def patients(count: int) -> dict[str, float]:
    """P000, P001, ... and their lesion loads."""
    return {f"P{i:03d}": float(i * i % 17) for i in range(count)}
