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

PACKAGE = Path(labelgan.__file__).parent

# A box is a package directly under labelgan. It may import from lower floors only: boxes on one floor never import each
# other (gan, audit and seg above all).
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"core"}),
    frozenset({"config", "training"}),
    frozenset({"data"}),
    frozenset({"gan", "seg", "audit", "scoring"}),
    frozenset({"report", "studio", "integrations"}),
    frozenset({"study"}),
    frozenset({"api"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
FLOOR_OF = {box: floor for floor, boxes in enumerate(FLOORS) for box in boxes}

# What must not be imported, not even inside a function: by package or module, relative to labelgan.
FORBIDDEN_PACKAGES = {"report": {"torch"}, "scoring.metrics": {"torch"}, "scoring.pair": {"torch"}}

MAX_ENTRIES = 16  # files and folders of a package folder
MAX_LINES = 500  # of a module


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


def modules(package: Path) -> dict[str, Path]:
    """Gives dotted name and path of every module under ``package`` (the folder of labelgan)."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [part for part in path.relative_to(package).with_suffix("").parts if part != "__init__"]
        found[".".join(["labelgan", *parts])] = path
    return found


def violations(package: Path) -> list[str]:
    """Gives one line for every import under ``package`` that points the wrong way."""
    found = []
    for module, path in modules(package).items():
        if module == "labelgan":
            continue  # the front door, which offers what lies below it
        inside, box = path.relative_to(package), module.split(".")[1]
        if box not in FLOOR_OF:
            found.append(f"{inside}: '{box}' has no floor yet; give it one in FLOORS")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in sorted(set(imported_names(tree, module, path.stem == "__init__"))):
            reason = _why_not(module.removeprefix("labelgan."), name.split("."))
            if reason:
                found.append(f"{inside}:{line}: {reason}")
    return found


def _why_not(module: str, name: list[str]) -> str | None:
    box = module.split(".")[0]
    if name[0] != "labelgan":
        banned = next((names for of, names in FORBIDDEN_PACKAGES.items() if f"{module}.".startswith(f"{of}.")), ())
        return (
            f"{module if module in FORBIDDEN_PACKAGES else box} must not import {name[0]}"
            if name[0] in banned
            else None
        )
    if len(name) == 1 or name[1] == box:
        return None
    target = name[1]
    if target not in FLOOR_OF:
        return f"{box} must not import '{target}' from the front of the package"
    return None if FLOOR_OF[target] < FLOOR_OF[box] else f"{box} must not import {target}"


def circles(package: Path) -> list[list[str]]:
    """Gives the groups of modules that import each other in a circle, at any depth of their code."""
    paths = modules(package)
    reach: dict[str, set[str]] = {}
    for module, path in paths.items():
        reach[module] = set()
        for _, name in imported_names(ast.parse(path.read_text(encoding="utf-8")), module, path.stem == "__init__"):
            target = name if name in paths else name.rpartition(".")[0]
            if target in paths and target != module:
                reach[module].add(target)
    reach.pop("labelgan", None)
    changed = True
    while changed:  # transitive closure; a few hundred modules
        changed = False
        for module, targets in reach.items():
            more = set().union(*(reach.get(target, set()) for target in targets)) - targets
            if more:
                reach[module] = targets | more
                changed = True
    groups = {tuple(sorted(m for m in reach if m in reach[module] and module in reach[m])) for module in reach}
    return sorted(list(group) for group in groups if group)


def overfull(package: Path) -> list[str]:
    """Gives folders with more than `MAX_ENTRIES` entries and modules of more than `MAX_LINES` lines."""
    found = []
    for folder in sorted({path.parent for path in package.rglob("*.py")}):
        entries = [entry.name for entry in folder.iterdir() if entry.name not in ("__pycache__", "__init__.py")]
        if folder == package:
            entries = [name for name in entries if name not in ("__main__.py", "py.typed")]
        if len(entries) > MAX_ENTRIES:
            found.append(f"{folder.relative_to(package.parent)}: {len(entries)} entries")
    for path in modules(package).values():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            found.append(f"{path.relative_to(package.parent)}: {lines} lines")
    return found


def test_imports_point_down():
    assert violations(PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(PACKAGE) == []


def test_no_folder_and_no_module_is_overfull():
    assert overfull(PACKAGE) == []


def test_there_are_fourteen_boxes():
    boxes = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert boxes == set(FLOOR_OF) - {"__main__"}
    assert len(boxes) == 14


def test_the_picture_in_the_docs_has_every_box_and_no_wildcard():
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = text.partition("## Floors")[2].partition("\n## ")[0]
    assert drawn, "docs/architecture.md has no section 'Floors'"
    assert "*" not in drawn.replace("**", "")
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}):
        assert f"{folder.name}/" in drawn, f"{folder.relative_to(PACKAGE)} is not drawn"


SOUND = {
    "__init__.py": "from labelgan.api import train\n",
    "core/__init__.py": "",
    "core/errors.py": "",
    "config/base.py": "from labelgan.core.errors import ConfigError\n",
    "data/__init__.py": "",
    "data/case.py": "from . import store\nfrom ..core import errors\nfrom ..config import Config\nimport torch\n",
    "data/store.py": "import labelgan.core.version\nfrom labelgan.core.version import __version__\n",
    "training/checkpoint.py": "from labelgan.core import files\n",
    "gan/train.py": "import labelgan.data.store\nfrom labelgan.gan.sample import x\nimport torch\n",
    "gan/sample.py": "from labelgan.training import checkpoint\n",
    "scoring/metrics.py": "import numpy\n",
    "report/html.py": "from labelgan.data import pictures\n",
    "study/run.py": "from labelgan.gan import train\nfrom labelgan.seg import x\nfrom labelgan.report import html\n",
    "api/base.py": "from labelgan.study import run\nfrom labelgan.config import Config\n",
    "cli/app.py": "from labelgan import api\nfrom labelgan.core.version import __version__\n",
}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


def test_a_sound_house_passes(tmp_path):
    package = plant(tmp_path, SOUND)
    assert violations(package) == []
    assert circles(package) == []
    assert overfull(package) == []


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
        ("data/bad.py", "import labelgan\nlabelgan.train()", "bad.py:2: data must not import 'train' from the front"),
        ("config/bad.py", "import labelgan.data.case", "config/bad.py:1: config must not import data"),
        ("config/bad.py", "from labelgan.training import x", "config/bad.py:1: config must not import training"),
        ("scoring/metrics.py", "import torch", "scoring/metrics.py:1: scoring.metrics must not import torch"),
        ("gan/bad.py", "if TYPE_CHECKING:\n    from labelgan.cli import app", "gan/bad.py:2: gan must not import cli"),
        ("gan/bad.py", "import importlib\nimportlib.import_module('labelgan.study.run')", "gan must not import study"),
        ("study/bad.py", "from labelgan.api import train", "study/bad.py:1: study must not import api"),
        ("api/bad.py", "from labelgan import cli", "api/bad.py:1: api must not import cli"),
        ("report/bad.py", "def f():\n    import torch.nn", "report/bad.py:2: report must not import torch"),
        ("report/bad.py", "from labelgan.studio import app", "report/bad.py:1: report must not import studio"),
        ("stray.py", "", "stray.py: 'stray' has no floor yet"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, name, source, said):
    (found,) = violations(plant(tmp_path, SOUND | {name: source}))
    assert said in found


def test_a_planted_circle_is_found(tmp_path):
    bad = {"gan/sample.py": "def f():\n    from labelgan.gan import watch\n", "gan/watch.py": "from . import train\n"}
    assert circles(plant(tmp_path, SOUND | bad)) == [
        ["labelgan.gan.sample", "labelgan.gan.train", "labelgan.gan.watch"]
    ]


def test_a_planted_crowd_is_found(tmp_path):
    package = plant(tmp_path / "labelgan", SOUND | {f"seg/m{i}.py": "" for i in range(17)} | {"seg/m0.py": "\n" * 501})
    assert overfull(package) == ["labelgan/seg: 17 entries", "labelgan/seg/m0.py: 501 lines"]


# Tests mirror packages


def without_tests(package: Path, tests: Path) -> list[str]:
    """Gives the package folders for whose modules tests has no file in the folder of the same name."""
    folders = sorted({path.parent.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"})
    folders = [folder for folder in folders if folder != Path()]
    return [folder.as_posix() for folder in folders if not list((tests / folder).glob("test_*.py"))]


def test_every_package_has_its_tests():
    assert without_tests(PACKAGE, Path(__file__).parent) == []


def test_a_package_without_tests_is_found(tmp_path):
    plant(tmp_path / "package", SOUND)
    plant(tmp_path / "tests", {f"{Path(name).parent}/test_{Path(name).name}": "" for name in SOUND})
    assert without_tests(tmp_path / "package", tmp_path / "tests") == []
    (tmp_path / "tests" / "scoring" / "test_metrics.py").rename(tmp_path / "tests" / "test_metrics.py")
    assert without_tests(tmp_path / "package", tmp_path / "tests") == ["scoring"]


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
    package = PACKAGE
    paths = [path.relative_to(package.parent).with_suffix("").parts for path in (package / "report").glob("*.py")]
    names = [".".join(part for part in parts if part != "__init__") for parts in paths]
    program = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('torch' in sys.modules)"
    assert run_python("-c", program).stdout == "False\n"
