"""Synthetic slices for a training: read from a cohort, and refused where they come from held-out patients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.errors import LeakError
from labelgan.core.files import sha256_file
from labelgan.core.progress import Report
from labelgan.data.check.leaks import find_meetings, require_no_leak
from labelgan.data.curation import read_curation
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.manifests import MANIFEST, SeenCases
from labelgan.data.slices import Slices
from labelgan.data.store import SliceStore, StoredCase
from labelgan.data.synthetic_slices import read_labelled_slices


@dataclass(frozen=True)
class SyntheticCohort:
    """Synthetic slices of a training, with the cases that their generator has seen and facts for a manifest."""

    slices: Slices
    seen: SeenCases | None
    facts: dict[str, Any]


def read_synthetic(
    root: Path,
    store: SliceStore,
    held_out: Iterable[StoredCase],
    progress: Report | None = None,
) -> SyntheticCohort:
    """Reads a labelled cohort as slices on the store's grid and scale.

    Slices that ``labelgan sample`` wrote are turned back into the generator's z-scores by the intensities in their
    manifest; any other labelled cohort is prepared as the store was. Samples that somebody rejected are left out; see
    `data.curation`.

    Args:
        root: folder of the cohort.
        store: the store that the slices will be mixed with.
        held_out: the cases that the training must know nothing of.
        progress: called as (cases done, cases, case id).

    Raises:
        LeakError: the generator has seen a held-out case or patient, a slice is one of theirs, or with cases held out
            the manifest does not tell what the generator has seen.
        DataError: the cohort cannot be read or has other channels; a case has no mask; its curation is damaged, or of
            samples that have changed since.
    """
    known = store.known(held_out)
    cohort = read_cohort(root)
    seen = cohort.manifest.seen
    require_no_leak(root, seen, known, store.known(store.cases))
    curation = read_curation(root)
    cases = curation.keep(root, cohort.cases)
    images, masks = [], []
    for read in read_labelled_slices(cohort, cases, store, progress):
        for meeting in find_meetings((read.known,), known)[:1]:
            raise LeakError(root, f"case {read.case.id} has {meeting.words}, which is held out")
        images.append(read.slices.images_NCHW.astype(np.float16))
        masks.append(read.slices.masks_NHW)
    slices = Slices(np.concatenate(images), np.concatenate(masks))
    generator = cohort.manifest.content.get("generator")
    facts: dict[str, Any] = {"name": root.resolve().name, "cases": len(cases), "slices": len(slices)}
    if curation.digest() is not None:
        facts["curation"] = curation.facts(cohort.cases)
    if isinstance(generator, dict):
        facts |= {key: generator[key] for key in ("model", "sha256", "excluded") if key in generator}
        keys = ("training_cases", "inherited_cases")
        facts |= {key: [] if seen is None else list(generator.get(key) or []) for key in keys}
    if (root / MANIFEST).is_file():
        facts["manifest_sha256"] = sha256_file(root / MANIFEST)
    return SyntheticCohort(slices, seen, facts)
