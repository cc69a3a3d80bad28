"""What a rollout controller keeps in Kafka, and how it writes it.

One transaction has everything that the controller has come to know: the parts of its state that have changed, the
offsets of the records that the state includes, and, if it has decided something, the next policy. So a controller that
is killed anywhere goes on from a state that fits its offsets, and counts no record twice and misses none.

All writers of policies share one transactional id (:mod:`scoring.rollout.policy_store`). While a controller's producer
is not fenced, nobody has published a policy since it was started. The policy is read after that: so a decision that is
committed was made on the present policy.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from confluent_kafka import TopicPartition
from pydantic import ValidationError

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition
from penstock.kafka.reading import read_topic
from penstock.kafka.records import Produced
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import log_record, read_followed
from streams.definitions.base import Definition
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

NOTE = "controller"
"""The key of the controller's own record in its state; all others are the judge's."""

# For one transaction: less than transaction.timeout.ms, or the broker would abort it meanwhile.
_WRITE_S = 20.0


class Note(Definition):
    """What a controller knows beside what its judge has counted.

    Args:
        change: The change whose policy it judges; None before the first one.
        ahead: Whether that change is still to come in the log: until then, the log's changes are earlier ones.
        promoted: The version that a promotion of its own has made the champion, until it is the current one in the
            model repository too.
    """

    format: Literal[1] = 1
    change: PolicyChange | None = None
    ahead: bool = True
    promoted: int | None = None


class Kept(NamedTuple):
    """What a controller finds when it begins.

    Args:
        policy: The change that published the present policy; None before the first one.
        note: The controller's note of the last transaction; None if there was none, or it cannot be read.
        state: The judge's records of the last transaction, by name.
    """

    policy: PolicyChange | None
    note: Note | None
    state: dict[str, bytes]


class Writer(Protocol):
    """The methods of a transactional producer that a controller needs."""

    def start(self) -> bool: ...  # noqa: D102
    def serve(self) -> None: ...  # noqa: D102
    def write(  # noqa: D102
        self, records: list[Produced], offsets: list[TopicPartition], group_metadata: Any, timeout_s: float
    ) -> None: ...


class ControllerStore:
    """The one writer of a pipeline's controller.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        producer: Writes under the transactional id of the pipeline's policies.
    """

    def __init__(self, kafka: KafkaAccess, pipeline: Pipeline, producer: Writer) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._producer = producer
        self._written: dict[str, bytes] = {}

    def start(self) -> bool:
        """Fence every other writer, and end what it was writing; waits for Kafka. False if the process shall stop.

        Raises:
            PenstockError: if Kafka does not allow it.
        """
        return self._producer.start()

    def read(self) -> Kept:
        """What the last writer has left; after :meth:`start`.

        Raises:
            RecordsGoneError: if a topic does not exist.
            PenstockError: if Kafka does not answer, or does not allow it.
        """
        policy = read_followed(self._kafka, self._pipeline)
        written: dict[str, bytes] = {}
        for record in read_topic(self._kafka, self._pipeline.rollout_state_topic):
            name = (record.key or b"").decode(errors="replace")
            if record.value is None:
                written.pop(name, None)
            else:
                written[name] = record.value
        self._written = written
        return Kept(policy, _note(written.get(NOTE)), {name: value for name, value in written.items() if name != NOTE})

    def serve(self) -> None:
        """Take in what the client tells between transactions. Never waits."""
        self._producer.serve()

    def write(
        self,
        note: Note,
        state: Mapping[str, bytes],
        offsets: Mapping[Partition, int],
        group: Any,
        now: int,
        *,
        publishes: bool = False,
    ) -> int:
        """Write what has changed since the last call, and the offsets, in one transaction; returns how many bytes.

        Args:
            note: The controller's note.
            state: The judge's records, by name.
            offsets: The offset of the next record to read, for at least one partition: by its offsets, the broker tells
                this process from one that has replaced it.
            group: The consumer group's metadata.
            now: Epoch ms.
            publishes: Whether the note's change is a new one, to be published.

        Raises:
            TransactionAbortedError: nothing was written.
            OutcomeUnknownError: another writer came in between, or it is not known what was written: start again.
            InstanceFencedError: another controller has replaced this one.
            PenstockError: if Kafka refuses a record, or does not allow it.
        """
        topic, pipeline = self._pipeline.rollout_state_topic, self._pipeline
        wanted = {**state, NOTE: note.model_dump_json().encode()}
        changed: dict[str, bytes | None] = {
            name: value for name, value in wanted.items() if self._written.get(name) != value
        }
        changed |= dict.fromkeys(self._written.keys() - wanted.keys())
        records = [Produced(topic, 0, name.encode(), value, [], now, name) for name, value in changed.items()]
        if publishes:
            assert note.change is not None
            logged = log_record(pipeline, note.change, note.change.time_ms)
            records += [logged._replace(topic=pipeline.rollout_topic), logged]
        positions = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        self._producer.write(records, positions, group, _WRITE_S)
        self._written = wanted
        return sum(record.bytes for record in records)


def _note(value: bytes | None) -> Note | None:
    try:
        return None if value is None else Note.model_validate_json(value)
    except ValidationError as error:
        _log.warning("the controller's note is of another release, and is written anew: %s", error.errors()[0]["msg"])
        return None
