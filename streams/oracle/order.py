"""The reference order of a source that is taken by event time: which event is taken when, and which come too late.

The naive counterpart of ``penstock.kernel.order`` in a replay, where no clock has a say; its prose is "Order" in
docs/concepts/semantics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streams.plan.model import SourcePlan

# Of a disorder, there is a watermark at most every hundredth.
_STEPS = 100


class Arrival(NamedTuple):
    """A valid event, duplicate or not: its event time, where it stands, and its Kafka timestamp; times in epoch ms."""

    time: int
    partition: int
    offset: int
    timestamp: int


def by_event_time(source: SourcePlan, partitions: int, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """``arrivals``, given in the order of a replay of so many ``partitions``, in the order in which views take them.

    An event waits until the watermark has passed its time; what has waited is taken by (time, partition, offset). An
    event that comes after the watermark has passed its time is taken at once.
    """
    taken: list[Arrival] = []
    waiting: list[Arrival] = []
    clock = began = arrivals[0].timestamp if arrivals else 0
    reached: int | None = None
    newest: dict[int, int] = {}
    heard: dict[int, int] = {}

    def advance(step: int) -> None:
        nonlocal reached
        if len(newest) < partitions and clock - began <= source.idle_after_ms:
            return
        active = [newest[p] for p in newest if clock - heard[p] <= source.idle_after_ms]
        if not newest:
            return
        candidate = min(active) - source.disorder_ms - 1 if active else max(newest.values())
        if reached is None or candidate - reached >= step:
            reached = candidate
            due = sorted(arrival for arrival in waiting if arrival.time <= candidate)
            taken.extend(due)
            waiting[:] = [arrival for arrival in waiting if arrival.time > candidate]

    for arrival in arrivals:
        (waiting if reached is None or arrival.time > reached else taken).append(arrival)
        clock = max(clock, arrival.timestamp)
        advance(1)
        heard[arrival.partition] = clock
        newest[arrival.partition] = max(newest.get(arrival.partition, arrival.time), arrival.time)
        advance(max(1, source.disorder_ms // _STEPS))
    return taken + sorted(waiting)


def may_be_late(source: SourcePlan, arrivals: Iterable[Arrival], margin_ms: int = 2_000) -> set[tuple[int, int]]:
    """The (partition, offset) of events that a live job may rightly have taken out of order; the others never.

    They are those by which their own partition goes back more than the disorder, and those before which it was silent:
    then the watermark did not wait for it. Silence is told by Kafka's timestamps, within ``margin_ms``.

    Args:
        source: The source.
        arrivals: Its valid events, in offset order within each partition.
        margin_ms: By how much a job's silence may be shorter than the timestamps say.
    """
    newest: dict[int, int] = {}
    heard: dict[int, int] = {}
    found = set()
    for time, partition, offset, timestamp in arrivals:
        before = newest.get(partition)
        if (
            before is None
            or before > time + source.disorder_ms
            or timestamp - heard[partition] >= source.idle_after_ms - margin_ms
        ):
            found.add((partition, offset))
        newest[partition] = time if before is None else max(before, time)
        heard[partition] = timestamp
    return found
