"""A power cut, by what must have reached the disk: watches fsync and rename, and asks what a disk would still hold.

A disk keeps a file's bytes when the file was synced after its last change, and a name when the folder that holds it was
synced after it was given. A name must be given only to bytes that are kept already: the other order leaves an empty
file under a good name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

# Nobody trusts these later: figures and logs along the way, locks, and what is written again at the next start.
ALONG_THE_WAY = frozenset({"metrics.csv", "tensorboard", "log.txt", ".lock", ".job", "job.json", ".job.json.tmp"})


@dataclass
class Disk:
    """What was synced: size and time of files, names in folders, by inode; and what was renamed too early."""

    files: dict[int, tuple[int, int]] = field(default_factory=dict)
    folders: dict[int, set[tuple[str, int]]] = field(default_factory=dict)
    too_early: list[str] = field(default_factory=list)
    renamed: int = 0

    def sync(self, descriptor: int) -> None:
        """Takes note of an fsync."""
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            self.folders[facts.st_ino] = {(entry.name, entry.inode()) for entry in os.scandir(descriptor)}
        else:
            self.files[facts.st_ino] = facts.st_size, facts.st_mtime_ns

    def rename(self, source: Path) -> None:
        """Takes note of a rename that is about to happen."""
        if source.name not in ALONG_THE_WAY:
            self.renamed += 1
            self.too_early += self._lost_inside(source, ALONG_THE_WAY)

    def lost(self, folder: Path, untrusted: Collection[str] = ALONG_THE_WAY) -> list[str]:
        """What a power cut would take now of a folder, its own name included: a line each."""
        return [*self._lost_names(folder.parent, {folder.name}), *self._lost_inside(folder, untrusted)]

    def _lost_inside(self, path: Path, untrusted: Collection[str]) -> list[str]:
        facts = path.stat()
        if not path.is_dir():
            kept = self.files.get(facts.st_ino) == (facts.st_size, facts.st_mtime_ns)
            return [] if kept else [f"the bytes of {path}"]
        inside = [child for child in sorted(path.iterdir()) if child.name not in untrusted]
        lost = self._lost_names(path, {child.name for child in inside})
        return [*lost, *(line for child in inside for line in self._lost_inside(child, untrusted))]

    def _lost_names(self, folder: Path, names: set[str]) -> list[str]:
        kept = self.folders.get(folder.stat().st_ino, set())
        return [f"the name {folder / name}" for name in sorted(names) if not self._kept(folder / name, kept)]

    @staticmethod
    def _kept(path: Path, kept: set[tuple[str, int]]) -> bool:
        return (path.name, path.stat().st_ino) in kept


@contextmanager
def watched_disk() -> Iterator[Disk]:
    """Context in which this process's fsync, rename and replace are watched; they are done all the same."""
    disk = Disk()
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        disk.sync(descriptor)

    def watched(move: Callable[..., None]) -> Callable[..., None]:
        def moved(source: Any, target: Any, **more: Any) -> None:
            disk.rename(Path(source))
            move(source, target, **more)

        return moved

    with (
        mock.patch("os.fsync", sync),
        mock.patch("os.rename", watched(rename)),
        mock.patch("os.replace", watched(replace)),
    ):
        yield disk
