"""What labels say of past events, for the comparison of decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from backfill.labels import LabelReader
from backfill.scores.spilled import Spilled
from penstock.kafka.reading import Record
from schemas.codec import Registry
from scoring.label_maturity import Maturity, reached
from scoring.training_set import LabelRow, Truth, label_of
from streams.definitions.labels import Labels
from streams.plan.project import Project

_AT_ONCE = 10_000


@dataclass(frozen=True)
class Truths:
    """Says of events whether they are positive in truth, by the rule that training sets obey.

    Of several labels of an event and source, the one that became known last counts; one that was taken back says
    nothing. Of several sources, the first that says something counts. With a
    horizon, an event counts once it is that old, and its label if it came by then. The value of a regression is
    positive from the model's threshold on.

    Args:
        labels: The declaration.
        threshold: The model's threshold.
        known: The labels of each event, by its id: any number of them, in bounded memory.
        reached_ms: The latest time that labels have reached; None if there is none.
    """

    labels: Labels
    threshold: float
    known: Spilled[str]
    reached_ms: int | None

    @classmethod
    def of(
        cls, project: Project, read: Callable[[str], Iterable[Record]], registry: Registry | None, folder: Path
    ) -> Self:
        """By the labels of a pipeline that has some; ``registry`` finds the schemas of framed ones.

        ``read`` gives the records of a topic. ``folder`` has room for labels that do not fit into memory.
        """
        labels = project.pipeline.labels
        assert labels is not None, "the caller has checked it"
        rows = LabelReader(labels, project.schemas, registry).rows(read)
        known = Spilled[str](folder)
        newest = reached(_kept(rows, known))
        return cls(labels, project.pipeline.model.threshold, known, newest)

    def __call__(
        self, event_ids: Sequence[str], event_times_ms: Sequence[int], served: Sequence[str | None]
    ) -> list[bool | None]:
        """Whether events are positive, None if nobody knows; ``served`` are the decisions that were served for them.

        No label means what the definition says, but nothing after the decision that hides the outcome.
        """
        known = self.known.of(event_ids)
        events = zip(event_ids, event_times_ms, served, strict=True)
        return [self._truth(known.get(event_id, ()), time_ms, decision) for event_id, time_ms, decision in events]

    def _truth(self, known: Sequence[Any], event_time_ms: int, served: str | None) -> bool | None:
        maturity = Maturity.of(self.labels)
        if maturity.horizon_ms is not None and (
            self.reached_ms is None or event_time_ms + maturity.horizon_ms > self.reached_ms
        ):
            return None
        value = label_of([_row(one) for one in known], event_time_ms, maturity.horizon_ms)
        if value is not None:
            return _is_positive(value, self.labels, self.threshold)
        hidden = self.labels.hidden_by is not None and served == self.labels.hidden_by
        return False if maturity.absent == "negative" and not hidden else None


def _kept(rows: Iterable[LabelRow], known: Spilled[str]) -> Iterator[tuple[int, int | None]]:
    """Keep labels, some at a time; yields of each when it became known, and when it was received."""
    left = iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        known.add((row.event_id, (row.known_at_ms, row.position, row.value, row.source)) for row in some)
        yield from ((row.known_at_ms, row.received_ms) for row in some)


def _row(kept: Sequence[Any]) -> LabelRow:
    known_at_ms, position, value, source = kept
    return LabelRow("", known_at_ms, tuple(position), value, source=source)


def _is_positive(value: Truth, labels: Labels, threshold: float) -> bool:
    if labels.task == "multiclass":
        return str(value) == str(labels.positive)
    return float(value) >= (threshold if labels.task == "regression" else 1)
