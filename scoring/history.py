"""Reads from the predictions topic and its dead letters which raw events are already scored.

The Kafka side of :mod:`scoring.memory`. This module remembers only how far it has read; the memory keeps the events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.kafka.access import KafkaAccess
from penstock.kafka.transactions import Deadline
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from scoring.memory import EventPosition
from scoring.predictions import event_position, event_position_of_dead_letter

_log = logging.getLogger(__name__)

_REQUEST_S = 10.0
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


class PredictionHistory:
    """Reads the scored events of a partition from the predictions topic and its dead letters.

    Args:
        kafka: How to reach Kafka.
        predictions_topic: The topic of predictions.
        dead_letter_topic: The topic of records that could not be scored.
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
        *,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
        on_unreadable: Callable[[], None] = lambda: None,
    ) -> None:
        self._predictions = predictions_topic
        self._topics = (predictions_topic, dead_letter_topic)
        self._clock = clock
        self._stopping = stopping
        self._on_unreadable = on_unreadable
        self._decoder = record_decoder("prediction")
        self._known_from: dict[tuple[str, int], int] = {}
        config = {
            **kafka.client(),
            # The client requires a group; it is never joined: partitions are assigned manually, nothing is committed.
            "group.id": f"penstock-history-{predictions_topic}",
            "enable.auto.commit": False,
            # As for the scorer's consumer: a request to a broker that has left must not hang forever.
            "metadata.recovery.strategy": "none",
            # Default 500: how long the fetch of one partition delays that of the next partition.
            "fetch.wait.max.ms": 10,
            # Reports the end of a partition even if only transaction markers and aborted records precede it.
            "enable.partition.eof": True,
        }
        self._consumer = Consumer(config | {"isolation.level": "read_committed"}, logger=_log)
        self._bounds = Consumer(config | {"isolation.level": "read_uncommitted"}, logger=_log)

    def read_scored(self, partition: int, since: int) -> Iterator[EventPosition]:
        """Yield every event answered in ``partition`` by a record dated ``since`` (epoch ms) or later.

        A negative ``since``, the timestamp of a record that has none, yields all. Omits the events that earlier calls
        yielded, and those committed after the first call, until :meth:`forget`: the caller remembers both. A call that
        is not read to its end counts as not made.

        Raises:
            HistoryUnavailableError: if Kafka or the end of the topic cannot be reached, or the process shall stop.
        """
        ranges = self._find_ranges(partition, since)
        starts = {topic: part.position for topic, part in ranges.items()}
        yield from self._read(partition, {topic: part for topic, part in ranges.items() if part.position < part.end})
        self._known_from.update({(topic, partition): start for topic, start in starts.items()})

    def forget(self, partition: int) -> None:
        """Make the next :meth:`read_scored` read up to the end: the caller no longer remembers the partition."""
        for topic in self._topics:
            self._known_from.pop((topic, partition), None)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._bounds.close()

    def _find_ranges(self, partition: int, since: int) -> dict[str, _OffsetRange]:
        """The offsets to read of each topic. Ends include uncommitted records, which may be committed when read."""
        # Kafka takes negative times for special offsets: -1 is the end.
        asked = [TopicPartition(topic, partition, max(since, 0)) for topic in self._topics]
        try:
            starts = self._bounds.offsets_for_times(asked, timeout=_REQUEST_S)
            ends = {tp.topic: self._bounds.get_watermark_offsets(tp, timeout=_REQUEST_S)[1] for tp in asked}
            error = next((start.error for start in starts if start.error is not None), None)
        except KafkaException as failure:
            error = failure.args[0]
        if error is not None:
            # After a broker's restart the first request fails (FENCED_LEADER_EPOCH), the next one succeeds.
            raise HistoryUnavailableError(f"offsets of {self._predictions}[{partition}]: {error.str()}")
        ranges = {}
        for tp in starts:
            end = self._known_from.get((tp.topic, partition), ends[tp.topic])
            # Offset -1: there is no record that late.
            ranges[tp.topic] = _OffsetRange(min(tp.offset, end) if tp.offset >= 0 else end, end)
        return ranges

    def _read(self, partition: int, ranges: dict[str, _OffsetRange]) -> Iterator[EventPosition]:
        if not ranges:
            return
        self._consumer.assign([TopicPartition(topic, partition, part.position) for topic, part in ranges.items()])
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

    def _process(self, message: Message, ranges: dict[str, _OffsetRange]) -> list[EventPosition]:
        """Advance the range of the message's topic; the event that the message answers, if it is within the range."""
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
            try:
                return [event_position(self._decoder.decode(message.value() or b"", where))]
            except (Undecodable, UnknownSchema) as unreadable:
                _log.warning("passed over a record that is not a prediction: %s", unreadable)
                self._on_unreadable()
                return []
        event = event_position_of_dead_letter(message.headers() or [])
        return [] if event is None else [event]
