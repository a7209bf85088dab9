"""Finds what lies under studio's folders: cohorts, synthetic cohorts, stores, runs, audits, studies."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from labelgan.core.errors import DataError, LabelganError
from labelgan.core.files import read_json
from labelgan.data.layouts.common import listing
from labelgan.data.layouts.detect import detect_layout
from labelgan.data.manifests import STORE_FORMAT, SYNTHETIC_SLICES, manifest_content

Kind = Literal["cohort", "synthetic", "store", "run", "study", "audit"]

DEPTH = 4  # folders below a root that are looked into
MOST_FOLDERS = 5_000


class Keys:
    """Names that a page may use for things on this machine: they tell nothing, and nobody can make one."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, *parts: object) -> str:
        """The same parts give the same name, in this session alone."""
        text = "\x1f".join(str(part) for part in parts)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=12).hexdigest()


@dataclass(frozen=True, eq=False)
class Source:
    """One folder that can be looked at.

    Attributes:
        key: its name in addresses.
        kind: what it is.
        title: its path below the root, for people.
        path: where it lies.
        root: the folder that was given; nothing outside of it is opened.
        manifest: its manifest.json, where it has one.
    """

    key: str
    kind: Kind
    title: str
    path: Path
    root: Path
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def sealed(self) -> bool:
        """Whether it is a piece of a study's work, whose files are known by their job's key and must not change."""
        return (self.path.parent / "job.json").is_file()

    def has(self, path: Path) -> bool:
        """Whether a file lies inside the root, wherever links lead."""
        return lies_inside(path, self.root)


def lies_inside(path: Path, root: Path) -> bool:
    """Whether a path, all links followed, lies inside a folder; False where it cannot be told."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def find_sources(roots: Sequence[Path], keys: Keys) -> tuple[list[Source], list[str]]:
    """Looks through folders.

    Args:
        roots: the folders that were named.
        keys: gives the sources their names.

    Returns:
        The sources in the order of their paths, and what was met and not opened, in words.

    Raises:
        DataError: a root is no folder, or there is nothing to see under any of them.
    """
    notes: list[str] = []
    found: list[Source] = []
    for root in roots:
        if not root.is_dir():
            raise DataError(root, "is a file: give a folder" if root.exists() else "no such folder")
        found += _Search(root, keys, notes).walk(root, 0)
    distinct = {source.path.resolve(): source for source in reversed(found)}
    sources = [source for source in found if distinct[source.path.resolve()] is source]
    if not sources:
        raise DataError(roots[0], "holds no cohort, run, slice store, synthetic cohort, audit or study")
    return sources, notes


def kind_of(folder: Path) -> tuple[Kind | None, dict[str, Any]]:
    """Recognises a folder by the files that stages leave behind, and its manifest; None where it does not."""
    if (folder / "study.json").is_file():
        return "study", {}
    try:
        manifest = manifest_content(folder)
    except DataError:
        manifest = {}  # whoever reads the folder is told
    if manifest.get("format") == STORE_FORMAT:
        return "store", manifest
    if manifest.get("kind") == "generator":
        return "run", manifest
    if manifest.get("kind") == SYNTHETIC_SLICES:
        return "synthetic", manifest
    if (folder / "audit.json").is_file():
        return "audit", {}
    return None, manifest


class _Search:
    def __init__(self, root: Path, keys: Keys, notes: list[str]) -> None:
        self.root, self.keys, self.notes, self.left = root, keys, notes, MOST_FOLDERS
        self.met: set[Path] = set()

    def walk(self, folder: Path, depth: int) -> Iterator[Source]:
        """The sources of a folder and of those below it."""
        self.left -= 1
        if self.left < 0:
            return
        if not lies_inside(folder, self.root):
            self.notes.append(f"{self._title(folder)} leads out of {self.root.name}; it was not opened")
            return
        place = folder.resolve()
        if place in self.met:  # links may go round
            return
        self.met.add(place)
        kind, manifest = kind_of(folder)
        if kind is not None:
            yield self._source(kind, folder, manifest)
            yield from self._inside(kind, folder, depth)
            return
        try:
            children = listing(folder)[0]
        except DataError as error:
            self.notes.append(str(error))
            return
        if not self._holds_several(children) and self._is_cohort(folder):
            yield self._source("cohort", folder, manifest)
        elif depth < DEPTH:
            for child in children:
                yield from self.walk(child, depth + 1)

    def _inside(self, kind: Kind, folder: Path, depth: int) -> Iterator[Source]:
        """Finds what belongs to a run (its store) and to a study (stores, runs, samples and audits of its folds)."""
        if kind == "run" and (folder / "store" / "manifest.json").is_file():
            yield from self.walk(folder / "store", depth + 1)
        if kind != "study" or not (folder / "jobs").is_dir():
            return
        labels = {job: _job_label(job) for job in listing(folder / "jobs")[0]}
        for job, label in sorted(labels.items(), key=lambda pair: pair[1]):
            for name in ("store", "run", "cohort", "audit"):
                inner = job / name
                if not inner.is_dir() or not lies_inside(inner, self.root):
                    continue
                known, manifest = kind_of(inner)
                if known is not None:
                    yield self._source(known, inner, manifest, f"{self._title(folder)} · {label}")

    def _holds_several(self, children: Sequence[Path]) -> bool:
        """Whether a folder is a collection rather than a cohort: something in it has a kind or layout of its own."""
        for child in children[:200]:
            if kind_of(child)[0] is not None:
                return True
            layout = _layout(child)
            if layout is not None and layout != "wmh" and child.name.lower() not in ("train", "training", "test"):
                return True
        return False

    def _is_cohort(self, folder: Path) -> bool:
        return _layout(folder) is not None

    def _title(self, folder: Path) -> str:
        inside = folder.relative_to(self.root).as_posix()
        name = self.root.resolve().name or "/"
        return name if inside == "." else f"{name}/{inside}"

    def _source(self, kind: Kind, folder: Path, manifest: dict[str, Any], title: str | None = None) -> Source:
        key = self.keys.of("source", folder.resolve())
        return Source(key, kind, title or self._title(folder), folder, self.root, manifest)


def _layout(folder: Path) -> str | None:
    try:
        return detect_layout(folder)[0]
    except (LabelganError, OSError):
        return None


def _job_label(job: Path) -> str:
    try:
        content = read_json(job / "job.json")
        return f"{content['kind']}, {content['label']}"
    except (LabelganError, KeyError, TypeError):
        return job.name
