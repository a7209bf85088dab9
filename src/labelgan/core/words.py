"""Numbers and lists as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def duration(seconds: float) -> str:
    """``9.5 s``, ``45 s``, ``12 min``, ``1 h 40 min``, ``15 h``, ``6 days``: two digits, or three."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 600:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{round(minutes / 60)} h" if minutes < 72 * 60 else f"{round(minutes / 60 / 24)} days"


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 patient``, ``3 patients``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def some(names: Sequence[str], most: int = 4) -> str:
    """``a, b, c, d and 7 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def times(shape: Iterable[int]) -> str:
    """``240×240×48``; of no sides, ``a scalar``."""
    return "×".join(map(str, shape)) or "a scalar"
