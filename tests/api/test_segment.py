from __future__ import annotations

from labelgan.api import segment as api_segment
from labelgan.config.seg import SegConfig
from labelgan.seg.train import train_segmenter
from tiny import SEG_SETTINGS


def test_the_verbs_take_a_whole_config(phantom_store, tmp_path):
    config = SegConfig.for_segmenter("li2018", [*SEG_SETTINGS, "train.members=1"])
    result = api_segment.segment_train(phantom_store.path, tmp_path / "a", config=config, steps=2)
    straight = train_segmenter(phantom_store, tmp_path / "b", config.with_settings(["train.steps=2"]))
    assert result.losses == straight.losses
    assert result.steps == 2
