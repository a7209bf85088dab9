"""Feeds mutated NIfTI, JSON, TOML and safetensors files to what reads them, and counts what came of it.

Run: ``python -m tests.fuzz.fuzz --folder DIR [--files 20000] [--seed 0]``; the same command goes on where it was
stopped, and writes the section ``fuzz`` of docs/results/reliability.md at the end. File i of a format depends on
(seed, format, i) alone. Workers read the files one by one. A file must be read, or refused in one line, within 5 s of
the processor and 1 GB of memory beyond what the worker had before; all else has failed. ``--again`` reads files that
failed once more, after what they broke was mended; the section tells of both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from labelgan.core.errors import LabelganError
from labelgan.core.rng import generator_for
from tests.fuzz.fuzz_files import mutated
from tests.fuzz.fuzz_readers import FORMATS, ROOT, Target, targets

PAGE = ROOT / "docs" / "results" / "reliability.md"
SECONDS, MEMORY_BYTES = 5.0, 2**30
SILENT_SECONDS = 300.0  # a worker that says nothing for so long, its start included, is ended
LONGEST_LINE = 3000
ACCEPTED, REFUSED = "accepted", "refused"

Entry = dict[str, Any]


class HangError(BaseException):
    """A file took too much of the processor. No reader may catch it, so it is no Exception."""


# The worker


def examine(target: Target, content: bytes, seconds: float = SECONDS) -> Entry:
    """Reads one file in the place of the sound one.

    Returns:
        ``outcome``: accepted, refused, or why it failed: hang, memory, crash, long (more than one line of words);
        ``said``: the words; ``seconds`` of the processor; ``grown``: bytes of memory.
    """
    target.path.write_bytes(content)
    _forget_peak()
    before, started = _status("VmRSS"), time.process_time()
    outcome, said = _outcome(target, seconds)
    spent, grown = time.process_time() - started, max(0, _status("VmHWM") - before)
    target.path.write_bytes(target.content)
    if outcome in (ACCEPTED, REFUSED) and grown > MEMORY_BYTES:
        outcome = "memory"
    return {"outcome": outcome, "said": said, "seconds": round(spent, 4), "grown": grown}


def _outcome(target: Target, seconds: float) -> tuple[str, str]:
    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        target.read()
        return ACCEPTED, ""
    except LabelganError as error:
        line = str(error)
        return (REFUSED, line[:300]) if "\n" not in line and len(line) < LONGEST_LINE else ("long", line[:300])
    except HangError:
        return "hang", ""
    except MemoryError:
        return "memory", ""
    except Exception as error:
        return "crash", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def examined(form: str, folder: Path, seed: int, numbers: Iterable[int]) -> Iterator[Entry]:
    """Examines files of a format, an entry before each, without an outcome, and one after it."""
    known = targets(form, folder)
    for target in known:
        target.path.write_bytes(target.content)
        target.read()  # what is fuzzed is sound, and what is imported on the way is no file's memory
    for number in numbers:
        entry = {"format": form, "number": number}
        yield entry
        target = known[number % len(known)]
        content = mutated(target.content, form, generator_for(seed, "fuzz", form, number))
        yield {**entry, "file": target.path.name, **examine(target, content)}


def serve(form: str, folder: Path, seed: int, numbers: Iterable[int]) -> None:
    """Prints what `examined` gives, in bounded memory."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        entries = examined(form, Path(place), seed, numbers)
        print(json.dumps(next(entries)), flush=True)
        limit = _status("VmSize") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for entry in entries:
            print(json.dumps(entry), flush=True)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


# The whole


