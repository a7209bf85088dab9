from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelgan.seg.losses import cross_entropy, soft_dice_loss

SURE = 50.0


def loss_of(logits: list, masks: list) -> float:
    return float(soft_dice_loss(torch.tensor(logits).float()[:, None], torch.tensor(masks, dtype=torch.uint8)))


def test_closed_forms():
    yes, no = SURE, -SURE
    assert loss_of([[[yes, no]]], [[[1, 0]]]) == pytest.approx(0)
    assert loss_of([[[no, no]]], [[[0, 0]]]) == pytest.approx(0)  # nothing there and nothing found
    assert loss_of([[[no, yes]]], [[[1, 0]]]) == pytest.approx(1 - 1 / 3)
    assert loss_of([[[yes, yes]]], [[[1, 0]]]) == pytest.approx(1 - 3 / 4)
    assert loss_of([[[no] * 4]], [[[1] * 4]]) == pytest.approx(1 - 1 / 5)
    assert loss_of([[[0.0, 0.0]]], [[[1, 0]]]) == pytest.approx(1 - 2 / 3)  # one half everywhere


def test_the_sums_run_over_the_batch_and_not_over_each_slice():
    yes, no = SURE, -SURE
    batch = loss_of([[[yes, yes]], [[no, no]]], [[[1, 1]], [[1, 0]]])
    assert batch == pytest.approx(1 - 5 / 6)
    slices = [loss_of([[[yes, yes]]], [[[1, 1]]]), loss_of([[[no, no]]], [[[1, 0]]])]
    assert batch != pytest.approx(sum(slices) / 2)


@given(logit=st.floats(-30, 30))
def test_other_pathology_does_not_count(logit):
    there = loss_of([[[2.0, logit, -1.0]]], [[[1, 2, 0]]])
    without = loss_of([[[2.0, -1.0]]], [[[1, 0]]])
    assert there == pytest.approx(without, rel=1e-6)


def test_other_pathology_has_no_gradient():
    logits = torch.zeros(1, 1, 1, 3, requires_grad=True)
    soft_dice_loss(logits, torch.tensor([[[1, 2, 0]]], dtype=torch.uint8)).backward()
    assert logits.grad is not None
    gradient = logits.grad.flatten().tolist()
    assert gradient[0] < 0 < gradient[2]
    assert gradient[1] == 0


def test_it_is_computed_in_full_precision():
    """In bfloat16 the sum over 40,000 pixels would stop growing."""
    logits = torch.zeros(1, 1, 200, 200, dtype=torch.bfloat16)
    masks = torch.ones(1, 200, 200, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = soft_dice_loss(logits, masks)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(1 - 40_001 / 60_001, rel=1e-6)


def entropy_of(logits: list, masks: list) -> float:
    return float(cross_entropy(torch.tensor(logits).float()[:, None], torch.tensor(masks, dtype=torch.uint8)))


def test_cross_entropy_in_closed_form():
    assert entropy_of([[[0.0, 0.0]]], [[[1, 0]]]) == pytest.approx(math.log(2))
    assert entropy_of([[[SURE, -SURE]]], [[[1, 0]]]) == pytest.approx(0)
    assert entropy_of([[[-SURE, -SURE]]], [[[1, 0]]]) == pytest.approx(SURE / 2)
    quarter = math.log(3)  # logit of three quarters
    assert entropy_of([[[quarter]]], [[[1]]]) == pytest.approx(-math.log(0.75))


@given(logit=st.floats(-30, 30))
def test_cross_entropy_is_blind_to_other_pathology(logit):
    assert entropy_of([[[2.0, logit, -1.0]]], [[[1, 2, 0]]]) == pytest.approx(entropy_of([[[2.0, -1.0]]], [[[1, 0]]]))
    assert entropy_of([[[logit]]], [[[2]]]) == 0
