"""Scans the bytes of everything that LabelGAN writes and prints for names planted in headers, sidecars and folders.

    python -m tests.privacy.privacy_scan                   # prints
    python -m tests.privacy.privacy_scan --write           # and writes the section "privacy" of
    docs/results/reliability.md

Every stage runs by its command on a small cohort of phantoms that `privacy_plants` has named all over, once with
names as they are and once with ``--pseudonymise``. Files are unfolded as far as they go: gzip, ZIP (``.npz``),
compressed text in PNG, base64 in HTML and JSON.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import itertools
import re
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelgan.cli.app import run_command
from labelgan.data.export.write import FORMATS
from labelgan.gan.sample import EXPORTERS
from labelgan.study.places import PLACES
from tests.privacy.privacy_plants import (
    ABOVE,
    FOLDER_WORK,
    HEADER,
    PLANTS,
    ROOT,
    WORK,
    Plant,
    planted_bids,
    planted_wmh,
    spoil,
)
from tools.sections import write_section

DOC = Path(__file__).parents[2] / "docs" / "results" / "reliability.md"
PRINTED = "(printed)"
_DEEPEST = 6
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")


def unfolded(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """Gives the bytes of a file, and those of everything that is folded into it."""
    yield content
    if depth == _DEEPEST:
        return
    inner: list[bytes] = []
    if content[:2] == b"\x1f\x8b":
        inner.append(zlib.decompressobj(wbits=31).decompress(content))
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner += [
                archive.comment,
                *(info.filename.encode() + info.comment + info.extra for info in archive.infolist()),
            ]
            inner += [archive.read(name) for name in archive.namelist()]
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        inner += _png_texts(content)
    elif b"base64," in content or content[:1] in b"{[":
        inner += [base64.b64decode(run[: len(run) // 4 * 4]) for run in _BASE64.findall(content)]
    for part in inner:
        yield from unfolded(part, depth + 1)


def _png_texts(content: bytes) -> Iterator[bytes]:
    """What the zTXt, iTXt and iCCP chunks of a PNG unfold to."""
    at = 8
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            data = content[at + 8 : at + 8 + length]
            for start in range(len(data)):
                with contextlib.suppress(zlib.error):
                    yield zlib.decompressobj().decompress(data[start:])
                    break
        at += 12 + length


def names_in(content: bytes, plants: Sequence[Plant] = PLANTS) -> set[Plant]:
    """The planted names that stand in a file, in UTF-8, Latin-1 or UTF-16, in capitals or not.

    A name's ASCII beginning is the same in UTF-8, Latin-1, JSON, URLs and HTML; in UTF-16 a zero follows each letter,
    or stands before it, and then the search begins one byte later.
    """
    found: set[Plant] = set()
    for part in unfolded(content):
        low = part.lower()
        for plant in plants:
            stem = re.match("[A-Za-z]+", plant.text)[0].lower()  # type: ignore[index]
            if stem.encode() in low or stem.encode("utf-16-le")[:-1] in low:
                found.add(plant)
    return found


@dataclass
class Stage:
    """One step: its name, what was scanned, and which names stood where."""

    name: str
    files: int = 0
    size: int = 0
    finds: dict[Plant, list[str]] = field(default_factory=dict)


class Scanner:
    """Runs commands in a folder, and scans after each what is new in it."""

    def __init__(self, work: Path, key: Path | None = None) -> None:
        self.work, self.key, self.stages = work, key, dict[str, Stage]()
        self._seen: dict[Path, tuple[int, int]] = {}

    def run(self, stage: str, *arguments: str | Path, expect: int | tuple[int, ...] = 0) -> None:
        """Runs one command line as ``labelgan`` would, with the key where there is one and ``{key}`` is asked for."""
        words = [str(argument) for argument in arguments if argument != KEY]
        if KEY in arguments and self.key is not None:
            words += ["--pseudonymise", str(self.key)]
        out, before = io.StringIO(), sys.argv
        sys.argv = ["labelgan", *words]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = run_command(words)
        finally:
            sys.argv = before
        if code not in ((expect,) if isinstance(expect, int) else expect):
            raise RuntimeError(f"labelgan {' '.join(words)} ended with {code}:\n{out.getvalue()}")
        self._note(stage, PRINTED, out.getvalue().encode())
        self.scan(stage)

    def scan(self, stage: str) -> None:
        """Scans the names and bytes of files that are new or have changed."""
        for path in sorted(self.work.rglob("*")):
            facts = path.lstat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            if self._seen.get(path) == stamp:
                continue
            self._seen[path] = stamp
            inside = path.relative_to(self.work).as_posix()
            content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
            self._note(stage, inside, content, inside)

    def _note(self, stage: str, where: str, content: bytes, name: str = "") -> None:
        known = self.stages.setdefault(stage, Stage(stage))
        known.files += 1
        known.size += len(content)
        for plant in names_in(content) | names_in(name.encode()):
            known.finds.setdefault(plant, []).append(where)

    def unwanted(self) -> list[tuple[str, str, str]]:
        """(stage, file, place) of names that stand where they must not."""
        return [
            (stage.name, where, plant.place)
            for stage in self.stages.values()
            for plant, places in stage.finds.items()
            for where in places
            if not self.may_stand(plant, where)
        ]

    def may_stand(self, plant: Plant, where: str) -> bool:
        """Whether a name belongs there.

        The private file may tell where the data lies, and what is printed may tell it to who typed it; without a key
        ids and the name of the cohort's own folder are told.
        """
        if Path(where).name == PLACES:
            return plant.kind in (ABOVE, WORK, ROOT)
        if plant.kind == HEADER:
            return False
        if plant.kind in (ABOVE, WORK):
            return where == PRINTED and (self.key is None or plant.kind == WORK)
        return self.key is None


KEY = "{key}"


def desk(parent: Path) -> Path:
    """A folder to work in, under one that names somebody."""
    work = parent / f"{FOLDER_WORK.text} desk" / "work"
    work.mkdir(parents=True)
    return work


def run_stages(scanner: Scanner, cohort: Path, *, study: bool = True, everything: bool = True) -> None:
    """Every command, on one cohort; ``everything`` takes all formats and models."""
    from tiny import SEG_SETTINGS, settings_of, study_settings  # of the tests

    work = scanner.work
    scanner.run("check", "check", cohort, "--json", KEY)
    scanner.run("check", "check", cohort, KEY)
    scanner.run("prepare", "prepare", cohort, work / "store", "--size", "32", "--spacing", "6", KEY)
    ids = _patients(work / "store")
    for model in ("r3gan", "refiner") if everything else ("r3gan",):
        settings = [*settings_of(model), "train.collapse_ratio=0"]
        scanner.run(
            "train", "train", work / "store", "--out", work / model, "--model", model, "--exclude", ids[0],
            *(word for setting in settings for word in ("--set", setting)),
        )  # fmt: skip
    for format in EXPORTERS if everything else ("npz", "wmh"):
        scanner.run(
            "sample", "sample", work / "r3gan", "--num", "6", "--format", format, "--out", work / f"samples-{format}"
        )
    small = ["encoder.steps=5", "encoder.side=32", "fidelity.projections=16"]
    scanner.run(
        "audit", "audit", work / "samples-npz", "--train", work / "store", "--exclude", ids[0], "--out", work / "audit",
        *(word for setting in small for word in ("--set", setting)), expect=(0, 3),
    )  # fmt: skip
    seg = [word for setting in SEG_SETTINGS for word in ("--set", setting)]
    scanner.run("segment", "segment", "train", work / "store", "--out", work / "segmenter", *seg)
    scanner.run(
        "segment", "segment", "predict", work / "segmenter", cohort, "--out", work / "predicted", "--probabilities", KEY
    )
    scanner.run(
        "score", "score", cohort, work / "predicted", "--csv", work / "scores.csv", "--overlays", work / "drawn", KEY
    )
    for format in FORMATS if everything else ("bids", "nnunet"):
        scanner.run("export", "export", cohort, "--format", format, "--out", work / f"export-{format}", KEY)
    scanner.run("export", "export", cohort, work / "samples-npz", "--format", "bids", "--out", work / "mixed", KEY)
    if study:
        named = [word for setting in study_settings("auto") for word in ("--set", setting)]
        scanner.run(
            "study", "study", cohort, "--out", work / "study", "--arms", "classical,classical+synthetic",
            "--folds", "2", "--workers", "1", "--device", "cpu", *named, KEY,
        )  # fmt: skip
        scanner.run("report", "report", work / "study")
    spoil(cohort)
    scanner.run("faults", "check", cohort, "--json", KEY, expect=1)
    scanner.run("faults", "prepare", cohort, work / "no-store", KEY, expect=2)
    scanner.run("faults", "segment", "predict", work / "segmenter", cohort, "--out", work / "some", KEY, expect=2)
    scanner.run("faults", "export", cohort, "--format", "bids", "--out", work / "no-export", KEY, expect=2)
    scanner.run("faults", "study", cohort, "--out", work / "no-study", KEY, expect=(2, 3))


def _patients(store: Path) -> list[str]:
    from labelgan.data.store import SliceStore

    return sorted({case.patient for case in SliceStore.open(store).cases})


def table(scanners: Sequence[Scanner]) -> str:
    """Names planted by stage: finds where they must not be, and in brackets those where they may."""
    names = list(dict.fromkeys(name for scanner in scanners for name in scanner.stages))
    lines = ["| planted in | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for plant in PLANTS:
        cells = []
        for name in names:
            places = [
                scanner.may_stand(plant, where)
                for scanner in scanners
                if name in scanner.stages
                for where in scanner.stages[name].finds.get(plant, [])
            ]
            bad, named = places.count(False), places.count(True)
            cells.append((f"**{bad}**" if bad else "0") + (f" ({named})" if named else ""))
        lines.append(f"| {plant.place} | " + " | ".join(cells) + " |")
    stages = [[scanner.stages[name] for scanner in scanners if name in scanner.stages] for name in names]
    files = " | ".join(f"*{sum(stage.files for stage in row):,}*" for row in stages)
    sizes = " | ".join(f"*{sum(stage.size for stage in row) / 1e6:.1f}*" for row in stages)
    return "\n".join([*lines, f"| *files and printed texts* | {files} |", f"| *MB* | {sizes} |"])


def control(cohort: Path) -> set[Plant]:
    """What the scan finds in the cohort itself, where everything stands."""
    found: set[Plant] = set()
    for path in cohort.rglob("*"):
        found |= names_in(str(path).encode()) | (names_in(path.read_bytes()) if path.is_file() else set())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs everything, prints, and says by its exit code whether a name got out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the section of the document")
    parser.add_argument("--work", type=Path, help="folder to work in and to leave")
    options = parser.parse_args(arguments)
    sys.path.append(str(Path(__file__).parents[1]))  # helpers of the tests
    with tempfile.TemporaryDirectory() as temporary:
        base = options.work or Path(temporary)
        key = base / "key"
        base.mkdir(parents=True, exist_ok=True)
        key.write_bytes(bytes(range(32)))
        scanners: dict[bool, list[Scanner]] = {False: [], True: []}
        found: set[Plant] = set()
        for keyed, plant in itertools.product((False, True), (planted_bids, planted_wmh)):
            folder = base / f"{plant.__name__}-{keyed}"
            cohort, scanner = plant(folder), Scanner(desk(folder), key if keyed else None)
            found |= control(cohort)
            run_stages(scanner, cohort, study=plant is planted_bids)
            scanners[keyed].append(scanner)
            for find in scanner.unwanted():
                print(plant.__name__, "with a key" if keyed else "without a key", *find, flush=True)
    text = _section(scanners, found)
    print(text)
    if options.write:
        write_section(DOC, "privacy", text)
    return int(any(scanner.unwanted() for part in scanners.values() for scanner in part))


def _section(scanners: dict[bool, list[Scanner]], found: set[Plant]) -> str:
    stages = [stage for part in scanners.values() for scanner in part for stage in scanner.stages.values()]
    files, size = sum(stage.files for stage in stages), sum(stage.size for stage in stages) / 1e6
    bad = sum(len(scanner.unwanted()) for part in scanners.values() for scanner in part)
    return f"""## Names in files

`python -m tests.privacy.privacy_scan --write` plants {len(PLANTS)} kinds of names in two small cohorts, one of BIDS
and one of the WMH layout, and over the folders that it works in. It runs every command on them, also on spoilt scans,
and searches the bytes of all that is written or printed for each name in UTF-8, Latin-1 and UTF-16, unfolded from
gzip, ZIP, PNG and base64: {files:,} files and texts, {size:,.0f} MB. **Names where they must not be: {bad}.** As a
control, the same search finds {len(found)} of the {len(found | set(PLANTS) - {FOLDER_WORK})} kinds in the cohorts
themselves.

A cell has the finds where the name must not be, and in brackets those where it may: without a key ids and the name of
the cohort's own folder are told; what is printed tells paths to who typed them; and a study's `places.json`, private to
its owner (mode 0600) and copied nowhere, says where the data lies. [What each file holds](../guides/privacy.md).

Names as they are:

{table(scanners[False])}

Under `--pseudonymise`:

{table(scanners[True])}
"""


if __name__ == "__main__":
    sys.exit(main())
