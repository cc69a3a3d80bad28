"""One measurement: an engine on a topic, from a settled state on, with its results checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.errors import PenstockError
from tests.bench.engine import cpu, profile, topics
from tests.bench.engine.check import check
from tests.bench.engine.engines import Engine, Running
from tests.bench.engine.site import Site
from tests.bench.engine.workload import Payments, Workload

_FIRST_S = 120.0
_POLL_S = 0.1
_CHECKED = 40
# The oracle computes from all rows: of a hot key only the early records.
_LONGEST = 5_000
# The last records of a bounded topic wait for buffers, watermarks and linger times that no stream would.
_TAIL = 0.02
_FEWEST = 1_000


@dataclass(frozen=True)
class Pace:
    """How long to let an engine settle after its first record, and to measure it then; seconds."""

    settle_s: float
    measure_s: float


@dataclass(frozen=True)
class Rate:
    """What was measured.

    Args:
        events_per_s: Result records per second between two of them.
        events: How many lie between the two.
        state_bytes: Size of the last checkpoint, of an engine in Flink.
        checked: How many records were held against the oracle, and right.
        cpu_us: CPU time per event of the engine's processes and of the broker, microseconds.
    """

    events_per_s: float
    events: int
    state_bytes: int | None
    checked: int
    cpu_us: Mapping[str, float]


@dataclass(frozen=True)
class Load:
    """A workload that stands on a topic."""

    work: Workload
    events: Payments
    topic: str


def measure(
    site: Site,
    engine: Engine,
    load: Load,
    name: str,
    pace: Pace,
    state: Callable[[str], int | None],
    recording: Path | None = None,
) -> Rate:
    """Run the engine on the load.

    Args:
        site: Where.
        engine: Which.
        load: What it is to do.
        name: Of this run; new.
        pace: How long.
        state: Gives the size of a job's last checkpoint.
        recording: Where to write a profile of the engine, which is a JVM then.

    Raises:
        PenstockError: if the engine fails, is wrong, or is done before it can be measured.
    """
    with (
        engine.start(site, load.work, load.topic, name) as running,
        topics.Results(site.kafka, running.target) as results,
    ):
        pids = {"engine": running.pid, "broker": site.pid("kafka")}
        _await(results, running, load, pace.settle_s, load.work.filling)
        if recording:
            profile.start(running.pid)
        from_count, from_cpu = results.count(), _cpu(pids)
        _await(results, running, load, pace.measure_s)
        to_count, to_cpu = results.count(), _cpu(pids)
        if recording:
            profile.stop(running.pid, recording)
        state_bytes = state(running.job_id) if running.job_id else None
        last = results.count()
    with topics.Results(site.kafka, running.target) as results:
        begin, end = _interval(results, load, last, pace)
        checked = _checked(results, running, engine, load, end)
        seconds = (results.time_ms(end) - results.time_ms(begin)) / 1_000
    topics.delete(site.kafka, [running.target])
    used = {part: (to_cpu[part] - from_cpu[part]) * 1e6 for part in pids}
    count = to_count - from_count
    # Who was through as soon as it had settled has left nothing to divide by.
    per_event = {part: us / count for part, us in used.items()} if count >= _FEWEST else {}
    return Rate((end - begin) / seconds, end - begin, state_bytes, checked, per_event)


def _await(results: topics.Results, running: Running, load: Load, seconds: float, least: int = 1) -> None:
    """Until that long after the first result there are ``least`` of them, or until all have come."""
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
    return {part: cpu.seconds(pid) for part, pid in pids.items()}


def _interval(results: topics.Results, load: Load, count: int, pace: Pace) -> tuple[int, int]:
    """First and last offset to measure between."""
    end = min(count, int(load.work.total * (1 - _TAIL))) - 1
    settled = results.first_since(results.time_ms(0) + int(pace.settle_s * 1_000))
    # Who is through before it counts as settled is measured over the second half of what it did.
    begin = max(load.work.filling, min(end // 2, end if settled is None else settled))
    if results.time_ms(end) - results.time_ms(begin) < min(1_000, pace.measure_s * 500):
        raise PenstockError(
            "the engine was through before it could be measured",
            where=f"{load.work.total} events, settled at {begin}",
            next="more events",
        )
    return begin, end


def _checked(results: topics.Results, running: Running, engine: Engine, load: Load, end: int) -> int:
    """How many of a sample are right: around the first that are measured, and from there to the last."""
    first = load.work.filling
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
