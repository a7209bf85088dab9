"""The exceptions that users meet: one line each, naming the file or option and the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LONGEST_REASON = 2000  # what a file holds may end up in a reason, and a file may hold anything

EXIT_DONE = 0
EXIT_PROBLEMS = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130


class LabelganError(Exception):
    """Base of every error that LabelGAN raises on purpose; the command line prints it as one line.

    Args:
        subject: the file, folder, option or case that is at fault.
        reason: what is wrong with it, and what to do where that is known.
    """

    exit_code = EXIT_USAGE

    def __init__(self, subject: str | Path, reason: str) -> None:
        self.subject = str(subject)
        whole = " ".join(reason.split())
        self.reason = whole if len(whole) <= LONGEST_REASON else f"{whole[: LONGEST_REASON - 4]} ..."
        super().__init__(f"{self.subject}: {self.reason}")


class ConfigError(LabelganError):
    """An option or configuration value is unknown or out of range."""


class DataError(LabelganError):
    """A file or folder of images cannot be used."""


class CheckpointError(LabelganError):
    """A checkpoint, run folder or model file cannot be used."""


class TrainingError(LabelganError):
    """Training stopped by itself, for instance on a non-finite loss."""

    exit_code = EXIT_PROBLEMS


class LeakError(LabelganError):
    """Held-out data, or synthetic data derived from it, would meet training data."""

    exit_code = EXIT_REFUSED


class RefusedError(LabelganError):
    """The result would be worthless or harmful, for instance samples of a collapsed generator."""

    exit_code = EXIT_REFUSED


def reworded(error: Exception, rewrite: Callable[[str], str]) -> Exception:
    """The same error in other words, of the same kind and exit code, with the same traceback.

    An operating system's error keeps its number. What else is no LabelganError stays as it is where nothing is to be
    rewritten, and otherwise becomes a RuntimeError that names its kind.
    """
    if isinstance(error, LabelganError):
        return type(error)(rewrite(error.subject), rewrite(error.reason)).with_traceback(error.__traceback__)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        known = type(error)(error.errno, error.strerror, rewrite(str(error.filename)))
        return known.with_traceback(error.__traceback__)
    before = f"{type(error).__name__}: {error}"
    after = rewrite(before)
    return error if after == before else RuntimeError(after).with_traceback(error.__traceback__)
