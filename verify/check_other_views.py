"""Checks the inputs that come from views of other pipelines: what a prediction says was served really existed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.counts import counted
from streams.definitions.pipeline import Model
from streams.plan.entity_text import composite_text, entity_text
from streams.plan.model import DerivedFeaturePlan, FeaturePlan, ViewPlan
from streams.plan.other_views import OtherView
from verify.categories import codes
from verify.emissions import first_emissions
from verify.findings import Findings
from verify.published import Published

_NO_ENTITY, _EXPIRED = "NO_ENTITY", "EXPIRED"
_REASONS = (_NO_ENTITY, _EXPIRED, "MISSING", "UNREACHABLE")
# The clocks of the job and of the scorer may differ by this much.
_CLOCKS_MS = 1_000

Values = npt.NDArray[np.float32]
_Reference = tuple[str, int, int, int]
"""Entity, epoch, seq and as_of: what a prediction says of a vector."""


@dataclass
class OtherViewFindings(Findings):
    """Result of the check: ``served`` vectors were compared with the features topics that they come from.

    ``unchecked`` says in words what could not be checked.
    """

    served: int = 0
    unchecked: list[str] = field(default_factory=list)


class _Emission(NamedTuple):
    """One view's part of a feature record.

    ``newest_ms`` is the time of the entity's newest event, ``published_ms`` when the record was published.
    """

    part: Mapping[str, Any]
    newest_ms: int
    published_ms: int


@dataclass
class _Topic:
    """What another pipeline emitted for one view, by entity.

    It ``is_whole`` if the topic was read, and Kafka has deleted none of its records.
    """

    emissions: Mapping[str, list[_Emission]]
    is_whole: bool


def check_other_views(
    model: Model,
    others: Sequence[OtherView],
    features: Sequence[Published],
    predictions: Sequence[Published],
    topics: Mapping[str, Sequence[Published]],
) -> OtherViewFindings:
    """Check every prediction's inputs from other pipelines.

    A vector that was served is one that the other pipeline published before the prediction, of the entity that the
    event names, and its values are those that are in the vector: at the event's time, what had left a window is empty.
    One that was not served is flagged, and the vector has the declared defaults.

    Args:
        model: The model.
        others: The views of other pipelines that it takes inputs from.
        features: The feature records of the pipeline's own events.
        predictions: Its predictions.
        topics: The feature records of the other pipelines, of those that could be read, by pipeline.
    """
    findings, unknown = OtherViewFindings(), Counter[str]()
    emitted = {other.name: _emitted(other, topics.get(other.plan.pipeline, ())) for other in others}
    events = first_emissions(features) if others else {}
    for prediction in predictions:
        event = events.get(prediction.position)
        if event is None or prediction.value["model"] not in model.names:
            continue  # another definition's; or no event's, which the check of predictions finds
        place = prediction.place_in("predictions")
        if wrong := _wrong_views(model, others, prediction.value):
            findings.mismatch(f"{place}: {wrong}")
            continue
        for other in others:
            try:
                is_served, wrong = _judged(model, other, prediction.value, event, emitted[other.name])
            except _NotChecked as why:
                unknown[str(why)] += 1
                continue
            findings.served += is_served
            if wrong is not None:
                findings.mismatch(f"{place}: {other.name}: {wrong}")
    findings.unchecked = [f"{counted(n, 'vector')} of views of other pipelines: {why}" for why, n in unknown.items()]
    return findings


def _wrong_views(model: Model, others: Sequence[OtherView], value: Mapping[str, Any]) -> str | None:
    """What is wrong with a prediction that does not say of each view once that it was served, or that it was not."""
    if len(value["vector"]) != 4 * len(model.inputs):
        return f"the vector has {len(value['vector'])} bytes, for {len(model.inputs)} inputs"
    named = [view["view"].partition("@")[0] for view in value["views"] if ":" in view["view"]]
    named += [one["view"] for one in value["defaulted"]]
    expected = [other.name for other in others]
    return None if sorted(named) == sorted(expected) else f"tells of the views {named}, the model takes {expected}"


def _judged(
    model: Model, other: OtherView, value: Mapping[str, Any], event: Published, topic: _Topic
) -> tuple[bool, str | None]:
    """Whether a view was served, and what is wrong with it or with its defaults.

    Raises:
        _NotChecked: if that cannot be told.
    """
    if any(f"event.{column}" in event.lacks for column in other.key):
        raise _NotChecked("an earlier definition wrote the feature records")
    entity, vector = _entity(event, other), np.frombuffer(value["vector"], "<f4")
    found = vector[[model.inputs.index(name) for name in other.defaults]]
    for one in value["defaulted"]:
        if one["view"] == other.name:
            return False, _wrong_default(model, other, one["reason"], entity, found, value["event_time"], topic)
    served = next(view for view in value["views"] if view["view"].partition("@")[0] == other.name)
    if served["view"] != other.id:
        raise _NotChecked("they are of another version")
    reference = served["entity"], served["epoch"], served["seq"], served["as_of"]
    return True, _wrong_vector(model, other, reference, entity, found, value, topic)


class _NotChecked(Exception):  # noqa: N818 - no defect
    """It cannot be told whether something is right; the message says why."""


def _emitted(other: OtherView, records: Sequence[Published]) -> _Topic:
    found: dict[str, list[_Emission]] = defaultdict(list)
    starts: dict[int, int] = {}
    for record in records:
        starts.setdefault(record.partition, record.offset)
        part = record.value[other.view.name]
        if part is not None:
            newest_ms = record.value["event_time"] if record.is_timer else part["as_of"]
            found[part["entity"]].append(_Emission(part, newest_ms, record.timestamp))
    return _Topic(found, is_whole=bool(starts) and not any(starts.values()))


def _entity(event: Published, other: OtherView) -> str | None:
    """The entity of the view that an event names; None if one of its columns is null."""
    values = [event.value["event"][column] for column in other.key]
    if len(values) > 1:
        return composite_text(values)
    return None if values[0] is None else entity_text(values[0])


def _wrong_default(
    model: Model,
    other: OtherView,
    reason: str,
    entity: str | None,
    found: Values,
    at_ms: int,
    topic: _Topic,
) -> str | None:
    """What is wrong with a view that was not served."""
    expected = _numbers(model, other, [*other.defaults.values()])
    if reason not in _REASONS:
        return f"the reason {reason!r} is none of {', '.join(_REASONS)}"
    if (entity is None) != (reason == _NO_ENTITY):
        return f"the reason is {reason}, and the event names {'no entity' if entity is None else entity}"
    if found.tobytes() != expected.tobytes():
        return f"the defaults are {expected.tolist()}, the vector has {found.tolist()}"
    if reason == _EXPIRED and topic.is_whole:
        emissions = topic.emissions.get(entity or "", ())
        if not any(_has_expired(other.view, emission, at_ms) for emission in emissions):
            return f"{entity} has no vector that had expired"
    return None


def _wrong_vector(
    model: Model,
    other: OtherView,
    reference: _Reference,
    entity: str | None,
    found: Values,
    value: Mapping[str, Any],
    topic: _Topic,
) -> str | None:
    """What is wrong with a vector that was served.

    Raises:
        _NotChecked: if the topic may have had it.
    """
    if reference[0] != entity:
        return f"the vector is that of {reference[0]}, the event names {entity or 'no entity'}"
    held = [
        emission
        for emission in topic.emissions.get(reference[0], ())
        if (emission.part["epoch"], emission.part["seq"], emission.part["as_of"]) == reference[1:]
        and emission.published_ms <= value["scored_at"] + _CLOCKS_MS
    ]
    if not (held or topic.is_whole):
        raise _NotChecked("the topic of the other pipeline does not have all records")
    if not held:
        return f"no vector {reference} was published before the prediction"
    at_ms = value["event_time"]
    expected = [_numbers(model, other, _values(other, emission, at_ms)) for emission in held]
    if found.tobytes() not in [one.tobytes() for one in expected]:
        return f"{reference} has {expected[0].tolist()}, the vector has {found.tolist()}"
    if all(_has_expired(other.view, emission, at_ms) for emission in held):
        return f"{reference} had expired"
    return None


def _values(other: OtherView, emission: _Emission, at_ms: int) -> list[Any]:
    """The inputs of a vector as they read at an event time."""
    outputs = {output.name: output for output in other.view.outputs}
    names = [name.partition(".")[2] for name in other.defaults]
    return [outputs[name].empty if _is_empty(outputs[name], emission, at_ms) else emission.part[name] for name in names]


def _is_empty(output: FeaturePlan | DerivedFeaturePlan, emission: _Emission, at_ms: int) -> bool:
    """Whether a feature reads as empty: its window, or one that it is derived from, has passed the newest event."""
    if isinstance(output, FeaturePlan):
        return not output.is_lifetime and _has_passed(output.window_ms, output.hop_ms, emission.newest_ms, at_ms)
    as_of = emission.part["as_of"]
    return any(
        _has_passed(*window, emission.newest_ms, at_ms) and not _has_passed(*window, emission.newest_ms, as_of)
        for window in output.windows
    )


def _has_passed(window_ms: int, hop_ms: int, newest_ms: int, at_ms: int) -> bool:
    """Whether a window that ends at a time begins after the hop of the newest event."""
    return newest_ms // hop_ms <= (at_ms - window_ms) // hop_ms


def _has_expired(view: ViewPlan, emission: _Emission, at_ms: int) -> bool:
    return all(_is_empty(feature, emission, at_ms) for feature in view.features)


def _numbers(model: Model, other: OtherView, values: Sequence[Any]) -> Values:
    """Values of a view's inputs as the model's vector has them."""
    cells = [
        codes([value])[0] if name in model.categories else value
        for name, value in zip(other.defaults, values, strict=True)
    ]
    with np.errstate(over="ignore"):  # beyond float32's range a value becomes an infinity
        return np.array(cells, np.float64).astype("<f4")
