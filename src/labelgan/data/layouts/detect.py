"""Folder layouts, found by looking: one place to add another (a module with detect and read, and a line in LAYOUTS)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labelgan.core.errors import DataError, LeakError
from labelgan.core.files import bids_label
from labelgan.core.words import some
from labelgan.data.case import Cohort
from labelgan.data.layouts import bids as layouts_bids
from labelgan.data.layouts import nnunet as layouts_nnunet
from labelgan.data.layouts import pairs as layouts_pairs
from labelgan.data.layouts import wmh as layouts_wmh
from labelgan.data.manifests import MANIFEST, NO_MANIFEST, CohortManifest, read_manifest
from labelgan.data.pseudonyms import hide_root, pseudonymised


@dataclass(frozen=True)
class Layout:
    """One way to arrange a cohort in folders.

    Attributes:
        name: as in ``LAYOUTS`` and in the output of ``labelgan check``.
        description: one line, shown when nothing is recognised.
        detect: gives one line of evidence that a folder has this layout, or None.
        read: gives the cohort, its cases holding paths only.
    """

    name: str
    description: str
    detect: Callable[[Path], str | None]
    read: Callable[[Path], Cohort]


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("wmh", "SITE/ID/{pre,orig}/{FLAIR,T1}.nii.gz with wmh.nii.gz", layouts_wmh.detect, layouts_wmh.read),
        Layout("bids", "sub-*/[ses-*/]anat/*_{FLAIR,T1w}.nii.gz", layouts_bids.detect, layouts_bids.read),
        Layout("nnunet", "dataset.json with imagesTr/", layouts_nnunet.detect, layouts_nnunet.read),
        Layout("pairs", "images/ and masks/ with matching names", layouts_pairs.detect, layouts_pairs.read),
    )
}


def detect_layout(root: Path) -> tuple[str, str]:
    """Finds the layout of a folder by looking, in the order of ``LAYOUTS``.

    Returns:
        The layout's name, and one line of evidence.

    Raises:
        DataError: the folder is missing, is none, or nothing in it is recognised.
    """
    root = _folder(root)
    for layout in LAYOUTS.values():
        evidence = layout.detect(root)
        if evidence is not None:
            return layout.name, evidence
    looked_for = "; ".join(f"{layout.name}: {layout.description}" for layout in LAYOUTS.values())
    raise DataError(
        root, f"no layout recognised; looked for {looked_for}. `labelgan phantom EXAMPLE` writes one to compare"
    )


def read_cohort(root: Path, layout: str | None = None) -> Cohort:
    """Reads the cases under a folder: paths only, no voxels. Inside `pseudonyms.using`, ids are pseudonyms.

    Args:
        root: the cohort's folder.
        layout: a name in ``LAYOUTS``, or None to find it by looking.

    Raises:
        DataError: the folder is missing or holds no cohort, the layout's name is unknown, or its manifest names a
            patient by what is no id.

    Example:
        >>> read_cohort(Path("cohort")).patients  # doctest: +SKIP
        ('patient-001', 'patient-002')
    """
    root = _folder(root)
    hide_root(root)
    if layout is None:
        layout, _ = detect_layout(root)
    if layout not in LAYOUTS:
        raise DataError(root, f"unknown layout '{layout}': choose from {', '.join(LAYOUTS)}")
    cohort = LAYOUTS[layout].read(root)
    if not cohort.cases:
        raise DataError(root, f"no case in the {layout} layout ({LAYOUTS[layout].description})")
    # one that names channels has been read with them
    manifest = read_manifest(root, CohortManifest) if cohort.manifest is NO_MANIFEST else cohort.manifest
    owners = {entry.id: entry.patient for entry in manifest.cases if entry.id is not None and entry.patient is not None}
    # By labels, since BIDS has no room for the rest of an id.
    made = {bids_label(str(entry.id)) for entry in manifest.cases if entry.synthetic}
    cases = tuple(
        dataclasses.replace(
            case,
            patient=owners.get(case.id, owners.get(case.patient, case.patient)),
            synthetic=bids_label(case.id) in made,
        )
        for case in cohort.cases
    )
    cohort = dataclasses.replace(cohort, cases=cases, manifest=manifest)
    if manifest.is_synthetic:
        _require_listed(cohort)
    return pseudonymised(cohort)


def _require_listed(cohort: Cohort) -> None:
    """Raises DataError where a synthetic cohort holds a slice that its manifest does not list.

    It may be anybody's: no guard compares it, and no pseudonym hides it.
    """
    path = cohort.root / MANIFEST
    if cohort.manifest.samples is None:
        raise DataError(
            path, "calls this a cohort of `labelgan sample`, and lists no samples: it is damaged, or not its"
        )
    labels = Counter(bids_label(case.id) for case in cohort.cases)
    listed = cohort.manifest.sample_hashes
    if strange := [c.id for c in cohort.cases if (label := bids_label(c.id)) not in listed or labels[label] > 1]:
        raise DataError(
            path, f"does not list {some(strange, 3)}, which is no sample of its generator then: take it out"
        )


Cohort.reader = staticmethod(read_cohort)


def require_unmixed(cohort: Cohort) -> None:
    """Raises LeakError where scans and synthetic slices lie together: the slices would count as patients."""
    if cohort.manifest.holds_both:
        raise LeakError(
            cohort.root,
            "holds scans and synthetic slices together, an export for other tools; give the cohorts it was made from",
        )


def _folder(root: Path) -> Path:
    root = Path(root)
    try:
        if root.is_dir():
            return root
        reason = "is a file: give the folder of a cohort" if root.exists() else "no such folder"
    except (OSError, ValueError, RuntimeError) as error:
        reason = f"cannot be opened: {error}"
    raise DataError(root, reason)
