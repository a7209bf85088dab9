"""Names that name no one: keyed pseudonyms of patients and cases, given while a cohort is read.

A pseudonym is ``p-`` and twelve hex digits of HMAC-SHA256(key, patient): the same wherever the same key is used, and
not to be turned back, or tried out from a list of names, without it. Whoever holds the key file can do both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from labelgan.core.errors import ConfigError, DataError, LabelganError, reworded
from labelgan.data.case import Case, Cohort, Note
from labelgan.data.volume import ImageRef

SMALLEST_KEY, LARGEST_KEY = 16, 4096
_DIGITS = 12
_HIDDEN = "-"
_FILE = re.compile(r"[^\s,;:'\"`/]+\.(?:nii\.gz|nii|png|tiff?|npz|json|dcm|hdr|img)\b")
# File names that layouts and LabelGAN prescribe: they tell nothing of anyone.
_PRESCRIBED = {
    *("FLAIR.nii.gz", "T1.nii.gz", "wmh.nii.gz", "result.nii.gz", "dataset.json", "manifest.json", "audit.json"),
    *("study.json", "cohort.json", "places.json", "verdict.json", "job.json", "done.json", "failed.json"),
}


@dataclass(frozen=True)
class _Active:
    file: Path
    key: bytes
    places: dict[str, str] = field(default_factory=dict)  # a file's or folder's path to what may be said of it
    names: dict[str, str] = field(default_factory=dict)  # ids that cannot be mistaken for numbers, to pseudonyms
    roots: set[str] = field(default_factory=set)  # folders of cohorts that were read
    patterns: dict[int, re.Pattern[str]] = field(default_factory=dict)  # by the number of names, which only grows

    def any_name(self) -> re.Pattern[str]:
        """Pattern of a name that stands by itself, or among dots, dashes and underscores."""
        if len(self.names) not in self.patterns:
            longest_first = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
            self.patterns[len(self.names)] = re.compile(rf"(?<![^\W_])(?:{longest_first})(?![^\W_])")
        return self.patterns[len(self.names)]


_ACTIVE: ContextVar[_Active | None] = ContextVar("pseudonyms", default=None)


@contextlib.contextmanager
def using(keyfile: str | Path | None) -> Iterator[None]:
    """Gives every cohort that is read inside pseudonyms of this key; None changes nothing.

    Errors that come out are `masked`.

    Raises:
        ConfigError: the file cannot be read, or its key is shorter than 16 bytes or longer than 4096.
    """
    if keyfile is None:
        yield
        return
    file = Path(keyfile).resolve()
    token = _ACTIVE.set(_Active(file, _key(file)))
    try:
        yield
    except Exception as error:
        raise reworded(error, masked) from None
    finally:
        _ACTIVE.reset(token)


def _key(file: Path) -> bytes:
    subject = f"--pseudonymise {file}"
    try:
        if not file.is_file():
            raise ConfigError(subject, "no such file; make a key with: head -c 32 /dev/urandom > KEYFILE")
        with file.open("rb") as stream:
            key = stream.read(LARGEST_KEY + 1)
    except OSError as error:
        raise ConfigError(subject, f"cannot be read: {error.strerror}") from None
    if not SMALLEST_KEY <= len(key) <= LARGEST_KEY:
        raise ConfigError(subject, f"a key has {SMALLEST_KEY} to {LARGEST_KEY} bytes; the file has {len(key)} or more")
    return key


def keyfile() -> Path | None:
    """The key file in use, or None where cohorts keep their names."""
    active = _ACTIVE.get()
    return None if active is None else active.file


def pseudonymised(cohort: Cohort) -> Cohort:
    """The cohort under pseudonyms where a key is in use, else as it is. Synthetic slices are nobody's: they stay.

    Sites and splits stay too. A case that is its patient's only one shares the patient's pseudonym.

    Raises:
        DataError: two patients or cases would share a pseudonym.
    """
    active = _ACTIVE.get()
    if active is None or cohort.slices_only:
        return cohort
    cases = tuple(_renamed(case, active) for case in cohort.cases)
    patients = {(old.patient, new.patient) for old, new in zip(cohort.cases, cases, strict=True)}
    ids = {(old.id, new.id) for old, new in zip(cohort.cases, cases, strict=True)}
    if any(len({new for _, new in pairs}) != len(pairs) for pairs in (patients, ids)):
        raise DataError(cohort.root, "two of its patients or cases share a pseudonym; use another key")
    new_ids = {old.id: new.id for old, new in zip(cohort.cases, cases, strict=True)}
    notes = tuple(
        Note(None if note.case is None else new_ids.get(note.case), note.path, masked(note.reason))
        for note in cohort.notes
    )
    # In the order of the pseudonyms: that of the names would tell something of them.
    ordered = sorted(cases, key=lambda case: (case.site or "", case.id))
    return dataclasses.replace(cohort, cases=tuple(ordered), notes=notes)


def hide_root(root: Path) -> None:
    """Keeps what lies in a cohort's folder, and where that is, out of errors; nothing where no key is in use."""
    if (active := _ACTIVE.get()) is not None:
        active.roots.update((str(root), str(root.resolve())))


