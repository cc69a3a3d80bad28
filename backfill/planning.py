"""Which part of the raw topics a backfill has to replay, and whether that part is still there. Pure: no Kafka.

Rows are wanted of the events whose time is in [from, to). To compute them as they were served, every event that can
matter to them must be replayed before them: those of one window and one hop back, and what may make a duplicate of
those. An event's time is at most ``max_future`` ahead of its Kafka timestamp (later ones are dead letters), so that all
that can matter has a Kafka timestamp of at least :func:`start_ms`; to a lifetime window, all can matter. Late events
may come at any time: the replay goes to each topic's end, as it is when the backfill is planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.time import iso
from streams.flink.submission import Offsets, Replay
from streams.plan.model import PipelinePlan

# What waits for its turn in the job's memory, on average: enough to read at full speed between two announcements of
# how far a partition may go, which come twice a second.
_AHEAD_RECORDS = 50_000
_LEAST_AHEAD_MS = 1_000


@dataclass(frozen=True)
class Partition:
    """What one partition of the raw topic holds.

    Args:
        first: The first offset that is retained; more than 0 if records were deleted.
        start: The first offset with at least the Kafka timestamp that was asked for; ``end`` if there is none.
        end: One past the last committed record.
        first_timestamp: Kafka timestamp of the first retained record, epoch ms; None of an empty partition.
    """

    first: int
    start: int
    end: int
    first_timestamp: int | None


@dataclass(frozen=True)
class RetainedTopic:
    """What the raw topic holds; times are None if it holds no valid event.

    ``oldest_ms`` and ``newest_ms`` are event times, found near both ends of each partition; ``newest_timestamp`` is the
    greatest Kafka timestamp there.
    """

    partitions: Mapping[int, Partition]
    oldest_ms: int | None
    newest_ms: int | None
    newest_timestamp: int


def start_ms(plan: PipelinePlan, from_ms: int) -> int:
    """The Kafka timestamp from which the replay must read; 0 for all that the topic holds."""
    reach = reach_ms(plan)
    return 0 if reach is None else from_ms - reach


def reach_ms(plan: PipelinePlan) -> int | None:
    """How far before ``from``, in Kafka's time, the replay must begin; None if a window is a lifetime.

    The horizon of duplicates is added to the longest window, since a copy within the window may follow an original
    before it; and to a source that is taken by event time what its watermark needs to be what it was.
    """
    if any(feature.is_lifetime for view in plan.views for feature in view.features):
        return None
    longest = max(feature.window_ms + feature.hop_ms for view in plan.views for feature in view.features)
    settling = plan.source.disorder_ms + plan.source.idle_after_ms if plan.source.order == "event_time" else 0
    events = max(
        source.max_future_ms + (source.dedup_horizon_ms if source.event_id is not None else 0)
        for source in plan.sources
    )
    return longest + events + settling


def plan_replay(
    plan: PipelinePlan, topics: Sequence[RetainedTopic], *, from_ms: int, to_ms: int, scratch: str, reference: str
) -> Replay:
    """The bounded part of the job's request.

    Args:
        plan: The pipeline's plan.
        topics: What the topic of each source holds, with ``start`` by the timestamp ``start_ms(plan, from_ms)``. The
            range must be within the first's; of the others nothing may be missing that matters.
        from_ms: First event time of the range.
        to_ms: First event time after it.
        scratch: The topic that the replay writes to.
        reference: How the user named the pipeline.

    Raises:
        PenstockError: if the range is empty, or a topic does not hold all of it; the message names what is possible.
    """
    topic, where = topics[0], plan.source.topic
    if from_ms >= to_ms:
        raise PenstockError(
            f"the range is empty: {iso(from_ms)} is not before {iso(to_ms)}",
            next="give --from an earlier time than --to",
        )
    if topic.oldest_ms is None or topic.newest_ms is None:
        raise PenstockError(
            f"topic {where} holds no valid event", where=where, next=f"penstock topics show {reference}"
        )
    reach = reach_ms(plan)
    shortened = [
        source.topic
        for source, held in zip(plan.sources, topics, strict=True)
        if any(one.first > 0 for one in held.partitions.values())
    ]
    if reach is None and shortened:
        raise PenstockError(
            "a lifetime window counts from the topic's first record, and retention has deleted records",
            where=", ".join(shortened),
            safe="nothing was started",
            next="keep the whole topic (retention.ms = -1), or back-fill with a version whose windows all end",
        )
    earliest, latest = max(_earliest_from(reach or 0, held) for held in topics), topic.newest_ms + 1
    possible = (
        f"--from {iso(max(earliest, topic.oldest_ms))} --to {iso(latest)}, or less"
        if earliest < latest
        else "none: what retention has left is too little for the longest window"
    )
    if from_ms < earliest:
        raise PenstockError(
            f"retention has deleted records that rows from {iso(from_ms)} on may depend on",
            where=", ".join(shortened),
            safe="nothing was started",
            next=f"the range that is possible: {possible}",
        )
    if to_ms > latest:
        raise PenstockError(
            f"the range ends after the newest event, which is of {iso(topic.newest_ms)}",
            where=where,
            safe="nothing was started",
            next=f"the range that is possible: {possible}",
        )
    if to_ms <= topic.oldest_ms:
        raise PenstockError(
            f"the range ends before the oldest event, which is of {iso(topic.oldest_ms)}",
            where=where,
            safe="nothing was started",
            next=f"the range that is possible: {possible}",
        )
    first, *others = (_offsets(held) for held in topics)
    read = [one for held in topics for one in held.partitions.values() if one.start < one.end]
    newest = max(held.newest_timestamp for held in topics)
    return Replay(
        topic=scratch,
        start=first.start,
        end=first.end,
        additional_sources=tuple(others),
        from_ms=from_ms,
        to_ms=to_ms,
        max_ahead_ms=_max_ahead_ms(read, start_ms(plan, from_ms), newest),
    )


def _offsets(topic: RetainedTopic) -> Offsets:
    read = {number: one for number, one in topic.partitions.items() if one.start < one.end}
    return Offsets(
        start={number: one.start for number, one in read.items()},
        end={number: one.end for number, one in read.items()},
    )


def _earliest_from(reach: int, topic: RetainedTopic) -> int:
    """The first ``from`` that nothing deleted can matter to: whatever was deleted is older than what is left."""
    left = [
        one.first_timestamp if one.first_timestamp is not None else topic.newest_timestamp
        for one in topic.partitions.values()
        if one.first > 0
    ]
    return max((timestamp + reach + 1 for timestamp in left), default=-(2**63))


def _max_ahead_ms(read: list[Partition], start_ms: int, newest_timestamp: int) -> int:
    """How far a partition may be read ahead: the time in which, on average, :data:`_AHEAD_RECORDS` came."""
    first = min((max(start_ms, one.first_timestamp or 0) for one in read), default=start_ms)
    records = sum(one.end - one.start for one in read)
    return max(_LEAST_AHEAD_MS, (newest_timestamp - first) * _AHEAD_RECORDS // max(1, records))
