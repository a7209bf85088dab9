from __future__ import annotations

import pytest

from labelgan.cli.errors import error_line


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (
            OSError(28, "No space left on device", "run/a"),
            "run/a: no space left on device; what was finished is kept: make room and go on",
            2,
        ),
        (OSError(30, "Read-only file system", "run"), "run: read-only file system", 2),
        (PermissionError(13, "Permission denied"), "this machine: permission denied", 2),
        (MemoryError(), "memory: there is not enough of it: the machine gave no more", 1),
        (OSError("odd"), "OSError: odd (a fault of labelgan; --debug shows where)", 1),
    ],
)
def test_what_the_machine_refuses_is_no_fault_of_the_program(error, line, code):
    assert error_line(error) == (line, code)
