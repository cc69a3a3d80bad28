"""Reads and changes the policy of a rollout in Kafka.

A change is written by one transactional id for each pipeline, which everybody uses who changes its policy: a person's
command and the controller alike. A writer first starts a producer with this id. That fences every other writer, and
waits until what that one was writing is committed or aborted. Only then the policy is read and the next one decided. So
changes are totally ordered, and nobody replaces a policy that he has not seen.

The policy's topic has the last change, and its log has them all. Where the last record of the topic is no change, as
somebody else has written to it, the log says what was published last.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import group_of
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.records import Produced
from penstock.kafka.single_writer import start_writer
from penstock.kafka.topics import require_topics
from penstock.kafka.transactions import OutcomeUnknownError, TransactionAbortedError
from scoring.rollout.log_reading import last_change
from scoring.rollout.policy_log import Entry, Logged, PolicyChange, decode, encode
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

Decide = Callable[[PolicyChange | None], PolicyChange | None]
"""What to publish after a change, which is None before the first one; None for nothing.

It may take its time, and it may be asked again: what it does must bear that.
"""

# For one transaction of two records: less than transaction.timeout.ms, or the broker would abort it meanwhile.
_WRITE_S = 20.0
_ATTEMPTS = 8
# Two writers that begin again at the same moments would fence each other for ever.
_LONGEST_PAUSE_S = 2.0


class UnreadablePolicyError(PenstockError):
    """The last record of a policy's topic is no change of the policy."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(
            what,
            where=where,
            safe="the log has the changes before, and scorers go on with the last of them",
            next="penstock rollout apply PIPELINE -f FILE --reason TEXT, which publishes a policy in its place; then "
            "find out who wrote it: only `penstock rollout` and its controller may",
        )


def change_in(value: bytes | None, where: str) -> PolicyChange:
    """The change in a record of a policy's topic; ``where`` is its topic, partition and offset.

    Raises:
        UnreadablePolicyError: if it is none.
    """
    try:
        entry = decode(value or b"", where)
    except PenstockError as error:
        raise UnreadablePolicyError(error.what, where) from error
    if isinstance(entry, PolicyChange):
        return entry
    raise UnreadablePolicyError(f"the record is a {entry.kind}, not a change of the policy", where)


def read_policy(kafka: KafkaAccess, pipeline: Pipeline) -> PolicyChange | None:
    """The change that published the present policy; None if none was published.

    Raises:
        UnreadablePolicyError: if the topic's last record is no change.
        PenstockError: if the topic is missing, or it cannot be read.
    """
    last = None
    for record in read_topic(kafka, pipeline.rollout_topic):
        last = record
    return None if last is None else change_in(last.value, _place(pipeline.rollout_topic, last))


def read_followed(kafka: KafkaAccess, pipeline: Pipeline) -> PolicyChange | None:
    """As :func:`read_policy`; where the topic's last record is no change, the last change of the log.

    Raises:
        PenstockError: if a topic is missing, it cannot be read, or the log does not tell either.
    """
    try:
        return read_policy(kafka, pipeline)
    except UnreadablePolicyError as error:
        change = last_change(iterate_log(kafka, pipeline))
        _log.error("%s", instead(change, error))
        return change


def why_unreadable(kafka: KafkaAccess, pipeline: Pipeline) -> UnreadablePolicyError | None:
    """Why the last record of the policy's topic is no change; None if it is one, or there is none.

    Raises:
        PenstockError: if the topic is missing, or it cannot be read.
    """
    try:
        read_policy(kafka, pipeline)
    except UnreadablePolicyError as error:
        return error
    return None


def instead(change: PolicyChange | None, error: UnreadablePolicyError) -> str:
    """What to tell where the log says what was published last."""
    last = "no policy, as the log has none" if change is None else f"policy {change.policy.version}, the log's last one"
    return f"going on with {last}; {error}"


def iterate_log(kafka: KafkaAccess, pipeline: Pipeline) -> Iterator[Logged]:
    """Every entry of the log, in its order, without holding them all: an entry in memory takes about 1 KB.

    Raises:
        PenstockError: if the topic is missing, it cannot be read, or a record is no entry.
    """
    topic = pipeline.rollout_log_topic
    for record in read_topic(kafka, topic):
        yield Logged(record.offset, record.timestamp, decode(record.value or b"", _place(topic, record)))


