"""Where tracks are kept: alerts, dead letters and the state that remembers them, in one Kafka transaction.

Each partition that is followed has a transactional id of its own. Who takes a partition over first initialises that
id, which fences whoever followed it before and aborts what that one had not finished, and only then reads the state.
So there is one writer at a time, an alert is visible exactly if the state that remembers it is, and a process that
was cut off and wakes up can publish nothing.
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
from penstock.kafka.lag import Partition
from penstock.kafka.names import group_of
from penstock.kafka.records import Produced
from penstock.kafka.transactions import (
    OutcomeUnknownError,
    TransactionAbortedError,
    TransactionalProducer,
    producer_factory,
)
from streams.definitions.pipeline import Pipeline
from streams.drift.drift_reference import Reference
from streams.drift.track import TrackState, read_state

_log = logging.getLogger(__name__)

# For one transaction: less than transaction.timeout.ms, or the broker would abort it under our hands.
_WRITE_S = 20.0
_REQUEST_S = 10.0
# No more of the state topic can be read for so long: longer than a dead writer's open transaction can last.
_STUCK_S = 60.0


class NotSavedError(Exception):
    """The state was not written, or may not have been: the partition must be taken anew.

    ``lost``: another process may follow the partition now, so wait until the group has told who does.
    """

    def __init__(self, why: str, *, lost: bool) -> None:
        super().__init__(why)
        self.lost = lost


@dataclass(frozen=True)
class ResumePoint:
    """What the state topic says of a partition: the state under this reference, if there is one, and where to start.

    ``start`` is the position that was reached under any reference: a new one goes on where the last one was.
    """

    state: TrackState | None
    start: int


class TrackStore:
    """Takes, saves and releases partitions. Its methods block, and may be called from different threads.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        reference: What the states belong to.
        version: The model version of the reference.
        stop: Set when the process is to stop: ends the wait for a broker.
    """

    def __init__(
        self, kafka: KafkaAccess, pipeline: Pipeline, reference: Reference, version: int, stop: threading.Event
    ) -> None:
        self._kafka = kafka
        self._group = group_of(pipeline.name, "drift")
        self._topic = pipeline.drift_state_topic
        self._reference = reference
        self._version = version
        self._stop = stop
        self._producers: dict[Partition, TransactionalProducer] = {}

    def take(self, partition: Partition) -> ResumePoint:
        """Become the only writer for a partition, and read what is known of it.

        Raises:
            NotSavedError: if told to stop, or the state cannot be read now.
            PenstockError: if Kafka does not allow it, or the state is unreadable.
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
        return resume_point(latest_states(self._kafka, self._group, self._topic, number), partition, self._reference)

    def save(self, partition: Partition, state: TrackState, others: Sequence[Produced], now_ms: int) -> int:
        """Write a state together with the alerts and dead letters that came with it; gives the state's size in bytes.

        Raises:
            NotSavedError: take the partition anew.
            PenstockError: if Kafka refuses a record for good.
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
            producer.write([*others, record], [], None, _WRITE_S)
        except TransactionAbortedError as error:
            raise NotSavedError(str(error), lost=False) from error
        except OutcomeUnknownError as error:
            raise NotSavedError(str(error), lost=True) from error
        return len(value)

    def release(self, partition: Partition) -> None:
        """Write nothing more for a partition."""
        self._producers.pop(partition, None)


def state_key(partition: Partition, reference: Reference, version: int) -> str:
    """The key of a state: ``topic/partition/model@version/reference``."""
    topic, number = partition
    return f"{topic}/{number}/{reference.model}@{version}/{reference.hash}"


def resume_point(states: dict[str, bytes], partition: Partition, reference: Reference) -> ResumePoint:
    """What the states of a partition of the state topic, by key, say of a partition that is followed.

    Raises:
        PenstockError: if its state is unreadable.
    """
    topic, number = partition
    ours: TrackState | None = None
    start = 0
    for key, value in states.items():
        if not key.startswith(f"{topic}/{number}/"):
            continue
        state = read_state(value, key)
        start = max(start, state.position)
        if key.endswith(f"/{reference.hash}"):
            ours = state
    return ResumePoint(ours, start if ours is None else ours.position)


def latest_states(kafka: KafkaAccess, group: str, topic: str, partition: int) -> dict[str, bytes]:
    """The latest committed value of each key in a partition of the state topic.

    Raises:
        NotSavedError: if it cannot be read up to its end now.
    """
    consumer = Consumer(
        {
            **kafka.client(),
            # Required by the client, never joined: nothing is committed.
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            # Tells that the end is reached also when what lies there are only markers.
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
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
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of _
                return states
            elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise PenstockError(
                    f"topic {topic} does not exist", where=str(kafka), next="penstock topics create PIPELINE"
                )
    except KafkaException as error:
        raise NotSavedError(f"{topic}[{partition}] cannot be read: {error.args[0].str()}", lost=False) from error
    finally:
        consumer.close()
    raise NotSavedError(f"{topic}[{partition}] cannot be read to its end", lost=False)


def _put(states: dict[str, bytes], message: Message) -> None:
    key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
    if value is None:
        states.pop(key, None)
    else:
        states[key] = value
