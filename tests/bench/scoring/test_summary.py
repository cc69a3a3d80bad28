from tests.bench.scoring.__main__ import PENSTOCK, Rate, summary


def rates(*events_per_s: float) -> list[Rate]:
    return [Rate(rate, 1.0, {"part": 1e6 / rate}) for rate in events_per_s]


def test_ratios_are_of_the_same_round_and_told_with_their_spread() -> None:
    """A machine that is slow for one round is slow for all in it."""
    found = summary({PENSTOCK: rates(50, 20, 60), "relay": rates(100, 40, 80)})
    assert found["predictions_per_s"] == 50
    assert found["ratios"] == {"relay": 0.5}
    assert found["ratios_from_to"] == {"relay": [0.5, 0.75]}
