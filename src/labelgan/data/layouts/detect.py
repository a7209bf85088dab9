"""Folder layouts, found by looking: one place to add another (a module with detect and read, and a line in LAYOUTS)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgan.core.errors import DataError, LeakError
from labelgan.core.files import is_safe_id
from labelgan.data.case import Cohort
from labelgan.data.layouts import bids as layouts_bids
from labelgan.data.layouts import nnunet as layouts_nnunet
from labelgan.data.layouts import pairs as layouts_pairs
from labelgan.data.layouts import wmh as layouts_wmh
from labelgan.data.layouts.common import bids_label, manifest_of
from labelgan.data.pseudonyms import hide_root, pseudonymised

SYNTHETIC_SLICES = "synthetic-slices"
MIXED_COHORT = "mixed-cohort"


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
    manifest = manifest_of(root)
    owners = _owners(manifest, root)
    # By labels, since BIDS has no room for the rest of an id.
    made = {bids_label(str(entry.get("id"))) for entry in _exported(manifest) if entry.get("synthetic") is True}
    cases = tuple(
        dataclasses.replace(
            case,
            patient=owners.get(case.id, owners.get(case.patient, case.patient)),
            synthetic=bids_label(case.id) in made,
        )
        for case in cohort.cases
    )
    slices_only = manifest.get("kind") == SYNTHETIC_SLICES
    return pseudonymised(dataclasses.replace(cohort, cases=cases, slices_only=slices_only))


def _exported(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `labelgan export` wrote down of each case."""
    listed = manifest.get("cases")
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _owners(manifest: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Case id to patient, as `labelgan export` wrote it down: formats without sessions would make two of one."""
    pairs = [(entry.get("id"), entry.get("patient")) for entry in _exported(manifest)]
    owners = {name: patient for name, patient in pairs if isinstance(name, str) and isinstance(patient, str)}
    if unsafe := [patient for patient in owners.values() if not is_safe_id(patient)]:
        raise DataError(
            root / "manifest.json",
            f"unsafe patient {unsafe[0][:70]!r}: use 1 to 64 letters, digits, dots, dashes, underscores",
        )
    return owners


Cohort.reader = staticmethod(read_cohort)


def require_unmixed(root: Path) -> None:
    """Raises LeakError where scans and synthetic slices lie together: the slices would count as patients."""
    if manifest_of(root).get("kind") == MIXED_COHORT:
        raise LeakError(
            root,
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
