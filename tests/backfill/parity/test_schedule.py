"""Comparing on a schedule, with the clocks of the test."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from backfill.parity.check import Parity
from backfill.parity.findings import Findings
from backfill.parity.schedule import ParityMetrics, run_scheduled
from backfill.parity.sources import Range
from backfill.parity.values import RECORD, Cause, Difference, Place
from penstock.errors import PenstockError

PLACE = Place(0, 0, 1)


def result(values: int, unexplained: int = 0) -> Parity:
    findings = Findings()
    findings.compared[RECORD, ""] = values
    one = Difference(RECORD, "", "features", Cause.UNEXPLAINED, None, PLACE, None, None, None, PLACE)
    findings.add([one] * unexplained)
    return Parity("ads", Range(0, 1), "the kernel", values, 1, findings)


def run(outcomes: Sequence[Parity | PenstockError], took_s: float = 10) -> tuple[CollectorRegistry, list[int], float]:
    """The metrics after these runs, their numbers, and how long the loop waited in all."""
    registry, numbers, now, stop, waited = CollectorRegistry(), list[int](), [1_000.0], threading.Event(), [0.0]

    def compare(number: int) -> Parity:
        numbers.append(number)
        now[0] += took_s
        if len(numbers) == len(outcomes):
            stop.set()
        outcome = outcomes[number]
        if isinstance(outcome, PenstockError):
            raise outcome
        return outcome

    class Stop(threading.Event):
        def is_set(self) -> bool:
            return stop.is_set()

        def wait(self, timeout: float | None = None) -> bool:
            waited[0] += timeout or 0
            now[0] += timeout or 0
            return stop.is_set()

    metrics = ParityMetrics(registry, "ads", 60, now[0])
    run_scheduled(compare, metrics, 60, Stop(), monotonic=lambda: now[0], now_s=lambda: now[0])
    return registry, numbers, waited[0]


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"penstock_parity_{name}", {"pipeline": "ads", **labels})


def test_a_result_is_shown_and_the_next_run_begins_an_interval_later() -> None:
    registry, numbers, waited = run([result(100), result(80, unexplained=2)])
    assert (numbers, waited) == ([0, 1], 2 * (60 - 10))
    assert value(registry, "values") == 80
    assert value(registry, "differences", cause="unexplained") == 2
    assert value(registry, "differences", cause="late") == 0
    assert value(registry, "checked_timestamp_seconds") == 1_000 + 60 + 10
    assert value(registry, "interval_seconds") == 60
    assert value(registry, "runs_total", outcome="compared") == 2


def test_a_run_that_cannot_compare_changes_no_result_and_is_counted() -> None:
    registry, _, _ = run([result(100, unexplained=1), PenstockError("Kafka is away"), result(0)])
    assert value(registry, "values") == 100
    assert value(registry, "differences", cause="unexplained") == 1
    assert value(registry, "checked_timestamp_seconds") == 1_010
    assert value(registry, "runs_total", outcome="failed") == 1
    assert value(registry, "runs_total", outcome="nothing") == 1


def test_before_the_first_comparison_the_start_counts_as_the_last_one() -> None:
    registry, _, _ = run([PenstockError("Kafka is away")])
    assert value(registry, "checked_timestamp_seconds") == 1_000


def test_a_run_that_takes_longer_than_the_interval_is_followed_at_once() -> None:
    assert run([result(1), result(1)], took_s=100)[2] == 0
