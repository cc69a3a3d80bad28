"""Reads the records of a labels topic as rows of the training set."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.contract import Role, field_with_role
from scoring.training_set import LabelRow, Truth
from streams.definitions.pipeline import Labels, Task

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
        self._labels, self._registry = labels, registry
        contract = labels.contract
        self._id = field_with_role(contract, Role.EVENT_ID)
        self._known_at = field_with_role(contract, Role.EVENT_TIME)
        assert self._id is not None, "Labels has checked it"
        self._writers = Decoder(*writer_schemas(contract, schemas))

    def rows(self, records: Iterable[Record]) -> Iterator[LabelRow]:
        """Yield one row per usable record, in record order; ``refused`` counts the others."""
        for record in records:
            label = decode_label(record.value, self._labels.contract, self._writers, self._registry)
            if isinstance(label, Rejection):
                self.refused.add(record, label.message)
                continue
            value, fault = _truth(getattr(label, self._labels.value), self._labels.task)
            if fault:
                self.refused.values += 1
                self.refused.add(record, f"{self._labels.value} {fault}")
                continue
            assert self._id is not None
            assert self._known_at is not None
            yield LabelRow(
                event_id=getattr(label, self._id),
                known_at_ms=getattr(label, self._known_at),
                position=(record.timestamp, record.partition, record.offset),
                value=value,
            )


def _truth(value: Any, task: Task) -> tuple[Truth | None, str | None]:
    """What a label says of its event, or why it says nothing."""
    if value is None:
        return None, None
    if task == "multiclass":
        return str(value), None
    if task == "regression":
        return (float(value), None) if math.isfinite(value) else (None, "is no finite number")
    return (bool(value), None) if value in (0, 1) else (None, "is neither 0 nor 1")
