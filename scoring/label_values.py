"""Reads the records of a labels topic: which event each is of, and what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.contract import Role, field_with_role
from scoring.training_set import Truth
from streams.definitions.labels import Labels, LabelSource, Task


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
    """Decodes the labels of a source.

    Args:
        source: The source.
        task: What its values are.
        schemas: The folder of the committed schemas.
        registry: Finds the schemas of Confluent-framed labels; without one such labels are unusable.
    """

    def __init__(self, source: LabelSource, task: Task, schemas: Path, registry: Registry | None = None) -> None:
        self._source, self._task, self._registry = source, task, registry
        self._writers = Decoder(*writer_schemas(source.contract, schemas))
        event_id = field_with_role(source.contract, Role.EVENT_ID)
        known_at = field_with_role(source.contract, Role.EVENT_TIME)
        assert event_id is not None, "Labels has checked it"
        assert known_at is not None, "contracts have one"
        self._event_id, self._known_at = event_id, known_at

    def read(self, value: bytes | None) -> Known | Unusable:
        """The label in a record's value.

        Raises:
            PenstockError: if the registry cannot be reached.
        """
        label = decode_label(value, self._source.contract, self._writers, self._registry)
        if isinstance(label, Rejection):
            return Unusable(label.message, is_value=False)
        truth, fault = truth_of(getattr(label, self._source.value), self._task)
        if fault:
            return Unusable(f"{self._source.value} {fault}", is_value=True)
        event_id = self._source.id_prefix + getattr(label, self._event_id)
        return Known(event_id, getattr(label, self._known_at), truth)


def decoders_of(labels: Labels, schemas: Path, registry: Registry | None = None) -> dict[str, LabelDecoder]:
    """A decoder for each topic of labels, in the order of the sources; the arguments are those of the class."""
    return {source.topic: LabelDecoder(source, labels.task, schemas, registry) for source in labels.sources}


def truth_of(value: Any, task: Task) -> tuple[Truth | None, str | None]:
    """What a label says of its event, or why it says nothing."""
    if value is None:
        return None, None
    if task == "multiclass":
        return str(value), None
    if task == "regression":
        return (float(value), None) if math.isfinite(value) else (None, "is no finite number")
    return (bool(value), None) if value in (0, 1) else (None, "is neither 0 nor 1")
