"""Reads the records of a labels topic: which event each is of, and what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.contract import Role, field_with_role
from scoring.training_set import Truth
from streams.definitions.labels import Labels, Task


class Known(NamedTuple):
    """A label: its event, when it became known (epoch ms), and its value; None if it says nothing."""

    event_id: str
    known_at_ms: int
    value: Truth | None


class Unusable(NamedTuple):
    """Why a record is no label; ``is_value`` if its value is none of the task, though its contract allows it."""

    reason: str
    is_value: bool


class LabelDecoder:
    """Decodes labels.

    Args:
        labels: Their declaration.
        schemas: The folder of the committed schemas.
        registry: Finds the schemas of Confluent-framed labels; without one such labels are unusable.
    """

    def __init__(self, labels: Labels, schemas: Path, registry: Registry | None = None) -> None:
        self._labels, self._registry = labels, registry
        self._writers = Decoder(*writer_schemas(labels.contract, schemas))
        event_id = field_with_role(labels.contract, Role.EVENT_ID)
        known_at = field_with_role(labels.contract, Role.EVENT_TIME)
        assert event_id is not None, "Labels has checked it"
        assert known_at is not None, "contracts have one"
        self._event_id, self._known_at = event_id, known_at

    def read(self, value: bytes | None) -> Known | Unusable:
        """The label in a record's value.

        Raises:
            PenstockError: if the registry cannot be reached.
        """
        label = decode_label(value, self._labels.contract, self._writers, self._registry)
        if isinstance(label, Rejection):
            return Unusable(label.message, is_value=False)
        truth, fault = truth_of(getattr(label, self._labels.value), self._labels.task)
        if fault:
            return Unusable(f"{self._labels.value} {fault}", is_value=True)
        return Known(getattr(label, self._event_id), getattr(label, self._known_at), truth)


def truth_of(value: Any, task: Task) -> tuple[Truth | None, str | None]:
    """What a label says of its event, or why it says nothing."""
    if value is None:
        return None, None
    if task == "multiclass":
        return str(value), None
    if task == "regression":
        return (float(value), None) if math.isfinite(value) else (None, "is no finite number")
    return (bool(value), None) if value in (0, 1) else (None, "is neither 0 nor 1")
