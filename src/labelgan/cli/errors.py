"""An error as one line, and the exit code that goes with it."""

from __future__ import annotations

import errno

from labelgan.core.errors import EXIT_PROBLEMS, EXIT_USAGE, LabelganError

# What a disk or its owner may refuse; no fault of the program.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MACHINE_FAULTS = NO_ROOM | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}


def error_line(error: Exception) -> tuple[str, int]:
    """Gives the line that tells an error, and its exit code."""
    if isinstance(error, LabelganError):
        return str(error), error.exit_code
    # Usage errors of typer, whichever release of it, know how to put themselves into words.
    words = getattr(error, "format_message", None)
    if callable(words):
        return _usage_words(error, str(words())), EXIT_USAGE
    if isinstance(error, MemoryError):
        return f"memory: there is not enough of it: {str(error) or 'the machine gave no more'}", EXIT_PROBLEMS
    if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
        kept = "; what was finished is kept: make room and go on" if error.errno in NO_ROOM else ""
        return f"{error.filename or 'this machine'}: {(error.strerror or '').lower()}{kept}", EXIT_USAGE
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason} (a fault of labelgan; --debug shows where)", EXIT_PROBLEMS


def _usage_words(error: Exception, message: str) -> str:
    """Puts the option or command first, as in every other error; no words where the help was shown instead."""
    names = getattr(getattr(error, "param", None), "opts", None) or [None]
    option = getattr(error, "option_name", None) or names[0]
    message = " ".join(message.split()).removeprefix(f"Invalid value for '{option}': ")
    if option:
        close = getattr(error, "possibilities", None)
        hint = f"; did you mean {' or '.join(sorted(close))}?" if close else ""
        return f"{option}: no such option{hint}" if "o such option" in message else f"{option}: {message}"
    return f"labelgan: {message}" if message else ""
