"""The consumer of a rollout controller: its settings, and its messages as records and positions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition
from penstock.kafka.membership import is_fatal, is_fence
from penstock.kafka.transactions import InstanceFencedError
from scoring.feature_consumer import consumer_config

_log = logging.getLogger(__name__)

_INSTANCE = "controller"


class Batch(NamedTuple):
    """What one call to the consumer has brought.

    Args:
        records: The records of each topic, in their order.
        positions: The offset of the next record to read, of each partition of which anything came.
        is_off: Whether a partition has no record at its offset, so that it must be placed anew.
        ended: The partitions of which nothing more is to be read now.
    """

    records: dict[str, list[Message]]
    positions: dict[Partition, int]
    is_off: bool
    ended: frozenset[Partition] = frozenset()


def controller_config(kafka: KafkaAccess, group: str) -> dict[str, Any]:
    """The settings of the controller's consumer: the scorer's, and the reason for each other one."""
    return {
        # All controllers of a pipeline are one instance, so that a second one fences the first.
        **consumer_config(kafka, group, _INSTANCE),
        # The ends of partitions tell that everything was read, though only markers of transactions follow.
        "enable.partition.eof": True,
    }


def batch_of(messages: Iterable[Message]) -> Batch:
    """The records and positions in messages; an error of the client is logged, or raised if no retry can help.

    Raises:
        InstanceFencedError: if another controller has joined the group.
        PenstockError: if the consumer fails for good, or if a topic is gone.
    """
    records: dict[str, list[Message]] = defaultdict(list)
    positions: dict[Partition, int] = {}
    ended: set[Partition] = set()
    is_off = False
    for message in messages:
        error, partition = message.error(), (message.topic(), message.partition())
        if error is None:
            records[partition[0]].append(message)
            positions[partition] = message.offset() + 1
            ended.discard(partition)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of _
            positions[partition] = message.offset()
            ended.add(partition)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            is_off = True
        else:
            _handle(error, message.topic())
    return Batch(records, positions, is_off, frozenset(ended))


def _handle(error: KafkaError, topic: str | None) -> None:
    if is_fence(error):
        raise InstanceFencedError(error.str(), where=topic)
    if is_fatal(error):
        raise PenstockError(
            f"the consumer cannot continue: {error.str()}",
            where=topic,
            safe="everything that was saved",
            next="start it again",
        )
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise PenstockError(
            f"topic {topic} is gone",
            where=topic,
            safe="everything that was saved",
            next="penstock topics create PIPELINE, then start it again",
        )
    _log.warning("%s: %s", topic, error.str())
