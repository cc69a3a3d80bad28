"""Runs the backfill of a version's training again, for the very offsets that it replayed then."""

from __future__ import annotations

import uuid
from pathlib import Path

from backfill.manifest import BackfillManifest, plan_hash, scratch_topic, selected_views
from backfill.run import BackfillRequest
from penstock.errors import PenstockError
from scoring.recipe import DataRecipe
from sinks.archive.storage import without_secrets
from streams.flink.submission import Offsets, Replay
from streams.plan.project import Project


def plan_again(project: Project, data: DataRecipe, folder: Path, archive: str | None = None) -> BackfillRequest:
    """Write the manifest of a backfill that has yet to run, and return the request that runs it.

    :func:`backfill.run.run_backfill` takes it for an interrupted one, and so plans nothing itself: it replays these
    offsets, or says that retention has deleted some of them.

    Args:
        project: The pipeline.
        data: What the training says of its backfill.
        folder: An empty folder.
        archive: The folder or URL of an archive, which has the records that Kafka has deleted.

    Raises:
        PenstockError: if the pipeline has other sources or views now.
    """
    plan = project.plan
    topics = [*(source.topic for source in plan.sources), *plan.reference_topics]
    if topics != list(data.offsets):
        raise PenstockError(
            f"the pipeline reads {', '.join(topics)} now, and {', '.join(data.offsets)} when the version was made",
            safe="nothing was started",
            next="check out the definition of that time, or give the backfill of that time with --backfill",
        )
    first, *others = (
        Offsets(
            start={partition: begin for partition, (begin, _) in ranges.items()},
            end={partition: end for partition, (_, end) in ranges.items()},
        )
        for ranges in data.offsets.values()
    )
    run = uuid.uuid4().hex[:8]
    BackfillManifest(
        pipeline=project.name,
        views=selected_views(project.plan, data.views, project.reference),
        plan=plan_hash(project.plan),
        run=run,
        replay=Replay(
            topic=scratch_topic(project.name, run),
            start=first.start,
            end=first.end,
            additional_sources=tuple(others[: len(plan.additional_sources)]),
            lookups=tuple(others[len(plan.additional_sources) :]),
            from_ms=data.from_ms,
            to_ms=data.to_ms,
            max_ahead_ms=data.max_ahead_ms,
        ),
        archive=None if archive is None else without_secrets(archive),
    ).save(folder)
    return BackfillRequest(data.from_ms, data.to_ms, data.views, archive=archive)
