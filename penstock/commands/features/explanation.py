"""Explains an entity's vector: recomputes its tiles from the entity's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import PenstockError
from schemas.feature_types import FeatureValue
from sinks.vector_format import FeatureVector
from streams.definitions.windows import LIFETIME_MS
from streams.inprocess.kernel import Kernel
from streams.oracle.reference import Row, agrees
from streams.plan.model import PipelinePlan, ViewPlan


@dataclass(frozen=True)
class Tile:
    """The events of one hop: the value of each feature over these events alone, and when they leave the window.

    ``start_ms`` and ``leaves_ms`` are None in a lifetime.
    """

    start_ms: int | None
    leaves_ms: int | None
    values: Mapping[str, FeatureValue]


@dataclass(frozen=True)
class ExplainedWindow:
    """The tiles of a window that contain events, oldest first.

    ``empties_ms`` is the event time from which the window reads as empty if no event arrives; None in a lifetime.
    """

    window_ms: int
    hop_ms: int
    empties_ms: int | None
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Explanation:
    """A recomputed vector of an entity.

    Attributes:
        events: The number of the entity's events that were read, up to the event of the vector.
        values: The recomputed values of the view's aggregates.
        differing: The aggregates whose stored values differ.
        windows: Every window of the view, shortest first.
    """

    events: int
    values: Mapping[str, FeatureValue]
    differing: tuple[str, ...]
    windows: tuple[ExplainedWindow, ...]


def explain(
    plan: PipelinePlan, view: ViewPlan, rows: Sequence[Row], vector: FeatureVector, kernel: Kernel, reference: str
) -> Explanation:
    """Recompute a stored vector and its tiles.

    Several events can have the vector's ``as_of``. The last of them that gives the stored values is used; if none does,
    the last.

    Args:
        plan: The pipeline's plan.
        view: One of its views.
        rows: The entity's events in the order of the view, at least those in its windows at ``vector.as_of``; each with
            every column, and with ``__source`` if it is not of the first source.
        vector: The stored vector as it was emitted; not MISSING.
        kernel: The kernel that recomputes it.
        reference: The pipeline as the user typed it, for the next command.

    Raises:
        PenstockError: if no row is as old as the vector.
    """
    as_of = vector.as_of
    assert as_of is not None
    plan_json, events = plan.model_dump(mode="json"), [dict(row) for row in rows]
    answers = _view_answers(kernel.features(plan_json, events), view)
    newest_as_of = max((answer["as_of"] for answer in answers.values() if answer["as_of"] <= as_of), default=None)
    if newest_as_of is None:
        raise PenstockError(
            f"the topic no longer has any event of {view.entity} {vector.entity} up to the as_of of its vector",
            safe="nothing was changed",
            next=f"penstock features get {reference} {view.name} {vector.entity}",
        )
    if newest_as_of < as_of:  # a timer emitted the vector
        later = _view_answers(kernel.features(plan_json, events, later=[as_of - newest_as_of]), view)
        values_by_row = {index: answer["later"][0] for index, answer in later.items()}
    else:
        values_by_row = {index: answer["features"] for index, answer in answers.items()}
    indices = [index for index, answer in answers.items() if answer["as_of"] == newest_as_of]
    index = next((i for i in reversed(indices) if not _differing(view, values_by_row[i], vector)), indices[-1])
    state = kernel.request({"states": {"plan": plan_json, "rows": events[: index + 1]}})
    (entity,) = (e for e in state["entities"] if (e["stage"], e["entity"]) == (view.entity, vector.entity))
    windows = [_window(window, as_of, newest_as_of) for window in entity["windows"] if window["view"] == view.name]
    return Explanation(
        events=index + 1,
        values=values_by_row[index],
        differing=_differing(view, values_by_row[index], vector),
        windows=tuple(sorted(windows, key=lambda window: window.window_ms)),
    )


def _view_answers(answers: Sequence[Mapping[str, Any] | None], view: ViewPlan) -> dict[int, Mapping[str, Any]]:
    """The view's answer for each row that is not a duplicate, by the row's index."""
    return {index: answer[view.name] for index, answer in enumerate(answers) if answer is not None}


def _differing(view: ViewPlan, values: Mapping[str, FeatureValue], vector: FeatureVector) -> tuple[str, ...]:
    names = [feature.name for feature in view.features]
    return tuple(name for name in names if not agrees(values[name], vector.values[name], 0.0))


def _window(window: Mapping[str, Any], as_of: int, newest_ms: int) -> ExplainedWindow:
    window_ms, hop_ms = window["window_ms"], window["hop_ms"]
    if window_ms == LIFETIME_MS:
        tiles = tuple(Tile(None, None, tile["values"]) for tile in window["tiles"])
        return ExplainedWindow(window_ms, hop_ms, None, tiles)
    return ExplainedWindow(
        window_ms=window_ms,
        hop_ms=hop_ms,
        empties_ms=newest_ms // hop_ms * hop_ms + window_ms,
        tiles=tuple(
            Tile(start, start + window_ms, tile["values"])
            for tile in window["tiles"]
            if (start := tile["index"] * hop_ms) + window_ms > as_of
        ),
    )
