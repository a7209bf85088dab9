from __future__ import annotations

import re
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tools import supply

ROOT = Path(__file__).parents[2]


def package(**facts: str | list[str]) -> Any:
    """A package whose metadata holds some fields; a list is a field that stands there several times."""
    message = Message()
    for name, value in facts.items():
        for each in value if isinstance(value, list) else [value]:
            message[name.replace("_", "-")] = each
    return SimpleNamespace(metadata=message)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"License_Expression": "MIT AND BSD-3-Clause", "License": "x"}, "MIT AND BSD-3-Clause"),
        ({"Classifier": ["License :: OSI Approved", "License :: OSI Approved :: MIT License"]}, "MIT License"),
        ({"License": "The licence\nin many words"}, "The licence"),
        ({}, "not told"),
    ],
)
def test_a_licence_is_told_as_the_metadata_has_it(facts, told):
    assert supply.licence(package(**facts)) == told


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License v3", True),
        ("AGPL-3.0", True),
        ("MIT AND GPL-2.0-only", True),
        ("GPL-2.0-only OR MIT", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("LGPL-2.1", False),
        ("MPL-2.0", False),
        ("BSD-3-Clause AND 0BSD AND MIT", False),
        ("not told", False),
    ],
)
def test_strong_copyleft_is_known(text, bad):
    assert supply.is_copyleft(text) is bad


def test_no_package_of_the_base_install_is_copyleft_and_every_licence_is_told():
    base = supply.closure()
    assert {"torch", "numpy", "pydantic", "simpleitk"} <= base.keys()
    assert "pytest" not in base
    assert {name: text for name, each in base.items() if supply.is_copyleft(text := supply.licence(each))} == {}
    assert [name for name, each in base.items() if supply.licence(each) == "not told"] == []


def test_the_page_lists_every_package_of_the_base_install():
    page = (ROOT / "docs" / "results" / "licences.md").read_text(encoding="utf-8")
    listed = {canonicalize_name(name) for name in re.findall(r"^\| (\S+) \| \S+ \|", page, re.MULTILINE)}
    assert supply.closure().keys() <= listed


def test_the_bill_holds_every_package_once_and_knows_who_needs_whom():
    base = supply.closure()
    bill = supply.bill(base, {"numpy": "0" * 64})
    refs = [component["bom-ref"] for component in bill["components"]]
    assert len(refs) == len(set(refs)) == len(base)
    assert bill == supply.bill(base, {"numpy": "0" * 64})
    needs = {
        entry["ref"].split("@")[0]: {ref.split("@")[0] for ref in entry["dependsOn"]} for entry in bill["dependencies"]
    }
    assert {"pkg:pypi/torch", "pkg:pypi/numpy"} <= needs["pkg:pypi/labelgan"]
    assert "pkg:pypi/numpy" in needs["pkg:pypi/scipy"]
    assert set().union(*needs.values()) <= {ref.split("@")[0] for ref in refs}
    hashed = [component["name"] for component in bill["components"] if "hashes" in component]
    assert hashed == ["numpy"]


def test_a_lock_is_made_from_what_pip_reports_and_read_again(tmp_path):
    def entry(name: str, version: str, digest: str) -> dict:
        return {
            "metadata": {"name": name, "version": version},
            "download_info": {"archive_info": {"hashes": {"sha256": digest * 64}}},
        }

    environment = {"python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64"}
    entries = [entry("PyYAML", "6.0", "b"), entry("torch", "2.13.0", "c"), entry("absl_py", "2.5", "a")]
    own = {"metadata": {"name": "labelgan", "version": "0"}, "download_info": {"dir_info": {}}}
    text = supply.locked({"install": [*entries, own], "environment": environment})
    (tmp_path / "lock").write_text(text)
    assert supply.hashes_of(tmp_path / "lock") == {"absl-py": "a" * 64, "pyyaml": "b" * 64}
    assert supply.hashes_of(tmp_path / "none") == {}


def test_the_lock_has_the_versions_of_the_constraints_and_a_hash_for_each():
    def pinned(name: str) -> dict[str, str]:
        lines = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        return {canonicalize_name(package): version for package, version in lines}

    lock, constraints = pinned("requirements.lock"), pinned("constraints.txt")
    assert {name: version for name, version in lock.items() if constraints.get(name) != version} == {}
    assert supply.hashes_of(ROOT / "requirements.lock").keys() == lock.keys()
    assert "torch" not in lock
