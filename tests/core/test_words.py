"""Numbers and lists in words, at the edges of their forms."""

import pytest

from labelgan.core.words import counted, duration, some, times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (89.4, "89 s"), (90, "2 min"), (5369, "89 min"),
        (5400, "1 h 30 min"), (6000, "1 h 40 min"), (10 * 3600, "10 h"), (71 * 3600, "71 h"), (6 * 86400, "6 days"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_counts_lists_and_shapes():
    assert [counted(n, "patient") for n in (0, 1, 1234)] == ["0 patients", "1 patient", "1,234 patients"]
    assert counted(2, "copy", "copies") == "2 copies"
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert some(["a", "b"], 2) == "a, b"
    assert some([]) == ""
    assert times((240, 240, 48)) == "240×240×48"
    assert times(()) == "a scalar"
