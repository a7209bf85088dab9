from bench.experiments.game_share import ARMS, table


def test_the_table_has_means_over_patients_then_draws():
    found = {
        "1": {arm: {"a": 0.2, "b": 0.4} for arm in ARMS},
        "0": {arm: {"a": 0.6, "b": 0.8} for arm in ARMS},
    }
    lines = table(found).splitlines()
    assert lines[2] == "| classical | 0.500 | 0.700 0.300 |"
    assert len(lines) == 2 + len(ARMS)
