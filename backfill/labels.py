"""Reads the records of the topics of labels as rows of the training set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.kafka.reading import Record
from schemas.codec import Registry
from scoring.label_values import LabelDecoder, Unusable, decoders_of
from scoring.training_set import LabelRow
from streams.definitions.labels import Labels

_log = logging.getLogger(__name__)

_LOGGED_REFUSALS = 5


@dataclass
class Refusals:
    """Counts the records that are left out, and logs the first few with place and reason.

    ``values`` counts those of them whose value is none of the task, though their contract allows it.
    """

    topic: str
    count: int = 0
    values: int = 0

    def add(self, record: Record, reason: str) -> None:
        """Count a record, and log it if it is one of the first."""
        self.count += 1
        if self.count <= _LOGGED_REFUSALS:
            _log.warning("left out %s[%d]@%d: %s", self.topic, record.partition, record.offset, reason)


class LabelReader:
    """Reads label records as rows; ``schemas`` is the folder of the committed schemas.

    ``registry`` finds the schemas of Confluent-framed labels; without one such labels are refused.

    Attributes:
        refused: What was left out, by topic, in the order of the sources.
    """

    def __init__(self, labels: Labels, schemas: Path, registry: Registry | None = None) -> None:
        self._decoders = decoders_of(labels, schemas, registry)
        self.refused = {topic: Refusals(topic) for topic in self._decoders}

    def rows(self, read: Callable[[str], Iterable[Record]]) -> Iterator[LabelRow]:
        """Yield one row per usable record, of one source after the other, in record order.

        Args:
            read: Gives the records of a topic.
        """
        for source, (topic, decoder) in enumerate(self._decoders.items()):
            yield from self._rows(source, decoder, self.refused[topic], read(topic))

    @property
    def refusals(self) -> int:
        """How many records were left out."""
        return sum(refused.count for refused in self.refused.values())

    def _rows(
        self, source: int, decoder: LabelDecoder, refused: Refusals, records: Iterable[Record]
    ) -> Iterator[LabelRow]:
        for record in records:
            label = decoder.read(record.value)
            if isinstance(label, Unusable):
                refused.values += label.is_value
                refused.add(record, label.reason)
                continue
            yield LabelRow(
                event_id=label.event_id,
                known_at_ms=label.known_at_ms,
                position=(record.timestamp, record.partition, record.offset),
                value=label.value,
                received_ms=record.timestamp if record.timestamp >= 0 else None,
                source=source,
            )
