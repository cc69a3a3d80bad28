"""Measures the rate of an engine on a topic after it has settled, and checks its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.errors import PenstockError
from tests.bench.engine import bench_topics, flight_recorder, process_cpu
from tests.bench.engine.bench_stack import BenchStack
from tests.bench.engine.engines import Engine, Running
from tests.bench.engine.oracle_check import check
from tests.bench.engine.workload import Payments, Workload

_FIRST_S = 120.0
_POLL_S = 0.1
_CHECKED = 40
# The oracle recomputes from all rows, so later records of a hot key are not checked.
_LONGEST = 5_000
# The last records of a bounded topic are not measured: they wait longer for buffers and watermarks than in a stream.
_TAIL = 0.02
_FEWEST = 1_000


@dataclass(frozen=True)
class Pace:
    """How long an engine settles after its first record, and how long it is measured then, in seconds."""

    settle_s: float
    measure_s: float


@dataclass(frozen=True)
class Rate:
    """The result of a measurement.

    Args:
        events_per_s: Result records per second in the measured interval.
        events: The number of records in that interval.
        state_bytes: The size of the last checkpoint of a Flink job; None for other engines.
        checked: The number of records that were compared with the oracle; all of them were right.
        cpu_us: CPU time per event of the engine's processes and of the broker, in microseconds.
    """

    events_per_s: float
    events: int
    state_bytes: int | None
    checked: int
    cpu_us: Mapping[str, float]


@dataclass(frozen=True)
class Load:
    """A workload whose events are on a topic."""

    work: Workload
    events: Payments
    topic: str


def measure(
    stack: BenchStack,
    engine: Engine,
    load: Load,
    name: str,
    pace: Pace,
    state: Callable[[str], int | None],
    recording: Path | None = None,
) -> Rate:
    """Run the engine on the load and measure it.

    Args:
        stack: The stack that it runs on.
        engine: The engine.
        load: The events and their topic.
        name: A unique name for this run.
        pace: How long to let it settle and to measure it.
        state: Returns the size of the last checkpoint of a job.
        recording: The file for a profile; the engine must be a JVM.

    Raises:
        PenstockError: if the engine fails, has wrong results, or finishes before it can be measured.
    """
    with (
        engine.start(stack, load.work, load.topic, name) as running,
        bench_topics.Results(stack.kafka, running.target) as results,
    ):
        pids = {"engine": running.pid, "broker": stack.pid("kafka")}
        _await(results, running, load, pace.settle_s, load.work.warm_up_events)
        if recording:
            flight_recorder.start(running.pid)
        from_count, from_cpu = results.count(), _cpu(pids)
        _await(results, running, load, pace.measure_s)
        to_count, to_cpu = results.count(), _cpu(pids)
        if recording:
            flight_recorder.stop(running.pid, recording)
        state_bytes = state(running.job_id) if running.job_id else None
        last = results.count()
    with bench_topics.Results(stack.kafka, running.target) as results:
        begin, end = _interval(results, load, last, pace)
        checked = _checked(results, running, engine, load, end)
        seconds = (results.time_ms(end) - results.time_ms(begin)) / 1_000
    bench_topics.delete(stack.kafka, [running.target])
    used = {part: (to_cpu[part] - from_cpu[part]) * 1e6 for part in pids}
    count = to_count - from_count
    # An engine that finished soon after it had settled has too few events for a CPU time per event.
    per_event = {part: us / count for part, us in used.items()} if count >= _FEWEST else {}
    return Rate((end - begin) / seconds, end - begin, state_bytes, checked, per_event)


def _await(results: bench_topics.Results, running: Running, load: Load, seconds: float, least: int = 1) -> None:
    """Wait until ``seconds`` after the first result there are at least ``least`` results, or until all have arrived."""
    enough = int(load.work.total * (1 - _TAIL / 2))
    begin, first = time.monotonic(), None
    while True:
        running.alive()
        count, now = results.count(), time.monotonic()
        first = now if first is None and count else first
        passed = 0.0 if first is None else now - first
        if count >= enough or (passed >= seconds and count >= least):
            return
        if now - begin > _FIRST_S + seconds:
            raise PenstockError(f"{running.target} holds {count} results after {now - begin:.0f} s")
        time.sleep(_POLL_S)


def _cpu(pids: Mapping[str, int]) -> dict[str, float]:
    return {part: process_cpu.seconds(pid) for part, pid in pids.items()}


def _interval(results: bench_topics.Results, load: Load, count: int, pace: Pace) -> tuple[int, int]:
    """First and last offset to measure between."""
    end = min(count, int(load.work.total * (1 - _TAIL))) - 1
    settled = results.first_since(results.time_ms(0) + int(pace.settle_s * 1_000))
    # An engine that finishes before it counts as settled is measured over the second half of its records.
    begin = max(load.work.warm_up_events, min(end // 2, end if settled is None else settled))
    if results.time_ms(end) - results.time_ms(begin) < min(1_000, pace.measure_s * 500):
        raise PenstockError(
            "the engine finished before it could be measured",
            where=f"{load.work.total} events, settled at {begin}",
            next="use a workload with more events",
        )
    return begin, end


def _checked(results: bench_topics.Results, running: Running, engine: Engine, load: Load, end: int) -> int:
    """Check a sample of records, half of them near the first measured ones; returns how many were checked."""
    first = load.work.warm_up_events
    near = np.linspace(first // 2, min(end, first + 20 * load.work.entities), _CHECKED // 2)
    sample = sorted({int(offset) for offset in (*near, *np.linspace(first, end, _CHECKED // 2))})
    numbers, checked = set(), 0
    for offset in sample:
        number, values = running.read(results.value(offset))
        numbers.add(number)
        cards = load.events.card
        if engine.windows != 0 and np.count_nonzero(cards[:number] == cards[number]) <= _LONGEST:
            check(load.work, load.events, number, values, windows=engine.windows, tiled=engine.tiled)
            checked += 1
    assert len(numbers) == len(sample), "an event has two records"
    return checked
