"""Tests of `training_step`: the bare loops do the work of the trainings, and the table says what was measured."""

from __future__ import annotations

import pytest
import torch

from bench.speed.measure import Ratio
from bench.speed.study.scale import Counter
from bench.speed.training_step import MODELS, Measured, bare, bare_game, bare_segmenter, rows_of, watch
from labelgan.core.rng import generator_for
from labelgan.gan.inputs.inputs import gather_content, make_inputs
from labelgan.gan.trainer import Trainer
from labelgan.seg.batches import SegBatches
from labelgan.seg.folder import MemberFolder
from labelgan.seg.member import Member
from labelgan.training.team import ALONE
from tiny import SIZE, tiny_config, tiny_seg_config


def operations(step, count: int) -> int:
    with Counter() as counter:
        for index in range(count):
            step(index)
    return counter.total


@pytest.mark.parametrize("model", MODELS)
def test_a_bare_game_multiplies_as_often_as_the_trainer(model, phantom_store) -> None:
    config = tiny_config(model, "objective.penalty_every=2", "objective.critic_steps=2")
    rows = phantom_store.select()
    inputs = make_inputs(config, gather_content(phantom_store, rows, config))
    given = inputs.batch(generator_for(0), config.train.batch_size)
    trainer = Trainer(config, 3, phantom_store.size, inputs, torch.device("cpu"))
    real_NCHW = torch.zeros(config.train.batch_size, 3, *phantom_store.size)
    ours = operations(lambda index: trainer.step(index, lambda turn: real_NCHW), 2)
    assert operations(bare_game(config, phantom_store.size, given), 2) == ours > 0


def test_a_bare_segmenter_multiplies_as_often_as_a_member(tmp_path, phantom_store) -> None:
    config = tiny_seg_config()
    batches = SegBatches(phantom_store, phantom_store.select(), None, config, 0, ALONE.device)
    member = Member(0, MemberFolder(tmp_path), config, 2, batches, 2, ALONE)
    images_NCHW = torch.randn(config.train.batch_size, 2, *SIZE)
    masks_NHW = torch.ones(config.train.batch_size, *SIZE, dtype=torch.uint8)
    ours = operations(lambda index: member._descend(images_NCHW, masks_NHW), 2)
    assert operations(bare_segmenter(config, 2, SIZE), 2) == ours > 0


def test_a_bare_step_leaves_the_deterministic_mode_on() -> None:
    seen = []
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        bare(lambda index: seen.append((index, torch.are_deterministic_algorithms_enabled())))(7)
        assert seen == [(7, False)]
        assert torch.are_deterministic_algorithms_enabled()
        with pytest.raises(ZeroDivisionError):
            bare(lambda index: 1 // 0)(0)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


def test_steps_are_summed_over_rounds_and_the_last_stands_apart() -> None:
    class Source:
        def batch(self) -> None:
            sum(range(20_000))

    def train(report) -> None:
        for step in range(6):
            Source().batch()
            report(step + 1, 6, "")

    product = lambda index: torch.mm(torch.ones(8, 8), torch.ones(8, 8))  # noqa: E731
    measured = watch(train, product, product, [(Source, "batch")], 2)
    # of the five steps after the first, the last is not in a round
    assert (
        len(measured.ours)
        == len(measured.bare)
        == len(measured.plain)
        == len(measured.product)
        == len(measured.data)
        == 2
    )
    assert measured.gflop == pytest.approx(2 * 2 * 8**3 / 1e9)
    assert all(0 < data <= ours for data, ours in zip(measured.data, measured.ours, strict=True))
    assert measured.last > 0


def test_the_rows_say_overhead_ceiling_and_waiting() -> None:
    measured = Measured(
        ours=[4.4] * 6,
        bare=[4.0] * 6,
        plain=[5.0] * 6,
        product=[0.4] * 6,
        data=[0.11] * 6,
        gflop=8.59,
        length=4,
        last=2.2,
    )
    overhead, layout, ceiling, waiting = rows_of("x", measured, 100)
    assert overhead.ratio == Ratio(pytest.approx(1.1), pytest.approx(1.1), pytest.approx(1.1), 6)  # type: ignore[arg-type]
    assert overhead.met is False
    assert layout.ratio.value == pytest.approx(1.25)
    assert "1250 ms; 1000 ms" in layout.detail
    assert ceiling.ratio.value == pytest.approx((8.59 / 4.4) / (4 * 2.147483648 / 0.4))
    assert waiting.ratio.value == pytest.approx(0.025)
    assert waiting.met is True
    assert "1100 ms; 1000 ms" in overhead.detail
    assert "add 1.0%" in overhead.detail  # (2.2 - 1.1) / 100 / 1.1
