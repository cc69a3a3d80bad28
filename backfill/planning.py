"""Plans which part of the raw topics a backfill replays, and checks that retention has kept it. Pure: no Kafka.

A backfill has rows of the events whose time is in [from, to). To compute them as they were served, the replay must also
read the earlier events that affect them: those of one window and one hop, and the originals of their duplicates. An
event's time is at most ``max_future`` ahead of its Kafka timestamp (others are dead letters), so all these events have
a Kafka timestamp of at least :func:`replay_start_ms`. A lifetime window needs the whole topic. Late events may come at
any time, so the replay ends at each topic's end as of planning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.time import iso
from streams.flink.submission import Offsets, Replay
from streams.plan.model import PipelinePlan

# Records that may wait in the job's memory, on average. What is read between two updates of the watermark alignment,
# which take up to a second to take effect, is at most this much: it limits the pace.
_AHEAD_RECORDS = 150_000
_MIN_AHEAD_MS = 1_000
_LEAST_HEAD = 10


@dataclass(frozen=True)
class RetainedPartition:
    """The retained records of one partition of a raw topic.

    Args:
        first: The first offset that is retained; more than 0 if records were deleted.
        start: The first offset whose Kafka timestamp is at least the requested one; ``end`` if there is none.
        end: One past the last committed record.
        first_timestamp: The Kafka timestamp that no deleted record exceeds, epoch ms, by :func:`first_timestamp_of`;
            None if it is not known.
    """

    first: int
    start: int
    end: int
    first_timestamp: int | None


@dataclass(frozen=True)
class RetainedTopic:
    """The retained records of a raw topic; event times are None if it has no valid event.

    ``oldest_ms`` and ``newest_ms`` are event times, sampled at both ends of each partition; ``newest_timestamp`` is the
    greatest Kafka timestamp in these samples. All are epoch ms.
    """

    partitions: Mapping[int, RetainedPartition]
    oldest_ms: int | None
    newest_ms: int | None
    newest_timestamp: int


def first_timestamp_of(head: Sequence[int], retained: int) -> int | None:
    """Return the Kafka timestamp that no deleted record of a partition exceeds; None if it is not known.

    It is the greatest of the first tenth of the records, at most of those given, and of ten at least: the very first
    one may be an old record that was sent again, or have no timestamp (-1). More would shorten the possible range of a
    small topic for nothing.

    Args:
        head: The Kafka timestamps of the first retained records, epoch ms.
        retained: How many offsets are retained.
    """
    greatest = max(head[: max(_LEAST_HEAD, retained // 10)], default=-1)
    return greatest if greatest >= 0 else None


def replay_start_ms(plan: PipelinePlan, from_ms: int) -> int:
    """Return the Kafka timestamp at which the replay begins, epoch ms; 0 for the whole topic."""
    lookback = lookback_ms(plan)
    return 0 if lookback is None else from_ms - lookback


def lookback_ms(plan: PipelinePlan) -> int | None:
    """Return how far before ``from`` the replay begins, in Kafka timestamps; None if a window is a lifetime.

    It is the sum of the longest window with its hop; the largest ``max_future`` and horizon of duplicates of a source,
    since a duplicate in the window may follow an original before it; and, if the source's order is ``event_time``, the
    time in which its watermark settles.
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
    """Return the replay of the job's request.

    Args:
        plan: The pipeline's plan.
        topics: The retained records of each source's topic, with ``start`` for the Kafka timestamp
            ``replay_start_ms(plan, from_ms)``. The range must be within the event times of the
            topics whose events have rows.
        from_ms: First event time of the range, epoch ms.
        to_ms: First event time after the range, epoch ms.
        scratch: The topic that the replay writes to.
        reference: The pipeline as the user named it.

    Raises:
        PenstockError: if the range is empty, is outside the events that have rows, or needs deleted records; the
            message names the possible range.
    """
    where = ", ".join(plan.triggering_topics)
    with_rows = [topic for source, topic in zip(plan.sources, topics, strict=True) if source.triggers]
    if from_ms >= to_ms:
        raise PenstockError(
            f"the range is empty: {iso(from_ms)} is not before {iso(to_ms)}",
            next="give --from an earlier time than --to",
        )
    oldest_ms = min((topic.oldest_ms for topic in with_rows if topic.oldest_ms is not None), default=None)
    newest_ms = max((topic.newest_ms for topic in with_rows if topic.newest_ms is not None), default=None)
    if oldest_ms is None or newest_ms is None:
        raise PenstockError(f"topic {where} has no valid event", where=where, next=f"penstock topics show {reference}")
    lookback = lookback_ms(plan)
    truncated = [
        source.topic
        for source, retained in zip(plan.sources, topics, strict=True)
        if any(partition.first > 0 for partition in retained.partitions.values())
    ]
    if lookback is None and truncated:
        raise PenstockError(
            "a lifetime window counts from the topic's first record, and retention has deleted records",
            where=", ".join(truncated),
            safe="nothing was started",
            next="keep the whole topic (retention.ms = -1), or back-fill with a version whose windows all end",
        )
    earliest, latest = max(earliest_from(lookback or 0, retained) for retained in topics), newest_ms + 1
    possible = (
        f"--from {iso(max(earliest, oldest_ms))} --to {iso(latest)}, or less"
        if earliest < latest
        else "none: retention has kept too little for the longest window"
    )
    if from_ms < earliest:
        raise PenstockError(
            f"retention has deleted records that rows from {iso(from_ms)} on may depend on",
            where=", ".join(truncated),
            safe="nothing was started",
            next=f"the possible range: {possible}",
        )
    if to_ms > latest:
        raise PenstockError(
            f"the range ends after the newest event ({iso(newest_ms)})",
            where=where,
            safe="nothing was started",
            next=f"the possible range: {possible}",
        )
    if to_ms <= oldest_ms:
        raise PenstockError(
            f"the range ends before the oldest event ({iso(oldest_ms)})",
            where=where,
            safe="nothing was started",
            next=f"the possible range: {possible}",
        )
    first, *others = (_offsets(retained) for retained in topics)
    replayed = [p for retained in topics for p in retained.partitions.values() if p.start < p.end]
    newest = max(retained.newest_timestamp for retained in topics)
    return Replay(
        topic=scratch,
        start=first.start,
        end=first.end,
        additional_sources=tuple(others),
        from_ms=from_ms,
        to_ms=to_ms,
        max_ahead_ms=max_ahead_ms(replayed, replay_start_ms(plan, from_ms), newest),
    )


