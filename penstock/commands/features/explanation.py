"""Explains an entity's vector: recomputes the tiles behind it from the entity's events."""

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
    """The events of a hop's time: what each feature would be of them alone, and when they leave the window.

    ``start_ms`` is None in a lifetime, ``leaves_ms`` too.
    """

    start_ms: int | None
    leaves_ms: int | None
    values: Mapping[str, FeatureValue]


@dataclass(frozen=True)
class ExplainedWindow:
    """A window's tiles that hold events, oldest first.

    ``empties_ms`` is when readers begin to find it empty, if no event comes; None in a lifetime.
    """

    window_ms: int
    hop_ms: int
    empties_ms: int | None
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Explanation:
    """An entity's vector, computed again.

    Attributes:
        events: How many events it is made of: those of the entity that were read, up to the one of the vector.
        values: Of the view's aggregates, computed again.
        differing: Those that the store has otherwise.
        windows: Every window of the view, shortest first.
    """

    events: int
    values: Mapping[str, FeatureValue]
    differing: tuple[str, ...]
    windows: tuple[ExplainedWindow, ...]


def explain(
    plan: PipelinePlan, view: ViewPlan, rows: Sequence[Row], vector: FeatureVector, kernel: Kernel, reference: str
) -> Explanation:
    """The tiles behind a stored vector.

    Of several events that may have been the vector's, as they are of the same ``as_of``, the one is taken that gives
    its values; if none does, the last.

    Args:
        plan: The pipeline's plan.
        view: One of its views.
        rows: The entity's events, at least those that its windows hold at ``vector.as_of``, in the order in which the
            view took them; each with every column, and ``__source`` where it is not of the first source.
        vector: What the store has, as it was emitted; not MISSING.
        kernel: Computes.
        reference: How the user named the pipeline.

    Raises:
        PenstockError: if none of the rows can have been the vector's.
    """
    as_of = vector.as_of
    assert as_of is not None
    plan_json, events = plan.model_dump(mode="json"), [dict(row) for row in rows]
    answers = _of_view(kernel.features(plan_json, events), view)
    reached = max((answer["as_of"] for answer in answers.values() if answer["as_of"] <= as_of), default=None)
    if reached is None:
        raise PenstockError(
            f"no event of {view.entity} {vector.entity} up to its vector's time is in the topic any more",
            safe="nothing was changed",
            next=f"penstock features get {reference} {view.name} {vector.entity}",
        )
    if reached < as_of:  # a timer's vector
        later = _of_view(kernel.features(plan_json, events, later=[as_of - reached]), view)
        found = {place: answer["later"][0] for place, answer in later.items()}
    else:
        found = {place: answer["features"] for place, answer in answers.items()}
    places = [place for place, answer in answers.items() if answer["as_of"] == reached]
    place = next((p for p in reversed(places) if not _differing(view, found[p], vector)), places[-1])
    state = kernel.request({"states": {"plan": plan_json, "rows": events[: place + 1]}})
    (entity,) = (e for e in state["entities"] if (e["stage"], e["entity"]) == (view.entity, vector.entity))
    windows = [_window(described, as_of, reached) for described in entity["windows"] if described["view"] == view.name]
    return Explanation(
        events=place + 1,
        values=found[place],
        differing=_differing(view, found[place], vector),
        windows=tuple(sorted(windows, key=lambda window: window.window_ms)),
    )


def _of_view(answers: Sequence[Mapping[str, Any] | None], view: ViewPlan) -> dict[int, Mapping[str, Any]]:
    """What each row that is no duplicate gave of the view, by the row's place."""
    return {place: answer[view.name] for place, answer in enumerate(answers) if answer is not None}


def _differing(view: ViewPlan, values: Mapping[str, FeatureValue], vector: FeatureVector) -> tuple[str, ...]:
    names = [feature.name for feature in view.features]
    return tuple(name for name in names if not agrees(values[name], vector.values[name], 0.0))


def _window(described: Mapping[str, Any], as_of: int, newest_ms: int) -> ExplainedWindow:
    window_ms, hop_ms = described["window_ms"], described["hop_ms"]
    if window_ms == LIFETIME_MS:
        tiles = tuple(Tile(None, None, tile["values"]) for tile in described["tiles"])
        return ExplainedWindow(window_ms, hop_ms, None, tiles)
    return ExplainedWindow(
        window_ms=window_ms,
        hop_ms=hop_ms,
        empties_ms=newest_ms // hop_ms * hop_ms + window_ms,
        tiles=tuple(
            Tile(start, start + window_ms, tile["values"])
            for tile in described["tiles"]
            if (start := tile["index"] * hop_ms) + window_ms > as_of
        ),
    )
