"""Runs a fill up to where it can take over; after an interruption, the same call continues it."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass

from confluent_kafka import KafkaException

from backfill import scratch
from backfill.live.manifest import FillManifest, Segment, fill_folder, forget_fill, load_fill
from backfill.live.planning import (
    filling_plan,
    first_segment,
    next_segment,
    plan_range,
    require_fillable,
    views_to_fill,
)
from backfill.live.segment_job import SegmentJob
from backfill.live.takeover import Takeover
from backfill.manifest import plan_hash, scratch_topic
from backfill.planning import RetainedTopic, max_ahead_ms
from backfill.progress_bar import ProgressBar
from backfill.resumable import exclusive_lock
from backfill.retention import read_retained_topic
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from sinks.archive.storage import without_secrets
from streams.flink import lifecycle
from streams.flink.rest import Flink, Job
from streams.flink.upgrade import UpgradePlan, plan_upgrade, require_startable
from streams.plan.project import Project


@dataclass(frozen=True)
class FillRequest:
    """The arguments of a fill.

    Args:
        views: The names of the views to fill; empty for all that the running job lacks.
        from_ms: The event time from which their values must be complete, epoch ms; None: as long before the newest
            event as the longest window.
        archive: The archive of the records that Kafka has deleted; None: only those that Kafka still has are replayed.
        max_per_s: How many events to replay in a second at most; 0: as many as possible.
        allow_incomplete: Whether to fill with what there is if it is less than the longest window.
    """

    views: tuple[str, ...] = ()
    from_ms: int | None = None
    archive: str | None = None
    max_per_s: int = 0
    allow_incomplete: bool = False


@dataclass(frozen=True)
class FillPlan:
    """What a fill would do.

    Args:
        fill: The fill; its first segment says what it replays.
        upgrade: What becomes of the other views.
        is_complete: Whether the values are complete from the takeover on.
    """

    fill: FillManifest
    upgrade: UpgradePlan
    is_complete: bool


def plan_fill(project: Project, settings: Settings, request: FillRequest) -> FillPlan | None:
    """Plan a fill without starting or writing anything; None if the running job has every view.

    Raises:
        PenstockError: if no job runs, it cannot be upgraded to the current definitions, a view cannot be filled, or
            records that are needed are gone.
    """
    upgrade = plan_upgrade(project, settings)
    views = views_to_fill(project.plan, upgrade.running.views, request.views, project.reference)
    if not views:
        return None
    require_fillable(project.plan)
    plan = filling_plan(project.plan, views)
    sources = project.pipeline.sources

    def retained(start_ms: int) -> list[RetainedTopic]:
        return [read_retained_topic(project, source, settings, start_ms, request.archive) for source in sources]

    found = plan_range(plan, retained(0), from_ms=request.from_ms, allow_incomplete=request.allow_incomplete)
    topics = retained(found.start_ms)
    first = first_segment(
        [{number: p.start for number, p in topic.partitions.items()} for topic in topics],
        _committed(project, settings),
    )
    partitions = [p for topic in topics for p in topic.partitions.values() if p.start < p.end]
    newest = max(topic.newest_timestamp for topic in topics)
    fill = FillManifest(
        pipeline=project.name,
        run=uuid.uuid4().hex[:8],
        plan=plan_hash(project.plan),
        views=views,
        complete_from_ms=found.complete_from_ms,
        max_ahead_ms=max_ahead_ms(partitions, found.start_ms, newest),
        options=upgrade.running.options,
        archive=None if request.archive is None else without_secrets(request.archive),
        segments=[Segment(sources=first)],
    )
    return FillPlan(fill, upgrade, found.is_complete)


def run_fill(
    project: Project, settings: Settings, request: FillRequest, progress: ProgressBar, stop: threading.Event
) -> Job | None:
    """Fill the new views with their history and take over; return the new job, or None if there was nothing to fill.

    If a fill of the same definitions has begun, it is continued.

    Raises:
        StoppedError: if ``stop`` was set before the takeover; the running job goes on, and the fill's progress is kept.
        PenstockError: as :func:`plan_fill`; if another fill has begun; if a job fails.
    """
    folder = fill_folder(settings, project.name)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder), Flink(settings.flink.rest) as flink:
        fill = load_fill(folder)
        if fill is None:
            plan = plan_fill(project, settings, request)
            if plan is None:
                return None
            _require_slot(flink)
            require_startable(project, settings, plan.fill.options)
            fill = plan.fill
            fill.save(folder)
            progress.note(f"fill {fill.run}: {', '.join(fill.views)}")
        else:
            _require_same(fill, project, request)
            progress.note(f"continuing fill {fill.run}")
        takeover = Takeover(project, settings, fill, folder, flink, progress)
        job = takeover.resume()
        if job is None:
            if fill.live_savepoint is None:
                _catch_up(project, settings, fill, request, flink, progress, stop)
                takeover.stop_running_job()
            takeover.add_last_segment()
            if fill.segments[-1].savepoint is None:
                # Events wait from here on, so that nothing stops it.
                _replay(project, settings, fill, request, flink, progress, threading.Event())
            job = takeover.start()
        _clean_up(settings, fill, flink, progress)
        forget_fill(folder)
        return job


def discard_fill(project: Project, settings: Settings) -> str | None:
    """Give a fill up: cancel its job, delete its topics, its group and its savepoints; return its id, None if none.

    Raises:
        PenstockError: if the running job was stopped for the takeover and no job runs since.
    """
    folder = fill_folder(settings, project.name)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder), Flink(settings.flink.rest) as flink:
        fill = load_fill(folder)
        if fill is None:
            return None
        found = lifecycle.status(project, settings)
        if fill.live_savepoint is not None and (found is None or not found.is_active):
            raise PenstockError(
                "the running job was stopped for the takeover, and no job runs since",
                where=f"pipeline {project.name}",
                safe=f"its state is in {fill.live_savepoint}, and events wait in their topic",
                next="run the same command without --discard, which takes over; or start the old job: "
                f"penstock job start {project.reference} --from-savepoint {fill.live_savepoint}"
                f"{fill.options.arguments()}",
            )
        for job in flink.every_job():
            if job.name.startswith(f"{fill.group}-") and job.is_active:
                flink.cancel(job.id)
                flink.await_end(job.id, 60.0)
        scratch.delete(settings.kafka.access, scratch_topic(fill.pipeline, fill.run), fill.group)
        # A job may have begun from a joined savepoint, which refers to the last one.
        for segment in fill.segments if fill.joined is None else fill.segments[:-1]:
            if segment.savepoint is not None:
                flink.dispose(segment.savepoint)
        forget_fill(folder)
        return fill.run


def _require_slot(flink: Flink) -> None:
    if flink.free_slots() < 1:
        raise PenstockError(
            "Flink has no free slot for the job that fills the views",
            where=flink.url,
            safe="nothing was changed",
            next="start another TaskManager; then run the same command",
        )


def _require_same(fill: FillManifest, project: Project, request: FillRequest) -> None:
    """Check that a fill that has begun is the requested one."""
    wanted = {view.id for view in project.plan.views if view.name in request.views}
    differences = []
    if fill.plan != plan_hash(project.plan):
        differences.append("the pipeline's definition has changed since it began")
    elif wanted and wanted != set(fill.views):
        differences.append(f"it fills {', '.join(fill.views)}")
    if (fill.archive is None) != (request.archive is None):
        differences.append("it reads " + ("Kafka alone" if fill.archive is None else f"the archive {fill.archive}"))
    if differences:
        raise PenstockError(
            f"another fill of the pipeline has begun: {'; '.join(differences)}",
            where=f"fill {fill.run}",
            safe="nothing was changed",
            next=f"continue it with what it began with; or give it up: penstock backfill run {project.reference} "
            "--into live --discard",
        )


def _catch_up(
    project: Project,
    settings: Settings,
    fill: FillManifest,
    request: FillRequest,
    flink: Flink,
    progress: ProgressBar,
    stop: threading.Event,
) -> None:
    """Replay the history in segments, until little is left to where the running job is."""
    if fill.segments[0].records == 0:
        return
    folder = fill_folder(settings, project.name)
    while True:
        if fill.segments[-1].savepoint is None:
            _replay(project, settings, fill, request, flink, progress, stop)
        sources = next_segment(fill.segments[-1].sources, _committed(project, settings))
        if sources is None:
            return
        fill.segments.append(Segment(sources=sources))
        fill.save(folder)


def _replay(
    project: Project,
    settings: Settings,
    fill: FillManifest,
    request: FillRequest,
    flink: Flink,
    progress: ProgressBar,
    stop: threading.Event,
) -> None:
    rate = request.max_per_s if fill.live_savepoint is None else 0
    with SegmentJob(project, settings, fill, request.archive, rate, flink, progress, stop) as job:
        fill.segments[-1].savepoint = job.run()
    fill.save(fill_folder(settings, project.name))


def _committed(project: Project, settings: Settings) -> list[dict[int, int]]:
    """The offsets of each source before which the running job has read everything, whatever happens to it."""
    try:
        with Lag(settings.kafka.access) as lag:
            group = lifecycle.job_group(project)
            return [lag.committed_offsets(group, source.topic) for source in project.plan.sources]
    except KafkaException as error:
        raise PenstockError(
            f"the offsets of the running job are not known: {error.args[0].str()}",
            where=str(settings.kafka.access),
            safe="nothing was changed",
            next="penstock status",
        ) from error


def _clean_up(settings: Settings, fill: FillManifest, flink: Flink, progress: ProgressBar) -> None:
    """Delete what the new job does not need. The last savepoint stays: the joined one refers to it."""
    try:
        scratch.delete(settings.kafka.access, scratch_topic(fill.pipeline, fill.run), fill.group)
        for segment in fill.segments[:-1]:
            if segment.savepoint is not None:
                flink.dispose(segment.savepoint)
    except (PenstockError, KafkaException) as error:
        progress.note(f"not everything of the fill could be deleted: {error}")
    total = sum(segment.records for segment in fill.segments)
    progress.note(f"filled from {counted(total, 'record')} and what came meanwhile")
