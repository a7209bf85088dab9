"""The notebooks run from their first cell to their last, with their parameters made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

# Phantoms of half the resolution, and a study's jobs in the kernel itself.
SMALLER = """
import functools
import labelgan
from labelgan.study.engine.engines import ENGINES, InlineEngine
labelgan.phantom = functools.partial(labelgan.phantom, shape=(66, 128, 28))
ENGINES["local"] = lambda ledger, config: InlineEngine()
"""

# Name, the parameters that are made small, and what must be said on the way.
RUNS = [
    (
        "folder_to_verdict",
        "GENERATOR_STEPS = 4; SEGMENTER_STEPS = 4; SAMPLES = 32; PATIENTS = 4",
        (
            "wmh layout; 4 cases; 4 patients",
            "of real slices;",
            "diversity - spread of samples",
            "Too few patients to say",
        ),
    ),
    (
        "in_your_pipeline",
        "STEPS = 4",
        ("was made from the held-out case P001", "(16, 2, 64, 64) (16, 1, 64, 64)", "1 fold(s) validate on ['P004']"),
    ),
]


def read(name: str) -> Any:
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def test_every_notebook_is_run_and_kept_without_outputs():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {name for name, *_ in RUNS}
    for name, *_ in RUNS:
        cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
        assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
        assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what runs the kernel
@pytest.mark.parametrize(("name", "small", "said"), RUNS, ids=[name for name, *_ in RUNS])
def test_a_notebook_runs_to_its_end(name, small, said, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    notebook = read(name)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += f"\n{small}\n{SMALLER}"
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    words = "".join(output.text for output in outputs if output.output_type == "stream")
    assert all(phrase in words for phrase in said), words
    assert "Traceback" not in words
