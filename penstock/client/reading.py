"""Reads what becomes of events: predictions and dead letters, of all partitions, as they are committed."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.reading import watermarks
from penstock.kafka.topics import admin_client
from schemas.codec import HEADER_LENGTH, MARKER

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_BATCH = 500
_TIMEOUT_S = 15.0
_CATCH_UP_S = 60.0
_LOG_EVERY_S = 60.0
_LOOK_S = 2.0
_VARINT_MOST = 63


class Topic(NamedTuple):
    """A topic to read: what is done with each record, and how many of the records before the start are read."""

    on_message: Callable[[Message], object]
    look_back: int = 0


class Part(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class AnswerReader:
    """Reads topics in a thread of its own, from :meth:`start` to :meth:`close`. It is in no consumer group.

    A record for which ``on_message`` raises is passed over. Whatever Kafka reports, the thread goes on: the client
    library connects again by itself.

    Args:
        kafka: How to reach Kafka.
        topics: By name.
        on_unreadable: Called for each record that is passed over.
    """

    def __init__(self, kafka: KafkaAccess, topics: Mapping[str, Topic], on_unreadable: Callable[[], object]) -> None:
        self._kafka, self._topics, self._on_unreadable = kafka, topics, on_unreadable
        self._consumer = Consumer(
            {
                **kafka.client(),
                # librdkafka wants a name; nothing is committed under it.
                "group.id": f"penstock-read-{uuid.uuid4()}",
                # A prediction that is not committed may be withdrawn, and made anew by another version.
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                # Only after records were deleted unread, or a topic was made anew: read all that there is.
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "reconnect.backoff.max.ms": 1_000,
                **QUIET,
            }
        )
        # A consumer's own list_topics does not return while another thread polls it (librdkafka 2.16).
        self._admin = admin_client(kafka)
        self._new: queue.SimpleQueue[list[Part]] = queue.SimpleQueue()
        self._known: set[Part] = set()
        self._behind: set[Part] = set()
        self._caught_up = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-client-read", daemon=True)
        self._logged_s = -_LOG_EVERY_S

    @property
    def is_alive(self) -> bool:
        """Whether it reads."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to read; returns when all that was published before has been read.

        Raises:
            PenstockError: if Kafka cannot be reached, or a topic does not exist or cannot be read.
        """
        try:
            starts = self._starts()
        except PenstockError:
            self._consumer.close()
            raise
        self._known = {Part(each.topic, each.partition) for each in starts}
        self._behind = set(self._known)
        self._consumer.assign(starts)
        self._thread.start()
        if not self._caught_up.wait(_CATCH_UP_S):
            self.close()
            raise PenstockError(
                f"predictions cannot be read: not at the end after {_CATCH_UP_S:.0f} s",
                where=f"{', '.join(self._topics)} at {self._kafka}",
                next="penstock status; a reader's rights are in deploy/security/kafka-acls.toml",
            )

    def look_for_partitions(self) -> None:
        """Read partitions that topics have got since, from their beginning. Any other thread may call it."""
        for topic in self._topics:
            try:
                metadata = self._admin.list_topics(topic, timeout=_LOOK_S).topics[topic]
            except KafkaException:
                return  # Kafka does not answer now
            # No partition while the topic cannot be read.
            found = {Part(topic, partition) for partition in metadata.partitions} - self._known
            if metadata.error is None and found:
                self._known |= found
                self._new.put(sorted(found))

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._consumer.close()

    def _starts(self) -> list[TopicPartition]:
        starts = []
        try:
            for topic, settings in self._topics.items():
                metadata = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
                if metadata.error is not None:
                    raise PenstockError(
                        f"topic {topic} cannot be read: {metadata.error.str()}",
                        where=str(self._kafka),
                        next="penstock topics create PIPELINE, if it does not exist yet",
                    )
                share = -(-settings.look_back // max(1, len(metadata.partitions)))
                for partition in metadata.partitions:
                    low, end = watermarks(self._consumer, topic, partition)
                    starts.append(TopicPartition(topic, partition, max(low, end - share)))
        except KafkaException as error:
            raise PenstockError(
                f"Kafka cannot be reached: {error.args[0].str()}", where=str(self._kafka), next="penstock status"
            ) from error
        return starts

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                while not self._new.empty():
                    new = self._new.get()
                    _log.info("new partitions: %s", ", ".join(f"{part.topic}[{part.partition}]" for part in new))
                    self._consumer.incremental_assign([TopicPartition(*part, 0) for part in new])
                # Not one call that waits: it would wait its whole time for records to fill the batch.
                first = self._consumer.poll(_POLL_S)
                for message in [] if first is None else [first, *self._consumer.consume(_BATCH, 0)]:
                    self._take(message)
            except KafkaException as error:
                self._log(f"predictions cannot be read now: {error.args[0].str()}")
                self._stop.wait(_POLL_S)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            try:
                self._topics[str(message.topic())].on_message(message)
            except Exception as why:  # noqa: BLE001 - whatever others write there, this goes on
                where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
                self._log(f"{where} is passed over: {why}")
                self._on_unreadable()
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of its name
            self._behind.discard(Part(str(message.topic()), int(message.partition() or 0)))
            if not self._behind:
                self._caught_up.set()
        else:
            self._log(f"predictions cannot be read now: {error.str()}")

    def _log(self, what: str) -> None:
        """Log, once a minute at most."""
        now = time.monotonic()
        if now - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now
            _log.warning("%s", what)


def event_id_of(value: bytes | None) -> str | None:
    """The event id of a prediction's value, its first field, without decoding the rest; None if it is no prediction."""
    if value is None or value[:2] != MARKER:
        return None
    length, shift, at = 0, 0, HEADER_LENGTH
    while at < len(value) and shift <= _VARINT_MOST:
        byte = value[at]
        length |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            end = at + (length >> 1)
            return value[at:end].decode(errors="replace") if not length & 1 and end <= len(value) else None
    return None
