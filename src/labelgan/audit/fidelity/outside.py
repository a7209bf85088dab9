"""Values that training slices do not have: pixels outside their range."""

from __future__ import annotations

import numpy as np

from labelgan.audit.gates import Finding
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.data.prepare.limits import ValueRange

MARGIN = 0.25
"""A pixel is outside when it lies further from the range than this share of its width: air is not the same in all."""

STRETCH = 2.0
"""Bad anchor: held-out slices of so many times the contrast."""

_BLOCK = 256


def outside(data: AuditData, config: AuditConfig) -> list[Finding]:
    """``image.outside``: share of the pixels, of all channels, that lie outside the range of the training slices.

    ``extra`` has, of samples and held-out slices, the shares ``above`` and ``below``, the share of ``slices`` with such
    a pixel and the ``largest`` magnitude of a z-score; and the ``range`` of each channel.
    """
    values = ValueRange.of(data.train.images_NCHW)
    samples, held_out = (_shares(part, values) for part in (data.samples, data.held_out))
    stretched = _shares(data.held_out, values, STRETCH)
    return [
        Finding(
            "image.outside",
            "share of pixels outside the range of training slices",
            samples["pixels"],
            good=held_out["pixels"],
            bad=stretched["pixels"],
            note=f"by more than a quarter of its width; {samples['slices']:.1%} of the samples have such a pixel, "
            f"{held_out['slices']:.1%} of the held-out slices",
            extra={"samples": samples, "held_out": held_out, "range": values.to_json(data.channels), "margin": MARGIN},
        )
    ]


def _shares(slices: AuditSlices, values: ValueRange, factor: float = 1.0) -> dict[str, float]:
    margin_C = MARGIN * values.width_C
    low_C11, high_C11 = ((values.low_C - margin_C)[:, None, None], (values.high_C + margin_C)[:, None, None])
    above = below = with_any = 0
    largest = 0.0
    for rows in slices.blocks(_BLOCK):
        images_NCHW = np.float32(factor) * slices.z_scores(rows)
        over, under = images_NCHW > high_C11, images_NCHW < low_C11
        above, below = above + int(over.sum()), below + int(under.sum())
        with_any += int((over | under).any((1, 2, 3)).sum())
        largest = max(largest, float(np.abs(images_NCHW).max()))
    pixels = slices.images_NCHW.size
    return {
        "pixels": (above + below) / pixels,
        "above": above / pixels,
        "below": below / pixels,
        "slices": with_any / len(slices),
        "largest": largest,
    }
