"""Imports point down only, tests mirror modules, starting is fast: the rules that keep the house in order."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import labelgan

# cli -> demo -> api_study -> api -> api_audit -> study -> {gan, audit, seg} -> {data, metrics, checkpoint}
# -> {config, rng, errors, ...}.
# A unit is a module or folder directly under the package. It may import from lower floors; on a shared floor from its
# neighbours too; never upwards, and gan, audit and seg never from each other.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "errors",
            "files",
            "config",
            "config_engine",
            "config_gan",
            "config_seg",
            "config_study",
            "config_audit",
            "config_catalogue",
            "config_catalogue_sources",
            "rng",
            "device",
            "parallel",
            "parallel_launch",
            "parallel_norm",
            "provenance",
            "interrupts",
            "progress",
        }
    ),
    frozenset({"data", "metrics", "metrics_pair", "scoring", "scoring_match", "scoring_report", "checkpoint"}),
    frozenset({"gan", "audit", "seg", "report"}),
    frozenset({"study"}),
    frozenset({"api_audit", "api_export", "mixing", "subjects"}),
    frozenset({"api", "api_segment", "monai_transform"}),
    frozenset({"api_study"}),
    frozenset({"studio", "demo", "doctor", "tables", "tables_audit", "cli_common", "cli_errors"}),
    frozenset({"cli_audit", "cli_config", "cli_export", "cli_score", "cli_segment", "cli_studio", "cli_study"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
SHARED_FLOORS = (0, 1)
FLOOR_OF = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}

# Of the package itself, a module may take nothing but this: the rest are the verbs of `api`.
ROOT_NAMES = {"__version__"}

# What must not be imported, not even inside a function.
FORBIDDEN_PACKAGES = {"report": {"torch"}, "metrics": {"torch"}, "metrics_pair": {"torch"}}


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Gives line and dotted name of everything that is imported, at any depth; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                parts = parts[: len(parts) - (node.level - 1)]
                base = ".".join([*parts, base] if base else parts)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "labelgan":
            yield node.lineno, f"labelgan.{node.attr}"


def violations(package: Path) -> list[str]:
    """Gives one line for every import under ``package`` (the folder of labelgan) that points the wrong way."""
    found = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        parts = [part for part in inside.with_suffix("").parts if part != "__init__"]
        if not parts:
            continue  # the package's own front, which offers what lies below it
        unit = parts[0]
        if unit not in FLOOR_OF:
            found.append(f"{inside}: '{unit}' has no floor yet; give it one in FLOORS")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = ".".join(["labelgan", *parts])
        for line, name in sorted(set(imported_names(tree, module, path.stem == "__init__"))):
            reason = _why_not(unit, name.split("."))
            if reason:
                found.append(f"{inside}:{line}: {reason}")
    return found


def _why_not(unit: str, name: list[str]) -> str | None:
    if name[0] != "labelgan":
        return f"{unit} must not import {name[0]}" if name[0] in FORBIDDEN_PACKAGES.get(unit, ()) else None
    if len(name) == 1 or name[1] in ROOT_NAMES or name[1] == unit:
        return None
    target = name[1]
    if target not in FLOOR_OF:
        return f"{unit} must not import '{target}' from the front of the package"
    mine, theirs = FLOOR_OF[unit], FLOOR_OF[target]
    if theirs < mine or (theirs == mine and mine in SHARED_FLOORS):
        return None
    return f"{unit} must not import {target}"


def test_imports_point_down():
    assert violations(Path(labelgan.__file__).parent) == []


SOUND = {
    "__init__.py": "from labelgan.api.base import train\n",
    "errors.py": "",
    "config.py": "from labelgan.core.errors import ConfigError\n",
    "data/__init__.py": "",
    "data/case.py": "from . import store\nfrom .. import errors\nfrom ..config import Config\nimport torch\n",
    "data/store.py": "import labelgan\nfrom labelgan import __version__\nlabelgan.__version__\n",
    "checkpoint.py": "from labelgan.data import store\n",
    "gan/train.py": "import labelgan.data.store\nfrom labelgan.gan.sample import x\nimport torch\n",
    "gan/sample.py": "from . import train\n",
    "report/html.py": "from labelgan.data import pictures\n",
    "study/run.py": "from labelgan.gan import train\nfrom labelgan.seg import x\nfrom labelgan.report import html\n",
    "api.py": "from labelgan.study import run\nfrom labelgan.config.base import Config\n",
    "cli.py": "from labelgan import api, __version__\n",
}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


def test_a_sound_house_passes(tmp_path):
    assert violations(plant(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("gan/bad.py", "from labelgan.seg import train", "gan/bad.py:1: gan must not import seg"),
        ("seg/bad.py", "import labelgan.gan.sample as s", "seg/bad.py:1: seg must not import gan"),
        ("audit/bad.py", "\n\ndef f():\n    from labelgan import gan", "audit/bad.py:4: audit must not import gan"),
        ("audit/bad.py", "from ..gan import train", "audit/bad.py:1: audit must not import gan"),
        ("audit/deep/bad.py", "from ...gan.train import x", "audit/deep/bad.py:1: audit must not import gan"),
        ("audit/__init__.py", "from ..seg import x", "audit/__init__.py:1: audit must not import seg"),
        ("data/bad.py", "from labelgan.gan import train", "data/bad.py:1: data must not import gan"),
        ("data/bad.py", "from labelgan import api", "data/bad.py:1: data must not import api"),
        ("data/bad.py", "from labelgan import train", "data/bad.py:1: data must not import 'train' from the front"),
        (
            "data/bad.py",
            "import labelgan\nlabelgan.train()",
            "data/bad.py:2: data must not import 'train' from the front",
        ),
        ("config.py", "import labelgan.data.case", "config.py:1: config must not import data"),
        ("metrics.py", "import torch", "metrics.py:1: metrics must not import torch"),
        (
            "gan/bad.py",
            "if TYPE_CHECKING:\n    from labelgan.cli.app import app",
            "gan/bad.py:2: gan must not import cli",
        ),
        ("gan/bad.py", "import importlib\nimportlib.import_module('labelgan.study.run')", "gan must not import study"),
        ("study/bad.py", "from labelgan.api.base import train", "study/bad.py:1: study must not import api"),
        ("api.py", "from labelgan import cli", "api.py:1: api must not import cli"),
        ("report/bad.py", "def f():\n    import torch.nn", "report/bad.py:2: report must not import torch"),
        ("report/bad.py", "from labelgan.gan import train", "report/bad.py:1: report must not import gan"),
        ("stray.py", "", "stray.py: 'stray' has no floor yet"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, name, source, said):
    (found,) = violations(plant(tmp_path, SOUND | {name: source}))
    assert said in found


# One test file for each module

# These have their tests elsewhere: test_cli.py runs the command line as a process too.
WITHOUT_A_TEST_FILE = {"__main__.py"}


def without_mirror(package: Path, tests: Path) -> list[str]:
    """Gives the modules, by their path inside the package, for which tests has no file at the same place."""
    modules = [path.relative_to(package) for path in sorted(package.rglob("*.py")) if path.name != "__init__.py"]
    return [
        path.as_posix()
        for path in modules
        if path.as_posix() not in WITHOUT_A_TEST_FILE and not (tests / path.parent / f"test_{path.name}").is_file()
    ]


def test_every_module_has_its_test_file():
    assert without_mirror(Path(labelgan.__file__).parent, Path(__file__).parent) == []


def test_an_exception_is_a_module():
    assert all((Path(labelgan.__file__).parent / name).is_file() for name in WITHOUT_A_TEST_FILE)


def test_a_module_without_its_test_file_is_found(tmp_path):
    plant(tmp_path / "package", SOUND | {"__main__.py": ""})
    plant(tmp_path / "tests", {f"{Path(name).parent}/test_{Path(name).name}": "" for name in SOUND})
    assert without_mirror(tmp_path / "package", tmp_path / "tests") == []
    (tmp_path / "tests" / "gan" / "test_sample.py").rename(tmp_path / "tests" / "test_sample.py")
    assert without_mirror(tmp_path / "package", tmp_path / "tests") == ["gan/sample.py"]


# Starting

HEAVY = {"torch", "nibabel", "monai", "scipy", "pandas", "matplotlib", "SimpleITK", "nilearn", "tensorboard"}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True)


def test_importing_the_package_is_light_and_fast():
    program = (
        "import sys, time; start = time.process_time(); import labelgan; spent = time.process_time() - start; "
        "labelgan.__version__; import json; print(json.dumps([spent, sorted(sys.modules)]))"
    )
    spent, modules = json.loads(run_python("-c", program).stdout)
    assert "labelgan" in modules
    assert not HEAVY & set(modules)
    # of the processor, so that a busy machine does not matter
    assert spent < 1.0


def test_what_is_asked_for_is_loaded_when_it_is():
    loaded = "print(*(name in sys.modules for name in ('labelgan.api.base', 'torch')))"
    shown = run_python("-c", f"import labelgan, sys; {loaded}; labelgan.train; {loaded}").stdout
    assert shown == "False False\nTrue False\n"
    for name in labelgan.__all__:
        assert getattr(labelgan, name) is not None
    assert dir(labelgan) == labelgan.__all__
    with pytest.raises(AttributeError, match="module 'labelgan' has no attribute 'trian'"):
        labelgan.trian  # noqa: B018


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["nonsense"]])
def test_help_and_usage_errors_import_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "labelgan", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (2 if arguments == ["nonsense"] else 0)
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE)
    imported = {name.split(".")[0] for _, name in lines}
    assert "typer" in imported
    assert not HEAVY & imported
    assert sum(int(own) for own, _ in lines) < 5e6  # microseconds, on a machine that may be busy


def test_every_report_module_works_without_torch():
    """`report` must not reach torch through another module either."""
    package = Path(labelgan.__file__).parent
    paths = [path.relative_to(package.parent).with_suffix("").parts for path in (package / "report").glob("*.py")]
    names = [".".join(part for part in parts if part != "__init__") for parts in paths]
    program = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('torch' in sys.modules)"
    assert run_python("-c", program).stdout == "False\n"
