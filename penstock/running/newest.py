"""The newest records of a pipeline's topics: predictions for their latency, drift alerts, dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.kafka.reading import Record, read_topic
from penstock.running.figures import Alert, Letter
from schemas.codec import Undecodable, UnknownSchema
from schemas.dead_letters import DeadLetter
from schemas.history import HistoryDecoder, record_decoder

SHOWN = 3
_LATENCIES = 50


class NewestRecords:
    """Reads the ends of topics.

    Args:
        kafka: How to reach Kafka.
        lag: Knows where topics end.
    """

    def __init__(self, kafka: KafkaAccess, lag: Lag) -> None:
        self._kafka, self._lag = kafka, lag
        self._seen: dict[str, tuple[dict[int, int], list[Record]]] = {}

    def latencies(self, topic: str) -> list[tuple[int, int]]:
        """Of the newest predictions: when each was written (epoch ms), and how long after its event (ms)."""
        return latencies_in(self._records(topic, _LATENCIES))

    def alerts(self, topic: str) -> tuple[Alert, ...]:
        """The newest drift alerts, the newest first."""
        return alerts_in(self._records(topic, SHOWN))

    def letters(self, topics: Iterable[str], pipeline: str) -> tuple[Letter, ...]:
        """The newest dead letters of a pipeline, the newest first."""
        found = [letter for topic in topics for letter in letters_in(topic, self._records(topic, SHOWN), pipeline)]
        return tuple(sorted(found, key=lambda letter: letter.time_ms, reverse=True)[:SHOWN])

    def _records(self, topic: str, most: int) -> list[Record]:
        """The newest few of each partition; read again only if the topic has grown."""
        ends = self._lag.end_offsets(topic)
        if topic in self._seen and self._seen[topic][0] == ends:
            return self._seen[topic][1]
        earliest = self._lag.earliest_offsets(topic)
        # A transaction's marker has an offset, too.
        start = {
            number: max(earliest[number], end - most - 1) for number, end in ends.items() if end > earliest[number]
        }
        records = [*read_topic(self._kafka, topic, start=start, end={n: ends[n] for n in start})] if start else []
        self._seen[topic] = ends, records
        return records


def latencies_in(records: Iterable[Record]) -> list[tuple[int, int]]:
    """As :meth:`NewestRecords.latencies`, of records; what is no prediction is passed over."""
    found = []
    for record, prediction in _decoded(records, _decoder("prediction").decode):
        begun = prediction["source"]["timestamp"]
        if begun >= 0 and record.timestamp >= 0:
            found.append((record.timestamp, max(0, record.timestamp - begun)))
    return found


def alerts_in(records: Iterable[Record]) -> tuple[Alert, ...]:
    """As :meth:`NewestRecords.alerts`, of records; what is no alert is passed over."""
    found = [
        Alert(alert["event_time"], alert["monitor"], alert["detector"], alert["reference"], alert["current"])
        for _, alert in _decoded(records, _decoder("drift_alert").decode)
    ]
    return tuple(sorted(found, key=lambda alert: alert.time_ms, reverse=True)[:SHOWN])


def letters_in(topic: str, records: Iterable[Record], pipeline: str) -> list[Letter]:
    """The dead letters of a pipeline among records; what is no letter, or another pipeline's, is passed over."""
    found = []
    for record in records:
        try:
            letter = DeadLetter.read(record.key, record.value, record.headers)
        except ValueError:
            continue
        if letter.pipeline in (pipeline, None):
            place = f"{topic}[{record.partition}]@{record.offset}"
            found.append(Letter(record.timestamp, place, letter.component, letter.reason, letter.message))
    return found


@cache
def _decoder(name: str) -> HistoryDecoder:
    return record_decoder(name)


def _decoded(
    records: Iterable[Record], decode: Callable[[bytes], Mapping[str, Any]]
) -> Iterable[tuple[Record, Mapping[str, Any]]]:
    for record in records:
        try:
            yield record, decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue
