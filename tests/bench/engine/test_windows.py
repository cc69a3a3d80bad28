"""The windows of the Python peers agree with the oracle."""

from __future__ import annotations

import math

import pytest

from penstock.errors import PenstockError
from tests.bench.engine.oracle_check import check
from tests.bench.engine.peers.windows import Hot, Moments, Windows
from tests.bench.engine.workload import Workload, payments

SMALL = Workload(events=400, entities=2, windows=("1m", "5m", "1h"), tiles=6)


def results(work: Workload) -> list[list[float | None]]:
    windows, events = Windows(work.spans_ms), payments(work)
    states: dict[int, tuple[Hot, dict[str, Moments]]] = {}
    found = []
    for time, card, amount in zip(events.times.tolist(), events.card.tolist(), events.amounts.tolist(), strict=True):
        hot, cold = states.setdefault(card, (windows.new(), {}))
        found.append([None if math.isnan(x) else x for x in windows.add(hot, cold, time, amount)])
    return found


@pytest.mark.parametrize("tiles", [1, 6, 60])
def test_the_results_of_every_event_are_those_of_the_oracle(tiles: int) -> None:
    work = Workload(events=300, entities=2, windows=("1m", "5m", "1h"), tiles=tiles)
    events = payments(work)
    for number, values in enumerate(results(work)):
        check(work, events, number, [values])


def test_after_a_gap_longer_than_a_window_no_old_event_counts() -> None:
    windows = Windows([(60_000, 1_000)])
    hot, cold = windows.new(), {}
    for time in (0, 5_000, 30_000, 61_000, 500_000, 500_500, 560_400, 10_000_000):
        last = windows.add(hot, cold, time, 2.0)
    assert last[:2] == [1, 2.0]
    assert len(cold) <= 60


def test_a_wrong_result_is_an_error() -> None:
    events, found = payments(SMALL), results(SMALL)
    found[50][3] += 0.01
    with pytest.raises(PenstockError, match="event 50, card: min_1m"):
        check(SMALL, events, 50, [found[50]])
