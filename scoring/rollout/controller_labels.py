"""Reads labels for the judge of a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.codec import Registry
from scoring.label_values import Unusable, decoders_of
from scoring.rollout.controller_records import Message, Unreadable, place
from scoring.rollout.observations import Label
from scoring.training_set import Truth
from streams.definitions.labels import Labels
from streams.plan.project import Project


class LabelReader:
    """Reads labels.

    Args:
        labels: Their declaration.
        project: The pipeline.
        registry: Finds the schemas of Confluent-framed labels; without one such labels cannot be read.
    """

    def __init__(self, labels: Labels, project: Project, registry: Registry | None = None) -> None:
        self._labels = labels
        self._decoders = decoders_of(labels, project.schemas, registry)

    def read(self, messages: Mapping[str, Sequence[Message]], passed: list[Unreadable]) -> list[Label]:
        """The labels, also those that withdraw others; adds those that cannot be read to ``passed``.

        Args:
            messages: The records, by topic; those of other topics are not looked at.
            passed: The records that could not be read.

        Raises:
            PenstockError: if the registry cannot be reached.
        """
        found = []
        for source, (topic, decoder) in enumerate(self._decoders.items()):
            for message in messages.get(topic, ()):
                label = decoder.read(message.value())
                if isinstance(label, Unusable):
                    passed.append(Unreadable(topic, place(topic, message), label.reason))
                else:
                    value = None if label.value is None else self._value(label.value)
                    at = message.timestamp()[1], message.partition(), message.offset()
                    found.append(Label(label.event_id, value, label.known_at_ms, *at, source))
        return found

    def _value(self, truth: Truth) -> float:
        """What a label says of its event, as the judge takes it."""
        return float(truth == str(self._labels.positive)) if self._labels.task == "multiclass" else float(truth)
