"""The export's verb, and cohorts as other libraries have them. `labelgan.api.base` has the other verbs.

Example:
    Scans and synthetic slices together, as nnU-Net reads them:

    >>> import labelgan
    >>> labelgan.export(["scans", "synthetic"], "nnUNet_raw/Dataset501_WMH", format="nnunet")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelgan.data.export.mix import Exported

Report = Callable[[int, int, str], None]


def export(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    format: str = "nnunet",
    folds: int | None = None,
    channels: Sequence[str] = (),
    exclude: Sequence[str] = (),
    drop_other: bool = False,
    seed: int = 0,
    report: Report | None = None,
) -> Exported:
    """Writes a real cohort, a synthetic one, or several mixed, for other tools; see `data.export_mix.export_sources`.

    Args:
        sources: folder of a cohort, or several.
        out: new folder.
        format: key of ``data.export.FORMATS``.
        folds: how many, for formats that keep folds; by default as the generators' held-out patients have it, or 5.
        channels: which, in order; by default all.
        exclude: ids of cases or patients to leave out.
        drop_other: make other pathology (2) background.
        seed: of the draw of folds.
        report: called as (cases done, cases, case id).
    """
    from labelgan.data.export.mix import export_sources

    roots = [sources] if isinstance(sources, str | Path) else sources
    return export_sources(
        [Path(root) for root in roots],
        Path(out),
        format,
        channels=channels,
        exclude=exclude,
        folds=folds,
        seed=seed,
        drop_other=drop_other,
        progress=report,
    )
