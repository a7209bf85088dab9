"""The page of an audit, made from the folder that it left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgan.core.errors import DataError
from labelgan.core.files import read_json
from labelgan.core.words import counted
from labelgan.report.html import Picture, write_page

GROUPS = {
    "image": "Images",
    "mask": "Masks",
    "pair": "Images and masks together",
    "diversity": "Diversity",
    "label": "Labels",
    "copies": "Copies of patients",
    "membership": "Membership inference",
}
"""Titles of the groups that findings fall into by the first part of their names; others keep that part."""

SPACES = {"whole": "the whole slice", "parts": "its likest parts", "encoder": "the encoder"}
"""Spaces in which two slices are compared, by name."""

ROUNDING = 1e-12  # what sums leave of a zero

WORDS = {True: "passed", False: "failed", None: "not judged"}
MARKS = {"lower": "↓", "higher": "↑", "near": "≈"}


@dataclass(frozen=True)
class Row:
    """One finding as a row: numbers as text, and where the value stands on the bar, in percent from the bad anchor."""

    title: str
    unit: str
    mark: str
    value: str
    good: str
    bad: str
    place: float | None
    note: str


@dataclass(frozen=True)
class PairPicture:
    """A sample beside the training slice that it is closest to."""

    picture: Picture
    words: str


def write_audit_page(folder: Path) -> Path:
    """Writes ``folder/audit.html`` from ``audit.json`` and the pictures beside it.

    Raises:
        DataError: there is no audit in the folder.
    """
    told = read_json(folder / "audit.json")
    if not isinstance(told, dict) or told.get("kind") != "audit":
        raise DataError(folder / "audit.json", "is not an audit's")
    copies = next((f["extra"] for f in told["findings"] if f["name"] == "copies.share"), {})
    groups: dict[str, list[Row]] = {}
    for finding in told["findings"]:
        key = str(finding["name"]).partition(".")[0]
        groups.setdefault(GROUPS.get(key, key), []).append(row_of(finding))
    write_page(
        folder / "audit.html",
        "audit.html.j2",
        title=f"Audit of {told['samples']['name']}",
        passed=told["passed"],
        failed=[gate["name"] for gate in told["gates"] if gate["passed"] is False],
        unjudged=[gate["name"] for gate in told["gates"] if gate["passed"] is None],
        gates=[{**gate, "word": WORDS[gate["passed"]]} for gate in told["gates"]],
        panels=[*told["channels"], f"{told['channels'][0]} with the lesion's outline"],
        told=told,
        groups=groups,
        counted=lambda patients: counted(patients, "patient"),
        pictures=_pictures(folder),
        pairs=_pairs(folder, copies.get("closest", [])),
        patients=[entry["words"] for entry in copies.get("patients", [])],
    )
    return folder / "audit.html"


def row_of(finding: dict[str, Any]) -> Row:
    """Puts a finding of ``audit.json`` into words and numbers."""
    anchors, standing = finding["anchors"], finding["standing"]
    return Row(
        title=finding["title"],
        unit=finding["unit"],
        mark=MARKS[finding["better"]],
        value=shown(finding["value"]),
        good=shown(anchors["good"]),
        bad=shown(anchors["bad"]),
        place=None if standing is None else round(100 * min(max(standing, 0.0), 1.0), 1),
        note=finding["note"],
    )


def shown(value: float | None) -> str:
    """A number with three figures; a dash where there is none."""
    return "–" if value is None else f"{0.0 if abs(value) < ROUNDING else value:.3g}"


def _pictures(folder: Path) -> list[Picture]:
    words = {
        "samples": ("Samples, drawn at random", "samples with the outlines of their masks"),
        "train": ("Training slices, drawn at random", "training slices with the outlines of their masks"),
    }
    files = {name: folder / "pictures" / f"{name}.png" for name in words}
    return [Picture(path.read_bytes(), *words[name]) for name, path in files.items() if path.is_file()]


def _pairs(folder: Path, closest: list[dict[str, Any]]) -> list[PairPicture]:
    found = []
    for number, pair in enumerate(closest, start=1):
        path = folder / "pictures" / f"closest_{number:02d}.png"
        if path.is_file():
            words = f"sample {pair['sample']} beside training slice {pair['train']} of patient {pair['patient']}"
            turned = " turned left to right" if pair.get("flip") else ""
            space = SPACES.get(pair["space"], pair["space"])
            how = f"{words}{turned}: {shown(pair['closeness'])} of the limit, by {space}"
            found.append(PairPicture(Picture(path.read_bytes(), words, words), how))
    return found
