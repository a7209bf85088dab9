"""Names that name no one: keyed pseudonyms of patients and cases, given while a cohort is read.

A pseudonym is ``p-`` and twelve hex digits of HMAC-SHA256(key, patient): the same wherever the same key is used, and
not to be turned back, or tried out from a list of names, without it. Whoever holds the key file can do both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from labelgan.data.case import Case, Cohort, ImageRef, Note
from labelgan.errors import ConfigError, DataError, LabelganError

SMALLEST_KEY, LARGEST_KEY = 16, 4096
_DIGITS = 12


@dataclass(frozen=True)
class _Active:
    file: Path
    key: bytes
    places: dict[str, str] = field(default_factory=dict)  # a file's or folder's path to what may be said of it


_ACTIVE: ContextVar[_Active | None] = ContextVar("pseudonyms", default=None)


@contextlib.contextmanager
def using(keyfile: str | Path | None) -> Iterator[None]:
    """Gives every cohort that is read inside pseudonyms of this key; None changes nothing.

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
        Note(None if note.case is None else new_ids.get(note.case), note.path, note.reason) for note in cohort.notes
    )
    # In the order of the pseudonyms: that of the names would tell something of them.
    ordered = sorted(cases, key=lambda case: (case.site or "", case.id))
    return dataclasses.replace(cohort, cases=tuple(ordered), notes=notes)


def _renamed(case: Case, active: _Active) -> Case:
    patient = "p-" + _digest(active.key, "patient", case.patient)
    alone = case.id == case.patient and case.session is None
    identifier = patient if alone else f"{patient}_{_digest(active.key, 'case', case.id)[:8]}"
    session = None if case.session is None else "s-" + _digest(active.key, "session", case.session)
    for name, ref in _files(case):
        active.places[str(ref.path)] = f"{identifier}/{name}"
        active.places.setdefault(str(ref.path.parent), identifier)
    return dataclasses.replace(case, id=identifier, patient=patient, session=session)


def _digest(key: bytes, kind: str, name: str) -> str:
    return hmac.new(key, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def _files(case: Case) -> list[tuple[str, ImageRef]]:
    refs = [*case.images.items(), ("mask", case.mask), ("brain_mask", case.brain_mask)]
    return [(name, ref) for name, ref in refs if ref is not None]


def told_path(path: Path) -> str | None:
    """What may be said of a path under pseudonyms: ``p-3f9a…/FLAIR``, or ``-`` of one that is no case's.

    None where cohorts keep their names.
    """
    active = _ACTIVE.get()
    return None if active is None else active.places.get(str(path), "-")


def masked(text: str) -> str:
    """A text with the paths of every case that was read replaced as `told_path` has them."""
    active = _ACTIVE.get()
    for place in sorted(active.places if active else (), key=len, reverse=True):
        text = text.replace(place, active.places[place])  # type: ignore[union-attr]
    return text


def masked_error(error: LabelganError) -> LabelganError:
    """The same error with its words masked; of the same kind and exit code."""
    made = type(error)(masked(error.subject), masked(error.reason))
    return made.with_traceback(error.__traceback__)