def attend(command: list[str], log: Path, silent_seconds: float = SILENT_SECONDS) -> None:
    """Appends what a worker prints to the log; ends it, and says hang, where it falls silent."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process, log.open("ab") as stream:
        assert process.stdout is not None
        pipe, last = process.stdout.fileno(), b""
        while select.select([pipe], [], [], silent_seconds)[0]:
            if not (part := os.read(pipe, 2**16)):
                return
            stream.write(part)
            last = (last + part).strip().rpartition(b"\n")[2]
        process.kill()
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(last)
            stream.write(json.dumps({**entry, "outcome": "hang", "said": "silent"}).encode() + b"\n")


def results(log: Path) -> dict[tuple[str, int], Entry]:
    """What is known of every file so far; one that was begun and not ended has killed its worker.

    ``before`` of a file that was read again is how it failed at first.
    """
    known: dict[tuple[str, int], Entry] = {}
    for line in log.read_text().splitlines() if log.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            key = entry["format"], entry["number"]
            last = known.get(key, {})
            before = {"before": last["before"]} if "before" in last else {}
            if "outcome" not in entry and has_failed(last) and not before:  # it is begun again
                before = {"before": f"{last['outcome']}. {last.get('said', '')}"}
            known[key] = {"outcome": "died", **before, **entry}
    return known


def has_failed(entry: Entry) -> bool:
    """Whether a file was neither accepted nor refused."""
    return bool(entry) and entry["outcome"] not in (ACCEPTED, REFUSED)


def fuzz(folder: Path, files: int, seed: int, again: bool = False) -> list[Entry]:
    """Examines what is left of ``files`` files, shared among the formats, and gives an entry for each.

    Args:
        folder: where the log is kept.
        files: how many in all.
        seed: of the mutations.
        again: examine those that failed once more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, each = folder / f"log-{seed}.jsonl", files // len(FORMATS)
    for form in FORMATS:
        known = {number: entry for (of_form, number), entry in results(log).items() if of_form == form}
        left = [number for number in range(each) if number not in known or (again and has_failed(known[number]))]
        while left:
            wanted = folder / "left.json"
            wanted.write_text(json.dumps(left))
            lines = _lines(log)
            attend([sys.executable, "-m", "tests.fuzz.fuzz", "--serve", form, str(folder), str(seed), str(wanted)], log)
            tried = {json.loads(line)["number"] for line in log.read_text().splitlines()[lines:] if line.endswith("}")}
            if not tried:
                raise SystemExit(f"the worker of {form} examined nothing; see its words above")
            left = [number for number in left if number not in tried]
    return [entry for (_, number), entry in results(log).items() if number < each]


def _lines(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.is_file() else 0


def section(entries: list[Entry], seed: int) -> str:
    """The section of the page: counts per format, and every failure."""
    lines = [
        "## Fuzzing",
        "",
        f"`python -m tests.fuzz.fuzz --files {len(entries)} --seed {seed} --folder DIR`: sound files with one to five "
        "spoilt places, read by the calls of the package that read such files. Failed: anything but the result or one "
        f"line of LabelganError, over {SECONDS:g} s of the processor, or over {MEMORY_BYTES / 1e9:.1f} GB of memory.",
        "",
        "| format | files | accepted | refused | failed | longest, s | most memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    failed, mended = filter(has_failed, entries), [entry for entry in entries if "before" in entry]
    for form in FORMATS:
        mine = [entry for entry in entries if entry["format"] == form]
        counts = [sum(entry["outcome"] == outcome for entry in mine) for outcome in (ACCEPTED, REFUSED)]
        longest = max((entry.get("seconds", 0.0) for entry in mine), default=0.0)
        grown = max((entry.get("grown", 0) for entry in mine), default=0)
        cells = [len(mine), *counts, len(mine) - sum(counts), f"{longest:.2f}", f"{grown / 1e6:.0f}"]
        lines.append(f"| {form} | {' | '.join(map(str, cells))} |")
    lines += ["", *(f"- {e['format']} {e['number']}: {e['outcome']}. {e.get('said', '')}" for e in failed)]
    if mended:
        lines += [
            f"{len(mended)} of them failed when they were read first; what broke was mended, and they were read again:",
            "",
        ]
        lines += [f"- {e['format']} {e['number']}, {e.get('file', '')}: {e['before']}" for e in mended]
    return "\n".join(lines)


def main() -> None:
    """Runs what is left, prints the section, and writes it."""
    if sys.argv[1:2] == ["--serve"]:
        form, place, seed, wanted = sys.argv[2:]
        serve(form, Path(place), int(seed), json.loads(Path(wanted).read_text()))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="read files that failed once more")
    parser.add_argument("--dry-run", action="store_true", help="print the section, do not write it")
    given = parser.parse_args()
    text = section(fuzz(given.folder, given.files, given.seed, given.again), given.seed)
    print(text)
    if not given.dry_run:
        from tools.sections import write_section

        write_section(PAGE, "fuzz", text)


if __name__ == "__main__":
    main()
