"""Measures the state size of an entity: the kernel processes synthetic events and writes its state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from schemas.feature_types import FeatureValue
from streams.inprocess.kernel import Kernel
from streams.plan.entity_text import composite_text
from streams.plan.model import PipelinePlan, StagePlan

# Text columns of the synthetic events have this many characters.
TEXT_LENGTH = 12
_ID_LENGTH = 36
# A midnight, where tiles of every usual hop begin: a window that its hop does not divide then has the most tiles.
_AS_OF = 1_772_323_200_000


@dataclass(frozen=True)
class WindowStateSize:
    """The number of tiles of a window, if each contains events."""

    view: str
    window_ms: int
    hop_ms: int
    tiles: int


@dataclass(frozen=True)
class StateSize:
    """The size of the state of one entity of a stage, in bytes of a checkpoint.

    Attributes:
        entity: The stage's entity.
        sparse_bytes: With one event in every window.
        hot_bytes: With events in every tile of every window.
        windows: The windows of the hot entity.
    """

    entity: str
    sparse_bytes: int
    hot_bytes: int
    windows: tuple[WindowStateSize, ...]


def state_sizes(plan: PipelinePlan, kernel: Kernel, events_per_tile: int) -> list[StateSize]:
    """The state size of one entity of every stage.

    It is the largest for so many events: they differ in every column except the entity's, and pass every filter. There
    are ``events_per_tile`` events for each tile of each window, and all windows get all events.
    """
    return [_stage_size(plan, stage, kernel, events_per_tile) for stage in plan.stages]


def bytes_per_id(plan: PipelinePlan, kernel: Kernel) -> int:
    """Bytes per event that deduplication keeps within its horizon, for ids of 36 characters."""
    one, many = 1, 101
    sizes = [
        _state(plan, (plan.source.key,) if plan.source.key else (), [_AS_OF] * count, kernel) for count in (one, many)
    ]
    return int((sizes[1]["duplicates_bytes"] - sizes[0]["duplicates_bytes"]) / (many - one))


def _stage_size(plan: PipelinePlan, stage: StagePlan, kernel: Kernel, events_per_tile: int) -> StateSize:
    shapes = {(f.window_ms, f.hop_ms) for view in stage.views for f in view.features}
    times = sorted(start for window_ms, hop_ms in shapes for start in _tile_starts(window_ms, hop_ms))
    sparse = _entity(plan, stage, [_AS_OF], kernel)
    hot = _entity(plan, stage, [time for time in times for _ in range(events_per_tile)], kernel)
    return StateSize(
        entity=stage.entity,
        sparse_bytes=sparse["bytes"],
        hot_bytes=hot["bytes"],
        windows=tuple(WindowStateSize(w["view"], w["window_ms"], w["hop_ms"], len(w["tiles"])) for w in hot["windows"]),
    )


def _tile_starts(window_ms: int, hop_ms: int) -> Iterable[int]:
    """The start times of all tiles of a window; a lifetime has one tile, from the epoch."""
    oldest, newest = (_AS_OF - window_ms) // hop_ms + 1, _AS_OF // hop_ms
    return (tile * hop_ms for tile in range(max(0, oldest), newest + 1))


def _entity(plan: PipelinePlan, stage: StagePlan, times: Sequence[int], kernel: Kernel) -> dict[str, Any]:
    key = plan.key_columns(stage.views[0])
    matching = [e for e in _state(plan, key, times, kernel)["entities"] if e["stage"] == stage.entity]
    (entity,) = matching
    return cast("dict[str, Any]", entity)


def _state(plan: PipelinePlan, constant: Sequence[str], times: Sequence[int], kernel: Kernel) -> dict[str, Any]:
    """The kernel's state after events at these times, which have equal values in the ``constant`` columns only."""
    types = plan.contract_columns | {column.name: column.type for column in plan.derived}
    rows = []
    for number, time in enumerate(times):
        row: dict[str, Any] = {name: _value(kind, 0 if name in constant else number) for name, kind in types.items()}
        row |= {column.name: True for column in plan.filters}
        row |= {key.name: composite_text([row[name] for name in key.columns]) for key in plan.composites}
        row[plan.source.event_time] = time
        if plan.source.event_id is not None:
            row[plan.source.event_id] = f"{number:0{_ID_LENGTH}}"
        rows.append(row)
    return cast("dict[str, Any]", kernel.request({"states": {"plan": plan.model_dump(mode="json"), "rows": rows}}))


def _value(kind: str, number: int) -> FeatureValue:
    """A value of that type; a list has one element."""
    match kind:
        case "string":
            return f"{number:0{TEXT_LENGTH}}"
        case "long":
            return number
        case "double":
            return number + 0.5
        case "boolean":
            return number % 2 == 0
        case _:
            return [_value(kind.removesuffix("[]"), number)]