def _renamed(case: Case, active: _Active) -> Case:
    patient = "p-" + _digest(active.key, "patient", case.patient)
    alone = case.id == case.patient and case.session is None
    identifier = patient if alone else f"{patient}_{_digest(active.key, 'case', case.id)[:8]}"
    session = None if case.session is None else "s-" + _digest(active.key, "session", case.session)
    for name, told in ((case.patient, patient), (case.id, identifier)):
        if not name.isdigit() and len(name) > 2:
            active.names[name] = told
    for name, ref in _files(case):
        active.places[str(ref.path)] = f"{identifier}/{name}"
        active.places.setdefault(str(ref.path.parent), identifier)
    return dataclasses.replace(case, id=identifier, patient=patient, session=session)


def _digest(key: bytes, kind: str, name: str) -> str:
    return hmac.new(key, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def _files(case: Case) -> list[tuple[str, ImageRef]]:
    refs = [*case.images.items(), ("mask", case.mask), ("brain_mask", case.brain_mask)]
    return [(name, ref) for name, ref in refs if ref is not None]


def shown_path(path: Path) -> str | None:
    """Gives a path as pseudonyms allow it: ``p-3f9a…/FLAIR``, or ``-`` of one that is no case's.

    None where cohorts keep their names.
    """
    active = _ACTIVE.get()
    return None if active is None else active.places.get(str(path), _HIDDEN)


def masked(text: str) -> str:
    """Puts a text under pseudonyms: paths as `shown_path` has them, ids replaced, other files' names left out."""
    active = _ACTIVE.get()
    if active is None:
        return text
    if text in active.roots:
        return "cohort"
    for root in sorted(active.roots, key=len, reverse=True):
        if root in text:
            for place in sorted((place for place in active.places if place in text), key=len, reverse=True):
                text = text.replace(place, active.places[place])
            text = re.sub(
                rf"(?<![\w.-]){re.escape(root)}/(\S*[^\s,;:'\"`)])", lambda match: _shown(match[1], active), text
            )
            if "/" in root:
                text = text.replace(root, "cohort")
    told = set(active.places.values())
    text = _FILE.sub(lambda match: match[0] if match[0] in _PRESCRIBED or match[0] in told else _HIDDEN, text)
    return active.any_name().sub(lambda match: active.names[match[0]], text) if active.names else text


def masked_error(error: LabelganError) -> LabelganError:
    """An error that was kept for later, `masked`; of the same kind and exit code."""
    made = reworded(error, masked)
    assert isinstance(made, LabelganError)
    return made


def _shown(inside: str, active: _Active) -> str:
    """Gives a path under a cohort's folder, which may be shown already, as pseudonyms allow it."""
    return inside if inside in active.places.values() else _HIDDEN
