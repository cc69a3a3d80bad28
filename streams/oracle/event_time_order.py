"""The oracle of the order of a source with ``order="event_time"``.

It is the naive counterpart of ``penstock.kernel.order`` in a replay, which uses no wall clock. "Order" in
docs/concepts/semantics.md describes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streams.plan.model import SourcePlan

# The watermark advances in steps of at least a hundredth of the disorder.
_STEPS_PER_DISORDER = 100
# Flink's watermark before the first one: no event has a lesser time.
_NO_WATERMARK = -(2**63)


class Arrival(NamedTuple):
    """A valid event, duplicate or not: event time, position and Kafka timestamp; times in epoch ms."""

    time: int
    partition: int
    offset: int
    timestamp: int


def order_by_event_time(source: SourcePlan, partitions: int, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Order events as views process them.

    An event waits until the watermark has passed its time. Waiting events are processed by (time, partition, offset).
    An event that arrives after the watermark has passed its time is processed at once.

    Args:
        source: The source.
        partitions: The number of partitions that are replayed.
        arrivals: The events, in the order of the replay.
    """
    ordered: list[Arrival] = []
    waiting: list[Arrival] = []
    clock = start = arrivals[0].timestamp if arrivals else 0
    watermark: int | None = None
    newest: dict[int, int] = {}
    last_active: dict[int, int] = {}

    def advance(step: int) -> None:
        nonlocal watermark
        if len(newest) < partitions and clock - start <= source.idle_after_ms:
            return
        active = [newest[p] for p in newest if clock - last_active[p] <= source.idle_after_ms]
        if not newest:
            return
        candidate = min(active) - source.disorder_ms - 1 if active else max(newest.values())
        if candidate <= _NO_WATERMARK:
            return
        if watermark is None or candidate - watermark >= step:
            watermark = candidate
            due = sorted(arrival for arrival in waiting if arrival.time <= candidate)
            ordered.extend(due)
            waiting[:] = [arrival for arrival in waiting if arrival.time > candidate]

    for arrival in arrivals:
        (waiting if watermark is None or arrival.time > watermark else ordered).append(arrival)
        clock = max(clock, arrival.timestamp)
        advance(1)
        last_active[arrival.partition] = clock
        newest[arrival.partition] = max(newest.get(arrival.partition, arrival.time), arrival.time)
        advance(max(1, source.disorder_ms // _STEPS_PER_DISORDER))
    return ordered + sorted(waiting)


def may_be_out_of_order(
    source: SourcePlan, arrivals: Iterable[Arrival], margin_ms: int = 2_000
) -> set[tuple[int, int]]:
    """The (partition, offset) of the events that a live job is allowed to process out of order.

    An event is one of them if it is more than the disorder older than an earlier event of its partition, if it is the
    first of its partition, or if its partition was idle before it: the watermark does not wait for an idle partition.
    Whether it was idle is decided by Kafka's timestamps, within ``margin_ms``.

    Args:
        source: The source.
        arrivals: Its valid events, in offset order within each partition.
        margin_ms: How much shorter the job's idle time may be than the one between the timestamps.
    """
    newest: dict[int, int] = {}
    last_active: dict[int, int] = {}
    allowed = set()
    for time, partition, offset, timestamp in arrivals:
        before = newest.get(partition)
        if (
            before is None
            or before > time + source.disorder_ms
            or timestamp - last_active[partition] >= source.idle_after_ms - margin_ms
        ):
            allowed.add((partition, offset))
        newest[partition] = time if before is None else max(before, time)
        last_active[partition] = timestamp
    return allowed
