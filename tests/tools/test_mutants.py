from __future__ import annotations

import pytest

from tools.mutants import MUTANTS, ROOT, Mutant, as_section


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mutant_can_be_made_and_has_tests(mutant):
    text = (ROOT / "src" / "labelgan" / mutant.file).read_text(encoding="utf-8")
    compile(mutant.applied(text), mutant.file, "exec")
    assert all((ROOT / "tests" / tests).is_file() for tests in mutant.tests)


def test_a_mistake_is_made_in_one_place_or_not_at_all():
    mutant = Mutant("turned", "a.py", "x < 1", "x > 1", ())
    assert mutant.applied("if x < 1:") == "if x > 1:"
    for text in ("if x <= 1:", "x < 1 and x < 1"):
        with pytest.raises(ValueError, match=r"turned: a\.py has [02] of 'x < 1'"):
            mutant.applied(text)


def test_the_table_tells_what_was_noticed():
    rows = [
        (Mutant("one", "a.py", "", "", ()), "test_a.py::test_b"),
        (Mutant("two", "b.py", "", "", (), late=True), ""),
    ]
    text = as_section(rows)
    assert "1 of\n2 mistakes are noticed; 1 of them" in text
    assert "| one | `a.py` | `test_a.py::test_b` |" in text
    assert "| **two** | `b.py` | **nothing** |" in text
