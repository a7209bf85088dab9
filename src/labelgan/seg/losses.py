"""Losses of a segmenter: soft Dice over the batch, alone or with cross-entropy, blind to other pathology."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelgan.data.volume import LESION, OTHER_PATHOLOGY
from labelgan.training.team import ALONE, Team

SMOOTH = 1.0


def soft_dice_loss(logits_N1HW: Tensor, masks_NHW: Tensor, team: Team = ALONE) -> Tensor:
    """Gives 1 - (2 Σ p t + s) / (Σ p + Σ t + s) with s = 1, the sums running over every pixel of the batch at once.

    Pixels of other pathology (label 2) are left out of the sums. Computed in fp32 whatever the logits are.

    Args:
        logits_N1HW: (N, 1, H, W), before the sigmoid.
        masks_NHW: (N, H, W) of 0, 1 and 2.
        team: the processes whose slices make up the batch.

    Returns:
        A scalar from 0 to 1, the same in all processes.
    """
    with torch.autocast(logits_N1HW.device.type, enabled=False):
        counted_NHW = masks_NHW != OTHER_PATHOLOGY
        probability_NHW = logits_N1HW[:, 0].float().sigmoid() * counted_NHW
        truth_NHW = (masks_NHW == LESION).float()
        sums = (probability_NHW * truth_NHW).sum(), probability_NHW.sum(), truth_NHW.sum()
        overlap, found, there = team.sum(torch.stack(sums))
        return 1 - (2 * overlap + SMOOTH) / (found + there + SMOOTH)


def cross_entropy(logits_N1HW: Tensor, masks_NHW: Tensor, team: Team = ALONE) -> Tensor:
    """Gives the mean binary cross-entropy over the pixels that are not other pathology; 0 where there are none.

    Computed in fp32 whatever the logits are. Shapes as in `soft_dice_loss`.
    """
    with torch.autocast(logits_N1HW.device.type, enabled=False):
        counted_NHW = (masks_NHW != OTHER_PATHOLOGY).float()
        truth_NHW = (masks_NHW == LESION).float()
        pixels = F.binary_cross_entropy_with_logits(logits_N1HW[:, 0].float(), truth_NHW, reduction="none")
        total, count = team.sum(torch.stack([(pixels * counted_NHW).sum(), counted_NHW.sum()]))
        return total / count.clamp(min=1)
