"""Plans a fill: which views, from where on, and in which segments. Pure: no Kafka, no Flink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backfill.planning import RetainedTopic, earliest_from, lookback_ms, replay_start_ms
from penstock.errors import PenstockError
from penstock.time import iso
from streams.flink.submission import Offsets
from streams.plan.model import PipelinePlan

# A segment takes some seconds to begin and to end, whatever it reads, so another one gains nothing where less than this
# is left to read while the running job stands still.
_FEW_RECORDS = 100_000


@dataclass(frozen=True)
class FillRange:
    """The history that a fill replays.

    Args:
        start_ms: The Kafka timestamp at which it begins, epoch ms; 0 for the first record.
        complete_from_ms: Values as of this event time or later are complete, epoch ms.
        is_complete: Whether that is before the newest event, so that values are complete from the takeover on.
    """

    start_ms: int
    complete_from_ms: int
    is_complete: bool


def views_to_fill(
    plan: PipelinePlan, running: Mapping[str, str], names: Sequence[str], reference: str
) -> tuple[str, ...]:
    """The views (``name@version``) to fill: those that the running job lacks, or the named ones of them.

    Args:
        plan: The pipeline's plan.
        running: The views of the running job.
        names: Names of views; empty for all that are new.
        reference: The pipeline as the user named it.

    Raises:
        PenstockError: if a named view does not exist or runs already.
    """
    for name in names:
        try:
            view = plan.view(name)
        except KeyError as error:
            raise PenstockError(error.args[0], next=f"penstock features describe {reference}") from error
        if view.id in running:
            raise PenstockError(
                f"view {view.id} runs already, and its windows fill as time goes on",
                where=f"pipeline {plan.pipeline}",
                safe="nothing was changed",
                next=f"to begin it anew with its history, give View(name={name!r}) version={view.version + 1}",
            )
    return tuple(view.id for view in plan.views if view.id not in running and (not names or view.name in names))


def filling_plan(plan: PipelinePlan, views: Sequence[str]) -> PipelinePlan:
    """The plan with these views alone, without what needs no state: derived features and timers."""
    stages = []
    for stage in plan.stages:
        kept = tuple(
            view.model_copy(update={"derived": (), "refresh_ms": 0}) for view in stage.views if view.id in views
        )
        if kept:
            stages.append(stage.model_copy(update={"views": kept}))
    return plan.model_copy(update={"stages": tuple(stages)})


def require_fillable(plan: PipelinePlan) -> None:
    """Refuse a pipeline whose views cannot be filled.

    Raises:
        PenstockError: if its views take events by event time, or it has lookups.
    """
    if plan.lookups:
        # The running job's windows hold what its events were given, which a replay by Kafka's timestamps does not know.
        raise PenstockError(
            "a pipeline with lookups cannot be filled: a replay may give events other reference data than they were "
            "given",
            where=f"lookup {plan.lookups[0].name} of topic {plan.lookups[0].topic}",
            safe="nothing was changed",
            next="penstock job upgrade PIPELINE --empty, which begins new views without history",
        )
    if plan.source.order == "event_time":
        # Events of before the savepoint's positions wait in the running job, and a fill would count them twice.
        raise PenstockError(
            "a pipeline whose views take events by event time cannot be filled",
            where=f"Source(topic={plan.source.topic!r}, order='event_time')",
            safe="nothing was changed",
            next="penstock job upgrade PIPELINE --empty, which begins new views without history",
        )


def plan_range(
    plan: PipelinePlan, topics: Sequence[RetainedTopic], *, from_ms: int | None, allow_incomplete: bool
) -> FillRange:
    """Where a fill begins.

    By default, values are complete for events that are at most one longest window older than the newest: those that are
    later still change no window of an entity that has newer events.

    Args:
        plan: The plan of the views to fill.
        topics: What can be read of each source's topic.
        from_ms: The event time from which values must be complete, epoch ms; None for the default.
        allow_incomplete: Whether to fill with what there is if it is less than the longest window.

    Raises:
        PenstockError: if the topic has no valid event, or records that are needed were deleted.
    """
    topic = plan.source.topic
    triggering = [of.newest_ms for source, of in zip(plan.sources, topics, strict=True) if source.triggers]
    newest = max((newest_ms for newest_ms in triggering if newest_ms is not None), default=None)
    if newest is None:
        raise PenstockError(
            f"topic {topic} has no valid event, so there is nothing to fill new views with",
            where=topic,
            safe="nothing was changed",
            next="penstock job upgrade PIPELINE --empty",
        )
    lookback = lookback_ms(plan)
    is_truncated = any(p.first > 0 for retained in topics for p in retained.partitions.values())
    if lookback is None:
        if is_truncated and not allow_incomplete:
            raise PenstockError(
                "a lifetime window counts from the topic's first record, and retention has deleted records",
                where=topic,
                safe="nothing was changed",
                next="read them from an archive (--source ARCHIVE); or fill with what is left: --allow-incomplete",
            )
        return FillRange(0, 0, not is_truncated)
    earliest = max(earliest_from(lookback, retained) for retained in topics)
    if from_ms is None:
        longest = max(view.longest_window_ms or 0 for view in plan.views)
        from_ms = max(newest - longest, min(earliest, newest))
    if from_ms >= earliest:
        return FillRange(max(0, replay_start_ms(plan, from_ms)), from_ms, is_complete=True)
    if not allow_incomplete:
        possible = f"--from {iso(earliest)}, or later; or " if earliest <= newest else ""
        raise PenstockError(
            f"retention has deleted records that values as of {iso(from_ms)} depend on",
            where=topic,
            safe="nothing was changed",
            next=f"{possible}read them from an archive (--source ARCHIVE); or fill with what is left: "
            "--allow-incomplete",
        )
    return FillRange(0, earliest, is_complete=earliest <= newest)


def first_segment(starts: Sequence[Mapping[int, int]], committed: Sequence[Mapping[int, int]]) -> tuple[Offsets, ...]:
    """The offsets of the first segment, of each source: to where the running job has been, and not beyond.

    Args:
        starts: The first offset of each partition to replay.
        committed: The running job's committed offsets; a partition of which it has read nothing has none.
    """
    return tuple(
        Offsets(start=dict(start), end={n: max(at, ends.get(n, at)) for n, at in start.items()})
        for start, ends in zip(starts, committed, strict=True)
    )


def next_segment(before: Sequence[Offsets], committed: Sequence[Mapping[int, int]]) -> tuple[Offsets, ...] | None:
    """The offsets of a segment after another; None if so few are left that the takeover should begin."""
    segment = first_segment([offsets.end for offsets in before], committed)
    left = sum(offsets.records for offsets in segment)
    return None if left <= max(_FEW_RECORDS, sum(offsets.records for offsets in before) // 2) else segment
