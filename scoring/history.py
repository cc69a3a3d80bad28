"""The thin adapter behind :mod:`scoring.memory`: reads from the predictions which raw events are already scored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.kafka.access import KafkaAccess
from penstock.kafka.transactions import Deadline
from schemas.history import record_decoder
from scoring.memory import Source
from scoring.predictions import source_of, source_of_dead_letter

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
        kafka: How to reach Kafka.
        predictions_topic: Where predictions are.
        dead_letter_topic: Where records are that could not be scored.
        clock: Monotonic seconds.
        stopping: Whether the process is to stop; a long read then ends with HistoryUnavailableError.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        predictions_topic: str,
        dead_letter_topic: str,
        *,
        clock: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        self._predictions = predictions_topic
        self._topics = (predictions_topic, dead_letter_topic)
        self._clock = clock
        self._stopping = stopping
        self._decoder = record_decoder("prediction")
        self._known_from: dict[tuple[str, int], int] = {}
        config = {
            **kafka.client(),
            # Required by the client, never joined: partitions are assigned by hand and nothing is committed.
            "group.id": f"penstock-history-{predictions_topic}",
            "enable.auto.commit": False,
            # As for the scorer's consumer: what a broker was asked before it went away must not hang for ever.
            "metadata.recovery.strategy": "none",
            # Default 500: how long the fetch for one partition holds up the next partition's.
            "fetch.wait.max.ms": 10,
            # Tells that the end is reached also when what lies there are only markers and aborted records.
            "enable.partition.eof": True,
        }
        self._consumer = Consumer(config | {"isolation.level": "read_committed"}, logger=_log)
        self._bounds = Consumer(config | {"isolation.level": "read_uncommitted"}, logger=_log)

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
        """Give the connections back."""
        self._consumer.close()
        self._bounds.close()

    def _ranges(self, partition: int, since: int) -> dict[str, _Range]:
        """What is to be read of each topic, among all records: one hidden now may be committed when we get there."""
        asked = [TopicPartition(topic, partition, since) for topic in self._topics]
        try:
            starts = self._bounds.offsets_for_times(asked, timeout=_REQUEST_S)
            ends = {tp.topic: self._bounds.get_watermark_offsets(tp, timeout=_REQUEST_S)[1] for tp in asked}
            error = next((start.error for start in starts if start.error is not None), None)
        except KafkaException as failure:
            error = failure.args[0]
        if error is not None:
            # After a broker's restart the first question fails (FENCED_LEADER_EPOCH), the next one does not.
            raise HistoryUnavailableError(f"offsets of {self._predictions}[{partition}]: {error.str()}")
        ranges = {}
        for tp in starts:
            end = self._known_from.get((tp.topic, partition), ends[tp.topic])
            # No record that late: Kafka answers -1.
            ranges[tp.topic] = _Range(min(tp.offset, end) if tp.offset >= 0 else end, end)
        return ranges

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