def read_log(kafka: KafkaAccess, pipeline: Pipeline) -> list[Logged]:
    """As :func:`iterate_log`, as a list."""
    return list(iterate_log(kafka, pipeline))


def change_policy(
    kafka: KafkaAccess, pipeline: Pipeline, decide: Decide, *, repairs: bool = False
) -> PolicyChange | None:
    """Read the present policy and publish the one that ``decide`` chooses; returns the change that was written.

    The change is written to the policy's topic and to the log, in one transaction. If another writer comes in between,
    the policy is read again, and ``decide`` is asked again.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        decide: What to publish. The change's ``previous`` must be the hash of the policy that it was given.
        repairs: Whether a record that is no change is replaced; ``decide`` is then given the log's last change.

    Returns:
        The change; None if ``decide`` chose nothing.

    Raises:
        PenstockError: if a topic is missing, Kafka does not answer or refuses the change, a record cannot be read, or
            no attempt succeeded. Nothing was written then, or the message says that it is not known.
        ValueError: if the change is of another pipeline, or does not follow from the policy that it was decided on.
    """
    require_topics([pipeline.rollout_topic, pipeline.rollout_log_topic], kafka, partitions=1, pipeline="PIPELINE")
    for attempt in range(1, _ATTEMPTS + 1):
        producer = start_writer(kafka, group_of(pipeline.name, "rollout"))
        present = read_followed(kafka, pipeline) if repairs else read_policy(kafka, pipeline)
        change = decide(present)
        if change is None:
            return None
        _check(change, pipeline, present)
        try:
            producer.write(_records(pipeline, change), [], None, _WRITE_S)
        except TransactionAbortedError as error:
            why = str(error)
            _pause(attempt)
        except OutcomeUnknownError as error:
            why = str(error)
            _pause(attempt)
            if _is_written(kafka, pipeline, change):
                return change
        else:
            return change
        _log.info("reading and deciding again, as another writer came in between or Kafka failed: %s", why)
    raise PenstockError(
        f"the policy could not be changed in {counted(_ATTEMPTS, 'attempt')}: other writers came in between, or Kafka "
        f"failed: {why}",
        where=f"{pipeline.rollout_topic} at {kafka}",
        safe="nothing was written",
        next="penstock rollout show PIPELINE, then try again",
    )


def log_record(pipeline: Pipeline, entry: Entry, time_ms: int) -> Produced:
    """The record of an entry in the log, as of a time (epoch ms)."""
    return Produced(pipeline.rollout_log_topic, 0, pipeline.name.encode(), encode(entry), [], time_ms, entry.kind)


def _records(pipeline: Pipeline, change: PolicyChange) -> list[Produced]:
    logged = log_record(pipeline, change, change.time_ms)
    return [logged._replace(topic=pipeline.rollout_topic), logged]


def _is_written(kafka: KafkaAccess, pipeline: Pipeline, change: PolicyChange) -> bool:
    """Whether a change whose outcome is unknown is in the log.

    Raises:
        PenstockError: if that cannot be found out.
    """
    wanted = encode(change)
    try:
        start_writer(kafka, group_of(pipeline.name, "rollout"))
        return any(record.value == wanted for record in read_topic(kafka, pipeline.rollout_log_topic))
    except PenstockError as error:
        raise PenstockError(
            f"it is not known whether the policy was changed: {error.what}",
            where=error.where,
            safe="the change was written whole or not at all",
            next="penstock rollout show PIPELINE",
        ) from error


def _check(change: PolicyChange, pipeline: Pipeline, present: PolicyChange | None) -> None:
    if change.policy.policy.pipeline != pipeline.name:
        raise ValueError(f"the change is of pipeline {change.policy.policy.pipeline}, not {pipeline.name}")
    if change.previous != (None if present is None else present.policy.hash):
        raise ValueError("the change does not follow from the policy that it was decided on")


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.1 * 2**attempt)))  # noqa: S311 - no secret


def _place(topic: str, record: Record) -> str:
    return f"{topic}[{record.partition}]@{record.offset}"
