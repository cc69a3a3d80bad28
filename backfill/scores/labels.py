"""What labels say of past events, for the comparison of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from backfill.labels import LabelReader
from penstock.kafka.reading import Record
from schemas.codec import Registry
from scoring.label_maturity import Maturity, reached
from scoring.training_set import LabelRow, Truth, by_event, label_of
from streams.definitions.labels import Labels
from streams.plan.project import Project


@dataclass(frozen=True)
class Truths:
    """Says of events whether they are positive in truth, by the rule that training sets obey.

    Of several labels of an event, the one that became known last counts; one that was taken back says nothing. With a
    horizon, an event counts once it is that old, and its label if it came by then. The value of a regression is
    positive from the model's threshold on.

    Args:
        labels: The declaration.
        threshold: The model's threshold.
        known: The labels of each event, by its id.
        reached_ms: The latest time that labels have reached; None if there is none.
    """

    labels: Labels
    threshold: float
    known: Mapping[str, Sequence[LabelRow]]
    reached_ms: int | None

    @classmethod
    def of(cls, project: Project, records: Iterable[Record], registry: Registry | None) -> Self:
        """By the labels topic of a pipeline that has labels; ``registry`` finds the schemas of framed ones."""
        labels = project.pipeline.labels
        assert labels is not None, "the caller has checked it"
        rows = list(LabelReader(labels, project.schemas, registry).rows(records))
        newest = reached((row.known_at_ms, row.received_ms) for row in rows)
        return cls(labels, project.pipeline.model.threshold, by_event(rows), newest)

    def __call__(self, event_id: str, event_time_ms: int, served: str | None) -> bool | None:
        """Whether an event is positive, None if nobody knows; ``served`` is the decision that was served for it.

        No label means what the definition says, but nothing after the decision that hides the outcome.
        """
        maturity = Maturity.of(self.labels)
        if maturity.horizon_ms is not None and (
            self.reached_ms is None or event_time_ms + maturity.horizon_ms > self.reached_ms
        ):
            return None
        value = label_of(self.known.get(event_id, ()), event_time_ms, maturity.horizon_ms)
        if value is not None:
            return _is_positive(value, self.labels, self.threshold)
        hidden = self.labels.hidden_by is not None and served == self.labels.hidden_by
        return False if maturity.absent == "negative" and not hidden else None


def _is_positive(value: Truth, labels: Labels, threshold: float) -> bool:
    if labels.task == "multiclass":
        return str(value) == str(labels.positive)
    return float(value) >= (threshold if labels.task == "regression" else 1)
