from __future__ import annotations

from labelgan.api import segment as api_segment
from labelgan.cli.app import run_command


def test_scores_come_with_pictures(capsys, tiny_segmenter, phantom_cohort, tmp_path):
    api_segment.segment_predict(tiny_segmenter, phantom_cohort, tmp_path / "out")
    arguments = ["score", phantom_cohort, tmp_path / "out", "--json", "--overlays", tmp_path / "pictures"]
    assert run_command([str(argument) for argument in arguments]) == 0
    assert f"3 pictures in {tmp_path / 'pictures'}, the worst first" in capsys.readouterr().err
    assert len(list((tmp_path / "pictures").glob("00[123]_P00[123].png"))) == 3
