from __future__ import annotations

import pytest

from labelgan.core import errors
from labelgan.core.errors import LabelganError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.DataError, 2),
        (errors.CheckpointError, 2),
        (errors.TrainingError, 1),
        (errors.LeakError, 3),
        (errors.RefusedError, 3),
    ],
)
def test_every_error_is_a_labelgan_error_with_the_contracts_exit_code(kind, code):
    error = kind("--option", "is wrong")
    assert isinstance(error, LabelganError)
    assert error.exit_code == code
    assert str(error) == "--option: is wrong"


def test_an_error_is_one_line_whatever_the_reason_was():
    error = LabelganError("file.nii", "first\n   second\t third")
    assert str(error) == "file.nii: first second third"
    assert (error.subject, error.reason) == ("file.nii", "first second third")


def test_every_error_of_the_module_is_tested_above():
    kinds = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LabelganError)}
    assert len(kinds) == 7


def test_other_words_and_the_same_error():
    told = errors.reworded(errors.LeakError("/a/b", "is in /a/c"), lambda text: text.replace("/a/", ""))
    assert type(told) is errors.LeakError
    assert str(told) == "b: is in c"
    assert str(errors.reworded(OSError("no /a/b"), lambda text: text.replace("/a/", ""))) == "OSError: no b"
    denied = errors.reworded(PermissionError(13, "Permission denied", "/a/b"), lambda text: text.replace("/a/", ""))
    assert isinstance(denied, PermissionError)
    assert (denied.errno, denied.filename) == (13, "b")
    same = ValueError("nothing")
    assert errors.reworded(same, str) is same


def test_a_reason_is_never_longer_than_a_screen():
    error = LabelganError("file", "x " * 50_000)
    assert len(error.reason) <= 2000
    assert error.reason.endswith(" ...")
    assert LabelganError("file", "short").reason == "short"
