"""Reads labels for the judge of a rollout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from schemas.codec import Decoder, Registry, Rejection, decode_label
from schemas.committed import writer_schemas
from schemas.contract import Role, field_with_role
from scoring.rollout.controller_records import Message, Unreadable, place
from scoring.rollout.observations import Label
from streams.definitions.pipeline import Labels
from streams.plan.project import Project


class LabelReader:
    """Reads labels.

    Args:
        labels: Their declaration.
        project: The pipeline.
        registry: Finds the schemas of Confluent-framed labels; without one such labels cannot be read.
    """

    def __init__(self, labels: Labels, project: Project, registry: Registry | None = None) -> None:
        self._labels, self._registry = labels, registry
        self._writers = Decoder(*writer_schemas(labels.contract, project.schemas))
        event_id = field_with_role(labels.contract, Role.EVENT_ID)
        known_at = field_with_role(labels.contract, Role.EVENT_TIME)
        assert event_id is not None, "Labels has checked it"
        assert known_at is not None, "contracts have one"
        self._event_id, self._known_at = event_id, known_at

    def read(self, messages: Sequence[Message], passed: list[Unreadable]) -> list[Label]:
        """The labels that say something; adds those that cannot be read to ``passed``.

        Raises:
            PenstockError: if the registry cannot be reached.
        """
        found, topic = [], self._labels.topic
        for message in messages:
            label = decode_label(message.value(), self._labels.contract, self._writers, self._registry)
            if isinstance(label, Rejection):
                passed.append(Unreadable(topic, place(topic, message), label.message))
                continue
            raw = getattr(label, self._labels.value)
            if raw is None:
                continue
            value = self._value(raw)
            if value is None:
                passed.append(Unreadable(topic, place(topic, message), f"{self._labels.value} is no label"))
                continue
            found.append(Label(getattr(label, self._event_id), value, getattr(label, self._known_at)))
        return found

    def _value(self, raw: Any) -> float | None:
        """What a label says of its event; None if its value is none of the task."""
        match self._labels.task:
            case "multiclass":
                return float(str(raw) == str(self._labels.positive))
            case "regression":
                return float(raw) if math.isfinite(raw) else None
            case "binary":
                return float(raw) if raw in (0, 1) else None
