"""Where a job begins to read its topics, and what is said where Kafka deleted records that it has not read.

The job itself resets to nothing: at an offset that its topic no longer has, it fails and restarts, for ever. The gap is
looked for before a job is submitted, and named where a job has failed of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import KafkaException

from penstock.errors import PenstockError
from penstock.kafka.gaps import Gap
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from streams.flink.rest import Job
from streams.flink.submission import SourceStart
from streams.plan.project import Project

_EARLIEST = -2  # KafkaPartitionSplit.EARLIEST_OFFSET
# Of Kafka's client: "Fetch position FetchPosition{offset=5, ...} is out of range for partition events.x-0"; of the
# kernel, for an offset in restored state (RetainedSource.java): "position 5 is out of range for partition events.x-0".
_OUT_OF_RANGE = re.compile(r"position (?:FetchPosition\{offset=)?(\d+).* is out of range for partition (\S+)-(\d+)")
_MEANING = "Their events are missing from every window that covers them."


def starts(
    project: Project, settings: Settings, group: str, command: str, *, skip_deleted: bool
) -> tuple[SourceStart, ...]:
    """Where to begin, of each source: at the group's committed offsets, or at the beginning if it has none.

    The offsets in a savepoint take precedence. They are those that were committed, or older.

    Args:
        project: The pipeline.
        settings: The address of Kafka.
        group: The job's consumer group.
        command: The command that starts the job, without the flag.
        skip_deleted: Whether to go on where records were deleted.

    Raises:
        PenstockError: if Kafka does not answer; if records were deleted unread, without ``skip_deleted``.
    """
    found = []
    with _known_offsets(settings, "no job was started") as lag:
        for source in project.plan.sources:
            earliest, ends = lag.earliest_offsets(source.topic), lag.end_offsets(source.topic)
            committed = lag.committed_offsets(group, source.topic)
            gaps = _gaps(source.topic, committed, earliest, ends)
            if gaps and not skip_deleted:
                raise gaps[0].error(_MEANING, command)
            moved = {gap.partition: gap.earliest for gap in gaps}
            found.append(
                SourceStart(
                    first=dict.fromkeys(earliest, _EARLIEST) | committed | moved,
                    earliest=earliest,
                )
            )
    return tuple(found)


def deleted_error(job: Job, settings: Settings, command: str) -> PenstockError | None:
    """The error of a job that fails because records were deleted before it read them; None for other failures.

    Args:
        job: The job, with its newest failure.
        settings: The address of Kafka.
        command: The command that starts the job from its state, without the flag.

    Raises:
        PenstockError: if Kafka does not answer, or the topic is gone.
    """
    match = _OUT_OF_RANGE.search(job.failure or "")
    if match is None:
        return None
    expected, topic, partition = int(match[1]), match[2], int(match[3])
    with _known_offsets(settings, f"job {job.name} was left as it is; it fails with: {job.failure}") as lag:
        earliest, end = lag.earliest_offsets(topic)[partition], lag.end_offsets(topic)[partition]
    gap = Gap.find((topic, partition), expected, earliest, end)
    return None if gap is None else gap.error(_MEANING, command)


@contextmanager
def _known_offsets(settings: Settings, safe: str) -> Iterator[Lag]:
    """A source of offsets whose failures, and topics that are gone, are errors that tell what is ``safe``."""
    try:
        with Lag(settings.kafka.access) as lag:
            yield lag
    except (KafkaException, KeyError) as error:
        gone = "a topic, or a partition of it, is gone"
        why = error.args[0].str() if isinstance(error, KafkaException) else gone
        raise PenstockError(
            f"the offsets of the raw topics are not known: {why}",
            where=str(settings.kafka.access),
            safe=safe,
            next="penstock status",
        ) from error


def _gaps(topic: str, committed: dict[int, int], earliest: dict[int, int], ends: dict[int, int]) -> Sequence[Gap]:
    found = (Gap.find((topic, number), at, earliest[number], ends[number]) for number, at in sorted(committed.items()))
    return [gap for gap in found if gap is not None]
