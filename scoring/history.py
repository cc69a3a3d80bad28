"""Reads from the predictions topic and its dead letters which raw events are already scored.

The Kafka side of :mod:`scoring.recall`. This module remembers only how far it has read; the memory keeps the events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.kafka.access import KafkaAccess
from penstock.kafka.gaps import NO_RESET
from penstock.kafka.transactions import Deadline
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from scoring.look_back import Ends
from scoring.memory import EventPosition
from scoring.predictions import event_position, event_position_of_dead_letter

_log = logging.getLogger(__name__)

# For each request: short, because nothing is consumed meanwhile, nor does the process stop.
_REQUEST_S = 5.0
# The end cannot be reached while a killed scorer's transaction is open: for transaction.timeout.ms, and up to 10 s more
# until the broker's next check. Restarts with every progress.
_STUCK_S = 60.0


class HistoryUnavailableError(Exception):
    """The predictions could not be read up to their end; the records read so far were discarded."""


@dataclass
class _OffsetRange:
    """Offsets still to be read: [position, end)."""

    position: int
    end: int


@dataclass
class _Unreadable:
    """The records that one read has passed over: how many, and why the first."""

    records: int = 0
    first: str = ""


class PredictionHistory:
    """Reads the scored events of a partition from the predictions topic and its dead letters.

    Args:
        kafka: How to reach Kafka.
        predictions_topic: The topic of predictions.
        dead_letter_topic: The topic of records that could not be scored.
        raw_topic: The topic of the events.
        clock: Monotonic seconds.
        stopping: Whether the process shall stop; a long read then ends with HistoryUnavailableError.
        on_unreadable: Called for each record of the predictions topic that is not a prediction. It is passed over: it
            answers no event.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        predictions_topic: str,
        dead_letter_topic: str,
        raw_topic: str,
        *,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
        on_unreadable: Callable[[], None] = lambda: None,
    ) -> None:
        self._predictions = predictions_topic
        self._topics = (predictions_topic, dead_letter_topic)
        self._raw = raw_topic
        self._clock = clock
        self._stopping = stopping
        self._on_unreadable = on_unreadable
        self._decoder = record_decoder("prediction")
        self._known_from: dict[tuple[str, int], int] = {}
        self._unreadable = _Unreadable()
        config = {
            **kafka.client(),
            # The client requires a group; it is never joined: partitions are assigned manually, nothing is committed.
            "group.id": f"penstock-history-{predictions_topic}",
            "enable.auto.commit": False,
            # As for the scorer's consumer: a request to a broker that has left must not hang forever.
            "metadata.recovery.strategy": "none",
            # Default 500: how long the fetch of one partition delays that of the next partition.
            "fetch.wait.max.ms": 10,
            # A read begins at an offset that the topic has (`read_from`). If Kafka deletes it meanwhile, the read fails
            # and is made again. The default, latest, would end it as if nothing had been scored.
            **NO_RESET,
            # Reports the end of a partition even if only transaction markers and aborted records precede it.
            "enable.partition.eof": True,
        }
        self._consumer = Consumer(config | {"isolation.level": "read_committed"}, logger=_log)
        self._bounds = Consumer(config | {"isolation.level": "read_uncommitted"}, logger=_log)

    def ends(self, partition: int) -> Ends:
        """The present ends of the topics of answers, those of transactions that are still open included.

        Raises:
            HistoryUnavailableError: if Kafka cannot be reached.
        """
        return Ends(*(self._end(topic, partition) for topic in self._topics))

    def raw_end(self, partition: int) -> int:
        """The present end of the raw topic.

        Raises:
            HistoryUnavailableError: if Kafka cannot be reached, or does not allow to ask.
        """
        return self._end(self._raw, partition)

    def starts_at(self, partition: int, since: int) -> Ends:
        """Where the records dated ``since`` (epoch ms) or later begin; the ends, if there is none.

        A negative ``since``, the timestamp of a record that has none, gives the beginnings.

        Raises:
            HistoryUnavailableError: if Kafka cannot be reached.
        """
        # Kafka takes negative times for special offsets: -1 is the end.
        asked = [TopicPartition(topic, partition, max(since, 0)) for topic in self._topics]
        try:
            starts = self._bounds.offsets_for_times(asked, timeout=_REQUEST_S)
            error = next((start.error for start in starts if start.error is not None), None)
        except KafkaException as failure:
            error = failure.args[0]
        if error is not None:
            # After a broker's restart the first request fails (FENCED_LEADER_EPOCH), the next one succeeds.
            raise self._unavailable(partition, error)
        found = {start.topic: start.offset for start in starts}
        # Offset -1: there is no record that late.
        return Ends(*(found[topic] if found[topic] >= 0 else self._end(topic, partition) for topic in self._topics))

    def read_from(self, partition: int, starts: Ends) -> Iterator[EventPosition]:
        """Yield every event answered in ``partition`` by a record at or after these offsets, if Kafka still has it.

        A start may lie before the first record that retention has left, as that of an old mark does: the read begins
        at that record then.

        Omits the events that earlier calls yielded, and those committed after the first call, until :meth:`forget`: the
        caller remembers both. A call that is not read to its end counts as not made.

        Raises:
            HistoryUnavailableError: if Kafka or the end of the topic cannot be reached, or the process shall stop.
        """
        ranges: dict[str, _OffsetRange] = {}
        for topic, start in zip(self._topics, starts, strict=True):
            # The end includes uncommitted records, which may be committed when read.
            first, present = self._offsets(topic, partition)
            end = self._known_from.get((topic, partition), present)
            ranges[topic] = _OffsetRange(min(max(start, first), end), end)
        positions = {(topic, partition): part.position for topic, part in ranges.items()}
        yield from self._read(partition, {topic: part for topic, part in ranges.items() if part.position < part.end})
        self._known_from.update(positions)

    def forget(self, partition: int) -> None:
        """Make the next :meth:`read_from` read up to the end: the caller no longer remembers the partition."""
        for topic in self._topics:
            self._known_from.pop((topic, partition), None)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._bounds.close()

    def _end(self, topic: str, partition: int) -> int:
        return self._offsets(topic, partition)[1]

    def _offsets(self, topic: str, partition: int) -> tuple[int, int]:
        """The offset of the first record that the topic still has, and the end."""
        try:
            first, end = self._bounds.get_watermark_offsets(TopicPartition(topic, partition), timeout=_REQUEST_S)
        except KafkaException as failure:
            raise self._unavailable(partition, failure.args[0]) from failure
        return first, end

    def _unavailable(self, partition: int, error: KafkaError) -> HistoryUnavailableError:
        return HistoryUnavailableError(f"offsets of {self._predictions}[{partition}]: {error.str()}")

    def _read(self, partition: int, ranges: dict[str, _OffsetRange]) -> Iterator[EventPosition]:
        if not ranges:
            return
        self._consumer.assign([TopicPartition(topic, partition, part.position) for topic, part in ranges.items()])
        self._unreadable = _Unreadable()
        try:
            deadline = Deadline.after(_STUCK_S, self._clock)
            while any(part.position < part.end for part in ranges.values()):
                if self._stopping():
                    raise HistoryUnavailableError("stopping")
                if deadline.expired:
                    raise HistoryUnavailableError(f"{self._predictions}[{partition}] cannot be read further: {ranges}")
                before = sum(part.position for part in ranges.values())
                for message in self._consumer.consume(10_000, timeout=0.01):
                    yield from self._process(message, ranges)
                if sum(part.position for part in ranges.values()) > before:
                    deadline = Deadline.after(_STUCK_S, self._clock)
        finally:
            self._consumer.unassign()
            if self._unreadable.records:
                _log.warning(
                    "%s[%d]: passed over %d records that are not predictions, such as %s",
                    self._predictions,
                    partition,
                    self._unreadable.records,
                    self._unreadable.first,
                )

    def _process(self, message: Message, ranges: dict[str, _OffsetRange]) -> list[EventPosition]:
        """Advance the range of the message's topic; the event that the message answers, if it is within the range."""
        error, offset = message.error(), message.offset()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of _
                part = ranges[message.topic()]
                part.position = max(part.position, offset)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                raise HistoryUnavailableError(f"{message.topic()}[{message.partition()}]: {error.str()}")
            else:
                _log.warning("reading %s: %s", self._predictions, error.str())
            return []
        part = ranges[message.topic()]
        part.position = max(part.position, offset + 1)
        if offset >= part.end:
            return []
        if message.topic() == self._predictions:
            where = f"{message.topic()}[{message.partition()}]@{offset}"
            try:
                return [event_position(self._decoder.decode(message.value() or b"", where))]
            except (Undecodable, UnknownSchema) as unreadable:
                self._unreadable.records += 1
                self._unreadable.first = self._unreadable.first or str(unreadable)
                self._on_unreadable()
                return []
        event = event_position_of_dead_letter(message.headers() or [])
        return [] if event is None else [event]
