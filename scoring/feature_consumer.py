"""The scorer's consumer: its settings, and its messages as records."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, Message

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.gaps import NO_RESET
from penstock.kafka.membership import is_fatal, is_fence
from penstock.kafka.records import Consumed
from penstock.kafka.retention import OffsetResets
from penstock.kafka.transactions import InstanceFencedError

_log = logging.getLogger(__name__)


def consumer_config(kafka: KafkaAccess, group: str, instance: str) -> dict[str, Any]:
    """The settings of the scorer's consumer, each with its reason."""
    return {
        **kafka.client(),
        "group.id": group,
        # Static membership: a scorer that is killed and restarted gets its partitions back at once, without a
        # rebalance; and a process that has lost its membership cannot commit, because its instance id is fenced.
        "group.instance.id": f"{group}-{instance}",
        "client.id": f"{group}-{instance}",
        "partition.assignment.strategy": "cooperative-sticky",
        # The transactions commit the offsets.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # A new group starts at the oldest feature record, and no event is missed in silence.
        **NO_RESET,
        # Default 45 s: how long the partitions of a killed scorer that is not restarted stay unassigned.
        "session.timeout.ms": 10_000,
        # Default 5 min. The first batch of a long re-emission waits until all predictions since then are read.
        "max.poll.interval.ms": 600_000,
        # Default 500: how long a partition that was rewound or assigned waits for the fetch in progress.
        "fetch.wait.max.ms": 10,
        # Defaults 100 and 10 000: try (and log) an unreachable broker about once a second instead of twenty times, and
        # find one that was away for long within 2 s.
        "reconnect.backoff.ms": 1_000,
        "reconnect.backoff.max.ms": 2_000,
        # Default rebootstrap: when no broker is left, the client discards all brokers and starts over, and requests to
        # the old ones, such as for committed offsets, are then never answered (librdkafka#5511 is one such case).
        "metadata.recovery.strategy": "none",
        # Default 1000: a full local queue would stop fetching for a second, longer than its records last.
        "fetch.queue.backoff.ms": 10,
    }


def records_of(messages: Iterable[Message], topic: str, resets: OffsetResets) -> list[Consumed]:
    """The records of the messages; an error of the client is logged, or raised if no retry can help.

    Raises:
        InstanceFencedError: if the broker says that another process has this consumer's name.
        PenstockError: if the consumer fails for good, or if the topic is gone.
    """
    return [
        Consumed(
            topic,
            message.partition(),
            message.offset(),
            message.key(),
            message.value(),
            message.headers() or [],
        )
        for message in messages
        if message.error() is None or _handle(message, topic, resets)
    ]


def _handle(message: Message, topic: str, resets: OffsetResets) -> bool:
    """Handle an error; False: the message is no record."""
    error: KafkaError | None = message.error()
    if error is None or resets.takes(message):
        return False
    safe = "every committed batch; nothing of any other batch was written"
    if is_fence(error):
        raise InstanceFencedError(
            "another process of the same instance has replaced this one",
            where=topic,
            safe=safe,
            next="give each process of this service its own --instance",
        )
    if is_fatal(error):
        raise PenstockError(
            f"the consumer cannot continue: {error.str()}", where=topic, safe=safe, next="start this process again"
        )
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise PenstockError(
            f"topic {topic} is gone",
            where=topic,
            next="penstock topics create PIPELINE, then start again",
        )
    _log.warning("%s: %s", topic, error.str())
    return False
