"""Recomputes one stage's views with the kernel of the live job, in this process, for given orders of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backfill.parity.raw import RawEvent
from streams.plan.model import PipelinePlan, StagePlan

# Rows of one request: it and its answer are text in memory, a few hundred bytes for each row.
_ROWS_PER_REQUEST = 20_000


class FeatureKernel(Protocol):
    """What :class:`streams.inprocess.kernel.Kernel` offers."""

    def features(self, plan: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ViewValues:
    """A view's part for one event: as the job would emit it, without the counters of a run."""

    entity: str
    as_of: int
    late: bool
    values: Mapping[str, Any]

    def by_name(self) -> dict[str, Any]:
        """What is compared, by name: the entity, when, whether late, and the features that are no SQL of others."""
        return {"entity": self.entity, "as_of": self.as_of, "late": self.late, **self.values}


class StageKernel:
    """Computes the views of one stage.

    Args:
        plan: The plan.
        stage: The stage.
        kernel: The kernel.
    """

    def __init__(self, plan: PipelinePlan, stage: StagePlan, kernel: FeatureKernel) -> None:
        # Copies are left out before, and each stage is computed alone: the sample has all events of its entities, and
        # seldom those of the entities of other stages.
        sources = [source.model_copy(update={"event_id": None}) for source in plan.sources]
        changes = {"source": sources[0], "additional_sources": tuple(sources[1:]), "stages": (stage,)}
        self._plan = plan.model_copy(update=changes).model_dump(mode="json")
        self._sources, self._stage, self._kernel = plan.sources, stage, kernel
        features = [feature for view in stage.views for feature in view.features]
        keys = plan.key_columns(stage.views[0])
        used = {*keys, *(f.column for f in features), *(f.where for f in features)}
        self._columns = sorted(name for name in used if name is not None)

    def compute(self, chains: Sequence[Sequence[RawEvent]]) -> list[list[dict[str, ViewValues]]]:
        """The views by name after each event of each chain; a chain has the events of one entity, in order.

        No two chains may be of the same entity.

        Raises:
            PenstockError: if the kernel fails.
        """
        found: list[list[dict[str, ViewValues]]] = []
        for some in _blocks(chains):
            rows = [self._row(event) for chain in some for event in chain]
            answers = iter(self._kernel.features(self._plan, rows))
            found += [[self._views(next(answers)) for _ in chain] for chain in some]
        return found

    def _row(self, event: RawEvent) -> dict[str, Any]:
        source = self._sources[event.place.source]
        row = {name: value for name in self._columns if (value := event.row.get(name)) is not None}
        return row | {source.event_time: event.time, "__source": event.place.source}

    def _views(self, answer: Mapping[str, Any] | None) -> dict[str, ViewValues]:
        assert answer is not None  # no copies
        parts = {view.name: answer[view.name] for view in self._stage.views}
        # A part that is missing would look as if there were nothing to compare.
        assert all(part is not None for part in parts.values())
        return {
            name: ViewValues(part["entity"], part["as_of"], part["late"], part["features"])
            for name, part in parts.items()
        }


def _blocks(chains: Iterable[Sequence[RawEvent]]) -> Iterator[list[Sequence[RawEvent]]]:
    """Neighbouring chains that fit a request; a longer one is a request of its own, since its state is not kept."""
    block: list[Sequence[RawEvent]] = []
    rows = 0
    for chain in chains:
        if block and rows + len(chain) > _ROWS_PER_REQUEST:
            yield block
            block, rows = [], 0
        block.append(chain)
        rows += len(chain)
    if block:
        yield block
