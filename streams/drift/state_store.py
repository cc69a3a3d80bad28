"""Stores track states in Kafka: the state, its alerts and its dead letters are written in one transaction.

Each followed partition has its own transactional id. A new owner first initialises that id, which fences the previous
owner and aborts its open transaction, and only then reads the state. So there is one writer at a time, an alert is
visible if and only if the state that includes it is, and a process that was cut off can publish nothing afterwards.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.gaps import NO_RESET, Gap
from penstock.kafka.lag import Lag, Partition
from penstock.kafka.names import group_of
from penstock.kafka.records import Produced
from penstock.kafka.retention import GapPolicy
from penstock.kafka.transactions import (
    OutcomeUnknownError,
    TransactionAbortedError,
    TransactionalProducer,
    producer_factory,
)
from streams.definitions.pipeline import Pipeline
from streams.drift.drift_reference import DriftReference
from streams.drift.track import TrackState, read_state

_log = logging.getLogger(__name__)

# For one transaction: less than transaction.timeout.ms, or the broker would abort it while it is in use.
_WRITE_S = 20.0
_REQUEST_S = 10.0
# Give up if the state topic yields nothing for this long: longer than a dead writer's open transaction can last.
_STUCK_S = 60.0


class NotSavedError(Exception):
    """The state was not written, or the outcome is unknown: the partition must be acquired again.

    ``lost``: another process may own the partition now; wait until the group has reassigned it.
    """

    def __init__(self, why: str, *, lost: bool) -> None:
        super().__init__(why)
        self.lost = lost


@dataclass(frozen=True)
class ResumePoint:
    """Where to resume a partition: the state under the current reference, if there is one, and the first offset.

    ``start`` is the position reached under any reference: a new reference continues where the last one stopped. It is
    beyond the state's position where records that Kafka deleted are skipped.
    """

    state: TrackState | None
    start: int


class TrackStore:
    """Acquires, saves and releases partitions. Its methods block and may be called from different threads.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        reference: The reference that the states belong to.
        version: The model version of the reference.
        stop: Set it to stop waiting for a broker.
        gaps: What to do where Kafka deleted records before they were read.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        pipeline: Pipeline,
        reference: DriftReference,
        version: int,
        stop: threading.Event,
        gaps: GapPolicy,
    ) -> None:
        self._kafka = kafka
        self._group = group_of(pipeline.name, "drift")
        self._topic = pipeline.drift_state_topic
        self._reference = reference
        self._version = version
        self._stop = stop
        self._gaps = gaps
        self._producers: dict[Partition, TransactionalProducer] = {}

    def acquire(self, partition: Partition) -> ResumePoint:
        """Become the only writer of a partition and read its saved state.

        Raises:
            NotSavedError: if the process is stopping, or the state cannot be read now.
            PenstockError: if Kafka denies access, the topic or its partition is gone, the state is unreadable, or
                records were deleted unread.
        """
        topic, number = partition
        transactional_id = f"{self._group}-{topic}-{number}"
        producer = TransactionalProducer(
            producer_factory(self._kafka, transactional_id, quiet=True),
            transactional_id,
            clock=time.monotonic,
            wait=self._stop.wait,
            stopping=self._stop.is_set,
        )
        if not producer.start():
            raise NotSavedError("stopping", lost=True)
        self._producers[partition] = producer
        states = read_latest_states(self._kafka, self._group, self._topic, number)
        return self._beyond_deleted(resume_point(states, partition, self._reference), partition)

    def _beyond_deleted(self, resume: ResumePoint, partition: Partition) -> ResumePoint:
        topic, number = partition
        try:
            with Lag(self._kafka) as lag:
                earliest, end = lag.earliest_offsets(topic)[number], lag.end_offsets(topic)[number]
        except KeyError:
            raise _gone(topic, number, self._kafka) from None
        except KafkaException as error:
            raise NotSavedError(f"the offsets of {topic} are not known: {error.args[0].str()}", lost=False) from error
        if not resume.start:  # the first start
            return ResumePoint(None, earliest)
        gap = Gap.find(partition, resume.start, earliest, end)
        if gap is None:
            return resume
        self._gaps.pass_over(gap)
        return ResumePoint(resume.state, earliest)

    def save(self, partition: Partition, state: TrackState, outbox: Sequence[Produced], now_ms: int) -> int:
        """Write a state with its alerts and dead letters in one transaction; returns the state's size in bytes.

        Raises:
            NotSavedError: acquire the partition again.
            PenstockError: if Kafka rejects a record permanently.
        """
        topic, number = partition
        value = state.model_dump_json().encode()
        key = state_key(partition, self._reference, self._version)
        origin = f"{topic}[{number}]@{state.position}"
        record = Produced(self._topic, number, key.encode(), value, [], now_ms, origin)
        producer = self._producers.get(partition)
        if producer is None:
            raise NotSavedError("released", lost=True)
        try:
            producer.write([*outbox, record], [], None, _WRITE_S)
        except TransactionAbortedError as error:
            raise NotSavedError(str(error), lost=False) from error
        except OutcomeUnknownError as error:
            raise NotSavedError(str(error), lost=True) from error
        return len(value)

    def serve(self) -> None:
        """Take in what the clients tell between transactions; call it every few seconds. Never waits."""
        for producer in list(self._producers.values()):
            producer.serve()

    def release(self, partition: Partition) -> None:
        """Forget the partition's producer: nothing more is written for it."""
        self._producers.pop(partition, None)


