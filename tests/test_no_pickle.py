"""Nothing that is loaded may be a pickle: every loader of the package is looked at, by its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import labelgan

PACKAGE = Path(labelgan.__file__).parent

PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}

# Functions that unpickle unless they are told not to, and the argument that tells them.
GUARDED = {
    ("torch", "load"): ("weights_only", True),
    ("numpy", "load"): ("allow_pickle", False),
    ("numpy.lib.format", "read_array"): ("allow_pickle", False),
    ("numpy.lib.format", "open_memmap"): ("allow_pickle", False),
}
# Functions that unpickle whatever they are told.
BANNED = {("pandas", "read_pickle"), ("torch.hub", "load"), ("torch.package", "PackageImporter")}

# A team's first process hands its followers, which it has just started itself, their task through their standard
# input: no file and no network is between them. Nobody else may.
PIPES = {"training/launch.py": {"pickle"}}


def unpickling(source: str, where: str) -> list[str]:
    """Gives one line for everything in a module that could unpickle."""
    tree = ast.parse(source)
    names = dict(_names(tree))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in PICKLERS - PIPES.get(where, set()):
                    found.append(f"{where}:{node.lineno}: imports {module}")
        if isinstance(node, ast.Call):
            called = _dotted(node.func, names)
            module, _, function = called.rpartition(".")
            if (module, function) in BANNED:
                found.append(f"{where}:{node.lineno}: calls {called}")
            elif (module, function) in GUARDED:
                argument, value = GUARDED[module, function]
                given = {word.arg: word.value for word in node.keywords}.get(argument)
                if not (isinstance(given, ast.Constant) and given.value is value):
                    found.append(f"{where}:{node.lineno}: calls {called} without {argument}={value}")
            elif any(
                word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                for word in node.keywords
            ):
                found.append(f"{where}:{node.lineno}: calls {called} with allow_pickle")
    return found


def _names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What a name in the module stands for: ``np`` for numpy, ``load`` for torch.load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (first, first)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def test_no_loader_of_the_package_unpickles() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 100
    found = [line for path in paths for line in unpickling(path.read_text(), path.relative_to(PACKAGE).as_posix())]
    assert found == []


def test_the_one_pipe_is_still_a_pipe() -> None:
    """What the exception rests on: the task is read from standard input, and written to a process's."""
    for where in PIPES:
        source = (PACKAGE / where).read_text()
        assert source.count("pickle.load") == source.count("pickle.load(sys.stdin.buffer)") == 1
        assert source.count("pickle.dump") == source.count("process.stdin.write(pickle.dumps(task))") == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import pickle", "imports pickle"),
        ("from dill import load", "imports dill"),
        ("def f():\n    import joblib.memory", "imports joblib.memory"),
        ("import torch\ntorch.load(p)", "calls torch.load without weights_only=True"),
        ("import torch as t\nt.load(p, weights_only=False)", "calls torch.load without weights_only=True"),
        ("from torch import load as get\nget(p)", "calls torch.load without weights_only=True"),
        ("import numpy as np\nnp.load(p)", "calls numpy.load without allow_pickle=False"),
        ("import numpy as np\nnp.load(p, allow_pickle=flag)", "calls numpy.load without allow_pickle=False"),
        ("from numpy.lib import format\nformat.read_array(s)", "calls numpy.lib.format.read_array without"),
        ("import numpy as np\nnp.save(p, a, allow_pickle=True)", "calls numpy.save with allow_pickle"),
        ("import pandas as pd\npd.read_pickle(p)", "calls pandas.read_pickle"),
    ],
)
def test_a_planted_unpickler_is_found(source: str, said: str) -> None:
    (found,) = unpickling(source, "planted.py")
    assert found.startswith("planted.py:")
    assert said in found


def test_what_is_guarded_passes() -> None:
    source = "import numpy as np, torch\nnp.load(p, allow_pickle=False)\ntorch.load(p, weights_only=True)\n"
    assert unpickling(source, "sound.py") == []


def test_the_pipe_is_an_exception_of_one_module() -> None:
    assert unpickling("import pickle", "training/launch.py") == []
    assert len(unpickling("import pickle\nimport dill", "training/launch.py")) == 1
