"""What LabelGAN is built on: licences, a bill of materials, and a lock with hashes.

    python -m tools.supply licences       # writes docs/results/licences.md from the installed packages
    python -m tools.supply sbom OUT.json  # writes a CycloneDX 1.6 bill of materials of the base install
    python -m tools.supply lock           # writes requirements.lock: versions and SHA-256 of what the tests run on

The first two ask `importlib.metadata` alone. The lock asks pip what it would install under constraints.txt, on this
kind of machine and Python; torch is left out of it, since its file depends on the device.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labelgan.core.files import write_text_atomic

ROOT = Path(__file__).parents[1]
PAGE, LOCK = ROOT / "docs" / "results" / "licences.md", ROOT / "requirements.lock"
NAME = "labelgan"
# Copyleft that would bind a work that is distributed with it; the lesser licence binds only the library itself.
COPYLEFT = re.compile(r"(?<!L)(?<!Lesser )\b(AGPL|GPL|GNU (Affero )?General Public|SSPL|EUPL|CECILL)", re.IGNORECASE)


def closure(extras: Iterable[str] = ()) -> dict[str, Distribution]:
    """The installed packages that LabelGAN with these extras needs, by canonical name, itself left out.

    Raises:
        PackageNotFoundError: one is not installed.
    """
    found: dict[str, Distribution] = {}
    queue = [(NAME, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        name, wanted = queue.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        package = distribution(name)
        if name != NAME:
            found[name] = package
        for text in package.requires or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                queue.append((canonicalize_name(need.name), frozenset(need.extras)))
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """A package's licence as its metadata has it: the expression, else the classifiers, else the first line."""
    facts = package.metadata
    if "License-Expression" in facts:
        return facts["License-Expression"]
    classified = [text.split(" :: ")[-1] for text in facts.get_all("Classifier") or [] if text.startswith("License ::")]
    named = [text for text in classified if text != "OSI Approved"]
    if named:
        return "; ".join(named)
    words = facts["License"].strip().splitlines() if "License" in facts else []
    return words[0][:80] if words else "not told"


def is_copyleft(text: str) -> bool:
    """Whether every licence that a package offers is copyleft of the strong kind: of alternatives one may choose."""
    parts = re.split(r"\bOR\b|;", text)
    return bool(parts) and all(COPYLEFT.search(part) for part in parts)


def licences_page(base: Mapping[str, Distribution], more: Mapping[str, Distribution]) -> str:
    """docs/results/licences.md."""

    def table(packages: Mapping[str, Distribution]) -> str:
        rows = [f"| {p.metadata['Name']} | {p.version} | {licence(p).replace('|', '/')} |" for p in packages.values()]
        return "\n".join(["| package | version | licence |", "|---|---|---|", *rows])

    bad = [package.metadata["Name"] for package in base.values() if is_copyleft(licence(package))]
    return f"""# Licences

`make licences` writes this page from the metadata of the installed packages, in the environment that `make` makes.
LabelGAN itself is under Apache-2.0. Packages of the base install under a strong copyleft licence:
{", ".join(bad) or "none"}; a test holds it so.

## Base install: {len(base)} packages

{table(base)}

## Extras, tests and tools: {len(more)} more

{table(more)}
"""


def bill(base: Mapping[str, Distribution], hashes: Mapping[str, str]) -> dict[str, Any]:
    """A CycloneDX 1.6 document of the base install; the same packages give the same document."""
    own = distribution(NAME)
    components = []
    for name, package in base.items():
        purl = f"pkg:pypi/{name}@{package.version}"
        entry: dict[str, Any] = {
            "type": "library",
            "bom-ref": purl,
            "name": package.metadata["Name"],
            "version": package.version,
            "purl": purl,
            "licenses": [{"license": {"name": licence(package)}}],
        }
        if name in hashes:
            entry["hashes"] = [{"alg": "SHA-256", "content": hashes[name]}]
        components.append(entry)
    text = json.dumps(components, sort_keys=True)
    purls = {name: entry["bom-ref"] for name, entry in zip(base, components, strict=True)}
    root = f"pkg:pypi/{NAME}@{own.version}"
    needs = {root: _needs(own, purls)} | {purls[name]: _needs(package, purls) for name, package in base.items()}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, root + text)}",
        "version": 1,
        "metadata": {
            "component": {"type": "library", "bom-ref": root, "name": NAME, "version": own.version, "purl": root}
        },
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": on} for ref, on in needs.items()],
    }


def _needs(package: Distribution, purls: Mapping[str, str]) -> list[str]:
    needs = [Requirement(text) for text in package.requires or ()]
    plain = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return sorted({purls[name] for need in plain if (name := canonicalize_name(need.name)) in purls})


def locked(report: Mapping[str, Any]) -> str:
    """requirements.lock from what ``pip install --dry-run --report`` says."""
    lines = []
    for entry in report["install"]:
        name, version = canonicalize_name(entry["metadata"]["name"]), entry["metadata"]["version"]
        if name not in (NAME, "torch"):
            lines.append(
                f"{name}=={version} --hash=sha256:{entry['download_info']['archive_info']['hashes']['sha256']}"
            )
    where = report["environment"]
    return "\n".join(
        [
            "# Made by `make lock`: what the tests ran on, every file by its hash. Install torch first, then",
            "#   pip install --require-hashes --no-deps -r requirements.lock && pip install --no-deps -e .",
            f"# CPython {where['python_version']}, {where['sys_platform']} {where['platform_machine']};"
            " elsewhere constraints.txt has the same versions.",
            *sorted(lines),
            "",
        ]
    )


def hashes_of(lock: Path) -> dict[str, str]:
    """Package to SHA-256, of a lock; empty where there is none."""
    if not lock.is_file():
        return {}
    return dict(
        re.findall(r"^(\S+)==\S+ --hash=sha256:([0-9a-f]{64})$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    )


def ask_pip() -> dict[str, Any]:
    """What pip would install for the tests under constraints.txt; nothing is installed."""
    constraints = ROOT / "constraints.txt"
    torch = re.search(r"^torch==\S+", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    assert torch is not None
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "-c", str(constraints), torch[0], f"{ROOT}[dev]"]
        subprocess.run(command, check=True)
        return json.loads(report.read_text(encoding="utf-8"))


def main() -> None:
    """Does what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("licences", "sbom", "lock"))
    parser.add_argument("out", nargs="?", type=Path)
    options = parser.parse_args()
    if options.what == "lock":
        write_text_atomic(options.out or LOCK, locked(ask_pip()))
        return
    base = closure()
    if options.what == "sbom":
        text = json.dumps(bill(base, hashes_of(LOCK)), indent=1) + "\n"
        write_text_atomic(options.out or ROOT / "dist" / "labelgan.cdx.json", text)
        return
    try:
        more = {name: package for name, package in closure(("dev",)).items() if name not in base}
    except PackageNotFoundError as error:
        sys.exit(f"error: {error.name}: not installed; make test installs everything")
    write_text_atomic(options.out or PAGE, licences_page(base, more))


if __name__ == "__main__":
    main()