def state_key(partition: Partition, reference: DriftReference, version: int) -> str:
    """The key of a state: ``topic/partition/model@version/reference``."""
    topic, number = partition
    return f"{topic}/{number}/{reference.model}@{version}/{reference.hash}"


def resume_point(states: dict[str, bytes], partition: Partition, reference: DriftReference) -> ResumePoint:
    """The resume point of a followed partition, from the states in its state-topic partition, by key.

    Raises:
        PenstockError: if its state is unreadable.
    """
    topic, number = partition
    current: TrackState | None = None
    start = 0
    for key, value in states.items():
        if not key.startswith(f"{topic}/{number}/"):
            continue
        state = read_state(value, key)
        start = max(start, state.position)
        if key.endswith(f"/{reference.hash}"):
            current = state
    return ResumePoint(current, start if current is None else current.position)


def read_latest_states(kafka: KafkaAccess, group: str, topic: str, partition: int) -> dict[str, bytes]:
    """Read the latest committed value of each key in a partition of the state topic.

    Raises:
        NotSavedError: if the partition cannot be read to its end now.
        PenstockError: if it is gone.
    """
    consumer = Consumer(
        {
            **kafka.client(),
            # Required by the client, never joined: nothing is committed.
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            # Reports the end even if only transaction markers lie there.
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
            # The default, latest, would end the read as if there were no state.
            **NO_RESET,
            **QUIET,
        }
    )
    states: dict[str, bytes] = {}
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        deadline = time.monotonic() + _STUCK_S
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            deadline = time.monotonic() + _STUCK_S
            error = message.error()
            if error is None:
                _put(states, message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public despite the underscore
                return states
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                raise NotSavedError(f"{topic}[{partition}] cannot be read: {error.str()}", lost=False)
            elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):  # noqa: SLF001
                raise _gone(topic, partition, kafka)
    except KafkaException as error:
        raise NotSavedError(f"{topic}[{partition}] cannot be read: {error.args[0].str()}", lost=False) from error
    finally:
        consumer.close()
    raise NotSavedError(f"{topic}[{partition}] cannot be read to its end", lost=False)


def _gone(topic: str, partition: int, kafka: KafkaAccess) -> PenstockError:
    return PenstockError(
        f"{topic}[{partition}] is gone: the topic was deleted, or made anew with fewer partitions",
        where=str(kafka),
        safe="every published alert and the saved state of the other partitions",
        next="penstock topics create PIPELINE, then start the drift app again",
    )


def _put(states: dict[str, bytes], message: Message) -> None:
    key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
    if value is None:
        states.pop(key, None)
    else:
        states[key] = value