def _offsets(topic: RetainedTopic) -> Offsets:
    replayed = {number: p for number, p in topic.partitions.items() if p.start < p.end}
    return Offsets(
        start={number: p.start for number, p in replayed.items()},
        end={number: p.end for number, p in replayed.items()},
    )


def earliest_from(lookback: int, topic: RetainedTopic) -> int:
    """Return the first ``from`` that depends on no deleted record; one that is never reached if no time is known."""
    first_timestamps = [
        p.first_timestamp if p.first_timestamp is not None else topic.newest_timestamp
        for p in topic.partitions.values()
        if p.first > 0
    ]
    if any(timestamp < 0 for timestamp in first_timestamps):
        return 2**63 - 1
    return max((timestamp + lookback + 1 for timestamp in first_timestamps), default=-(2**63))


def max_ahead_ms(partitions: Sequence[RetainedPartition], start_ms: int, newest_timestamp: int) -> int:
    """Return how far a partition may be read ahead: the average time in which :data:`_AHEAD_RECORDS` came."""
    first = min((max(start_ms, p.first_timestamp or 0) for p in partitions), default=start_ms)
    records = sum(p.end - p.start for p in partitions)
    return max(_MIN_AHEAD_MS, (newest_timestamp - first) * _AHEAD_RECORDS // max(1, records))
