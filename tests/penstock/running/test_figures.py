"""Rates, times to clear and latencies."""

from __future__ import annotations

import pytest

from penstock.running.figures import Backlog, Health, Latency, Meter


def test_a_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter()
    assert meter.per_second is None
    for second in range(100):
        meter.set(second * (10 if second < 50 else 20), float(second))
    assert meter.per_second == pytest.approx(20)
    meter.set(5, 99.0)
    same = Meter()
    same.set(1, 0.0)
    same.set(2, 0.0)
    assert same.per_second is None


def test_a_shorter_window_forgets_sooner_and_the_latest_reading_is_told() -> None:
    meter = Meter(3.0)
    assert meter.latest == 0
    for second in range(20):
        meter.set(min(second, 10) * 100, float(second))
    assert (meter.latest, meter.per_second) == (1_000, 0.0)


@pytest.mark.parametrize(
    ("records", "changing", "expected"), [(100, -20.0, 5.0), (100, 0.0, None), (100, None, None), (0, 3.0, 0.0)]
)
def test_a_backlog_clears_in(records: int, changing: float | None, expected: float | None) -> None:
    assert Backlog(records, 1.0, changing).clears_s == expected


def test_latencies_are_quantiles_of_what_there_is() -> None:
    assert Latency.of([]) is None
    assert Latency.of([(50, 7), (90, 3)]) == Latency(7.0, 7.0, 2, 90)
    many = Latency.of([(n, n) for n in range(1, 201)])
    assert many is not None
    assert (many.p50_ms, many.p99_ms) == (101, 199)


def test_a_service_that_is_healthy_so_far_may_not_have_started() -> None:
    assert not Health(True, "not started after 3 s").has_started
    assert Health(True, "caught up").has_started
