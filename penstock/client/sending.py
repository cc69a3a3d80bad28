"""Sends events to their topic, and reports what became of each; goes on after a fatal error of the Kafka client."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from penstock.client.waits import Asked, Place
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.fatal import run_callbacks
from schemas.producer import FIXED_CONFIG

_log = logging.getLogger(__name__)

# What waits to be sent while Kafka is away; beyond it, callers are told at once.
_MOST_KILOBYTES = 64 * 1024
_PURGED_S = 5.0


class Full(Exception):  # noqa: N818 - describes the state
    """The buffer of events that wait for Kafka is full."""


class TooLong(Exception):  # noqa: N818 - describes what was passed
    """The event is longer than a message may be."""


class EventSender:
    """A producer for one topic. :meth:`send` may be called by any thread, :meth:`poll` by one.

    Args:
        kafka: How to reach Kafka.
        topic: The topic.
        config: More settings of librdkafka.
        on_sent: Called in :meth:`poll` when Kafka has an event.
        on_failed: Called there when Kafka has not taken it, with the reason.
        headers: The headers of every event.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        topic: str,
        config: Mapping[str, Any],
        on_sent: Callable[[Asked, Place], None],
        on_failed: Callable[[Asked, str], None],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self._headers = list(headers)
        self._topic, self._on_sent, self._on_failed = topic, on_sent, on_failed
        # No lingering: somebody waits for the first event; under load, those that follow share the next request.
        self._config = {
            **kafka.client(),
            "linger.ms": 0,
            # Default 10 s: who waits should not wait longer for a broker that is back.
            "reconnect.backoff.max.ms": 1_000,
            "queue.buffering.max.kbytes": _MOST_KILOBYTES,
            **QUIET,
            **config,
            **FIXED_CONFIG,
        }
        self._producer = Producer(self._config)
        self._lock = threading.Lock()  # a producer is not replaced while an event is handed to it
        self._numbers = itertools.count()
        self._unreported: dict[int, Asked] = {}

    def send(self, asked: Asked, value: bytes, key: bytes | None) -> None:
        """Hand over an event, without waiting.

        Raises:
            Full: if too much waits for Kafka.
            TooLong: if no message can hold the event.
        """
        with self._lock:
            number = next(self._numbers)
            self._unreported[number] = asked
            try:
                self._producer.produce(
                    self._topic, value, key, headers=self._headers, on_delivery=partial(self._report, number)
                )
            except BufferError:
                del self._unreported[number]
                raise Full from None
            except KafkaException as error:
                del self._unreported[number]
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise TooLong from None
                # After a fatal error: `poll` makes a new producer.
                self._on_failed(asked, error.args[0].str())

    def poll(self, timeout_s: float) -> None:
        """Report what has become of events; waits as long for the first of them."""
        _, fatal = run_callbacks(partial(self._producer.poll, timeout_s))
        if fatal is not None:
            _log.error("the producer of %s has failed, and is made anew: %s", self._topic, fatal.str())
            self._replace(fatal.str())

    def flush(self, timeout_s: float) -> int:
        """Wait until Kafka has all events; returns how many it has not."""
        run_callbacks(partial(self._producer.flush, timeout_s))
        return len(self._unreported)

    def _replace(self, why: str) -> None:
        with self._lock:
            old, self._producer = self._producer, Producer(self._config)
            lost, self._unreported = self._unreported, {}
        old.purge()
        run_callbacks(partial(old.flush, _PURGED_S))
        for asked in lost.values():
            self._on_failed(asked, why)

    def _report(self, number: int, error: KafkaError | None, message: Message) -> None:
        asked = self._unreported.pop(number, None)
        if asked is None:
            return
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            self._on_sent(asked, Place(partition, offset))
        else:
            self._on_failed(asked, "no offset" if error is None else error.str())
