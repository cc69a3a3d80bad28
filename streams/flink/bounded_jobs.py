"""Submits the same job over a bounded part of the raw topics: backfills, and fills of new views."""

from __future__ import annotations

from penstock.kafka.topics import largest_messages, require_existing, require_topics
from penstock.settings import Settings
from schemas.committed import require_unchanged
from streams.flink.submission import Fill, Limits, Options, Replay
from streams.flink.submit import submit_job
from streams.plan.project import Project

# A backfill's rows can be read, and its progress is known, at each checkpoint. A checkpoint packs the states of all
# entities in use, and their next events unpack them.
_BACKFILL_CHECKPOINT_MS = 3_000


def start_backfill(
    project: Project, settings: Settings, *, name: str, replay: Replay, checkpoint: str | None = None
) -> str:
    """Submit the same job over a bounded part of the raw topics; returns its id without waiting for it to run.

    Args:
        project: What to run.
        settings: The addresses of Kafka and Flink, and the key of personal data.
        name: The name of the job and of its consumer group.
        replay: The offsets to read, and the topic for the rows.
        checkpoint: The retained checkpoint of the same backfill to continue from; Flink deletes it when a newer one
            exists.

    Raises:
        PenstockError: as :func:`streams.flink.lifecycle.start`.
    """
    require_unchanged(project.forms, project.schemas)
    require_existing(project.plan.reference_topics, settings.kafka.access, project.reference)
    require_topics(
        [project.pipeline.source.topic, replay.topic],
        settings.kafka.access,
        partitions=project.pipeline.source.partitions,
        pipeline=project.reference,
    )
    # A single task reads all partitions, so that it can order them; the replay says how many tasks a stage has.
    options = Options(parallelism=1, exactly_once=True, checkpoint_interval_ms=_BACKFILL_CHECKPOINT_MS)
    longest = largest_messages([replay.topic], settings.kafka.access)[replay.topic]
    # The live job has published the dead letters.
    limits = Limits(features=longest, dead_letters=(0,) * len(project.plan.sources), unpublished=0)
    return submit_job(project, settings, options, limits, name=name, group=name, savepoint=checkpoint, replay=replay)


def start_fill(
    project: Project,
    settings: Settings,
    options: Options,
    *,
    name: str,
    group: str,
    replay: Replay,
    fill: Fill,
    savepoint: str | None,
) -> str:
    """Submit a segment of a fill; returns the job's id without waiting for it to run. It publishes nothing.

    Args:
        project: The pipeline, with a plan of the views to fill alone.
        settings: The addresses of Kafka and Flink, and the key of personal data.
        options: Those of the running job; a fill has a single task, whatever they say.
        name: The name of the job.
        group: Its consumer group.
        replay: The offsets to read.
        fill: Which segment it is.
        savepoint: That of the segment before, or a checkpoint of this one; None for a first segment.

    Raises:
        PenstockError: as :func:`streams.flink.lifecycle.start`.
    """
    options = options.model_copy(
        update={"parallelism": 1, "exactly_once": False, "checkpoint_interval_ms": _BACKFILL_CHECKPOINT_MS}
    )
    limits = Limits(features=0, dead_letters=(0,) * len(project.plan.sources), unpublished=0)
    return submit_job(
        project,
        settings,
        options,
        limits,
        name=name,
        group=group,
        savepoint=savepoint,
        drop_state=True,  # of the source of the segment before
        replay=replay,
        fill=fill,
    )
