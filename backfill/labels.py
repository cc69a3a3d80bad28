"""Reads the records of a labels topic as rows of the training set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.kafka.reading import Record
from schemas.codec import Registry
from scoring.label_values import LabelDecoder, Unusable
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
    """

    def __init__(self, labels: Labels, schemas: Path, registry: Registry | None = None) -> None:
        self.refused = Refusals(labels.topic)
        self._decoder = LabelDecoder(labels, schemas, registry)

    def rows(self, records: Iterable[Record]) -> Iterator[LabelRow]:
        """Yield one row per usable record, in record order; ``refused`` counts the others."""
        for record in records:
            label = self._decoder.read(record.value)
            if isinstance(label, Unusable):
                self.refused.values += label.is_value
                self.refused.add(record, label.reason)
                continue
            yield LabelRow(
                event_id=label.event_id,
                known_at_ms=label.known_at_ms,
                position=(record.timestamp, record.partition, record.offset),
                value=label.value,
                received_ms=record.timestamp if record.timestamp >= 0 else None,
            )
