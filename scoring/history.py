"""The thin adapter behind :mod:`scoring.memory`: reads from the predictions which raw events are already scored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.codec import Decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.memory import Source
from scoring.predictions import source_of, source_of_dead_letter
from scoring.transactions import Deadline

_log = logging.getLogger(__name__)

_REQUEST_S = 10.0
# The end cannot be reached while a killed scorer's transaction is open: transaction.timeout.ms, then up to 10 s until
# the broker looks for such. Counted anew with every bit of progress.
_STUCK_S = 60.0


class HistoryUnavailableError(Exception):
    """The predictions could not be read up to their end now; nothing was concluded from what was read."""


@dataclass
class _Range:
    """Offsets still to be read: [position, end)."""

    position: int
    end: int


class PredictionHistory:
    """Reads the scored events of a partition from the predictions topic and its dead letters.

    Args:
        bootstrap: Kafka bootstrap servers.
        predictions_topic: Where predictions are.
        dead_letter_topic: Where records are that could not be scored.
        clock: Monotonic seconds.
        stopping: Whether the process is to stop; a long read then ends with HistoryUnavailableError.
    """

    def __init__(
        self,
        bootstrap: str,
        predictions_topic: str,
        dead_letter_topic: str,
        *,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        self._predictions = predictions_topic
        self._topics = (predictions_topic, dead_letter_topic)
        self._bootstrap = bootstrap
        self._clock = clock
        self._stopping = stopping
        self._decoder = Decoder(PREDICTION_SCHEMA)
        self._known_from: dict[tuple[str, int], int] = {}
        self._admin: AdminClient | None = None
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # Required by the client, never joined: partitions are assigned by hand and nothing is committed.
                "group.id": f"penstock-history-{predictions_topic}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                # As for the scorer's consumer: what a broker was asked before it went away must not hang for ever.
                "metadata.recovery.strategy": "none",
                # Tells that the end is reached also when what lies there are only markers and aborted records.
                "enable.partition.eof": True,
            },
            logger=_log,
        )

    def scored(self, partition: int, since: int) -> list[Source]:
        """Every event answered in ``partition`` by a record dated ``since`` (epoch ms) or later.

        Less what an earlier call returned, until :meth:`forget`: the caller remembers that, and what it has itself
        committed since.

        Raises:
            HistoryUnavailableError: if Kafka cannot be reached, the end cannot be, or the process is to stop.
        """
        ranges = self._ranges(partition, since)
        starts = {topic: part.position for topic, part in ranges.items()}
        sources = self._read(partition, {topic: part for topic, part in ranges.items() if part.position < part.end})
        self._known_from.update({(topic, partition): start for topic, start in starts.items()})
        return sources

    def forget(self, partition: int) -> None:
        """Let the next :meth:`scored` read up to the end: the caller no longer knows what it was told."""
        for topic in self._topics:
            self._known_from.pop((topic, partition), None)

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()

    def _ranges(self, partition: int, since: int) -> dict[str, _Range]:
        starts = self._offsets(partition, OffsetSpec.for_timestamp(since))
        ends = self._offsets(partition, OffsetSpec.latest())
        ranges = {}
        for topic in self._topics:
            end = self._known_from.get((topic, partition), ends[topic])
            # No record that late: Kafka answers -1.
            ranges[topic] = _Range(starts[topic] if starts[topic] >= 0 else end, end)
            ranges[topic].position = min(ranges[topic].position, end)
        return ranges

    def _offsets(self, partition: int, spec: OffsetSpec) -> dict[str, int]:
        """Offsets among all records, the uncommitted included: one hidden now may be committed when we get there."""
        asked = {TopicPartition(topic, partition): spec for topic in self._topics}
        self._admin = self._admin or AdminClient({"bootstrap.servers": self._bootstrap}, logger=_log)
        try:
            futures = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_REQUEST_S
            )
            return {tp.topic: future.result(_REQUEST_S + 1).offset for tp, future in futures.items()}
        except Exception as error:  # KafkaException, or the future's own timeout
            # After a broker's restart the client asks with the leader epoch that it knew, and is fenced, until its next
            # metadata refresh minutes later (librdkafka#4620 was mended for consumers only). A new client asks anew.
            self._admin = None
            raise HistoryUnavailableError(
                f"offsets of {self._predictions}[{partition}] cannot be had: {error}"
            ) from error

    def _read(self, partition: int, ranges: dict[str, _Range]) -> list[Source]:
        if not ranges:
            return []
        sources: list[Source] = []
        self._consumer.assign([TopicPartition(topic, partition, part.position) for topic, part in ranges.items()])
        try:
            deadline = Deadline.after(_STUCK_S, self._clock)
            while any(part.position < part.end for part in ranges.values()):
                if self._stopping():
                    raise HistoryUnavailableError("stopping")
                if deadline.expired:
                    raise HistoryUnavailableError(f"{self._predictions}[{partition}] stays unreadable at {ranges}")
                before = sum(part.position for part in ranges.values())
                for message in self._consumer.consume(10_000, timeout=0.01):
                    sources += self._take(message, ranges)
                if sum(part.position for part in ranges.values()) > before:
                    deadline = Deadline.after(_STUCK_S, self._clock)
        finally:
            self._consumer.unassign()
        return sources

    def _take(self, message: Message, ranges: dict[str, _Range]) -> list[Source]:
        error, offset = message.error(), message.offset()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of _
                part = ranges[message.topic()]
                part.position = max(part.position, offset)
            else:
                _log.warning("reading %s: %s", self._predictions, error.str())
            return []
        part = ranges[message.topic()]
        part.position = max(part.position, offset + 1)
        if offset >= part.end:
            return []
        if message.topic() == self._predictions:
            where = f"{message.topic()}[{message.partition()}]@{offset}"
            return [source_of(self._decoder.decode(message.value(), where))]
        source = source_of_dead_letter(message.headers() or [])
        return [] if source is None else [source]
