"""Places of a study's data on this machine: the one file of a study that holds paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labelgan.core.files import read_json, write_json_atomic

PLACES = "places.json"
_OPTIONAL = ("test", "start_from", "synthetic", "pseudonymise")


@dataclass(frozen=True)
class StudySources:
    """Folders that a study reads.

    Attributes:
        data: cohort that is trained on.
        test: cohort that is tested on, where it is another.
        start_from: run folder that generators are tuned from.
        synthetic: labelled cohort that stands in for generators.
    """

    data: Path
    test: Path | None = None
    start_from: Path | None = None
    synthetic: Path | None = None


@dataclass(frozen=True)
class Places(StudySources):
    """Places of a study's data on this machine: no part of what a job makes, so no part of its key.

    Attributes:
        device: where jobs compute: auto, cpu, cuda.
        pseudonymise: key file of the pseudonyms that cases are read under; see `data.pseudonyms`.
    """

    device: str = "auto"
    pseudonymise: Path | None = None

    def write(self, study: Path) -> None:
        """Writes them beside the jobs, for the owner alone to read: no other file tells where the data lies."""
        folders = {name: getattr(self, name) for name in ("data", *_OPTIONAL)}
        texts = {name: None if path is None else str(path.resolve()) for name, path in folders.items()}
        write_json_atomic(study / PLACES, {**texts, "device": self.device}, mode=0o600)

    @classmethod
    def of(cls, job: Path) -> Places:
        """Reads those of the study that a job's folder (STUDY/jobs/KEY) belongs to."""
        content = read_json(job.parents[1] / PLACES)
        paths = {name: content.get(name) for name in _OPTIONAL}
        given = {name: None if path is None else Path(path) for name, path in paths.items()}
        return cls(data=Path(content["data"]), device=content["device"], **given)

    def without_paths(self, text: str, study: Path) -> str:
        """A text with the folders of the study and of what it reads by their own names alone."""
        folders = [study, study.resolve(), *(getattr(self, name) for name in ("data", *_OPTIONAL))]
        for folder in sorted({str(folder) for folder in folders if folder is not None}, key=len, reverse=True):
            text = text.replace(folder, Path(folder).name)
        return text

    def cohort(self, name: str) -> Path:
        """The folder of ``data`` or ``test``."""
        return self.data if name == "data" or self.test is None else self.test
