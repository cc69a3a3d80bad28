"""Compares the vector of each prediction with the feature record that it was made from, as float32, bit for bit.

The prediction must also name the vectors of that record: their views with versions, entities and numbers.

An input that comes from another pipeline was read from Redis. It is compared with what that pipeline published, as it
read at the event's time; a default that was served in its place is a difference with a cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from backfill.parity.findings import Findings
from backfill.parity.served import Served, ServedRecord
from backfill.parity.sources import Sources
from backfill.parity.values import RECORD, VECTOR, Cause, Difference, Place, scored_sources
from penstock.kafka.reading import Record
from schemas.categories import cached_codes
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from schemas.records import TIMER
from scoring.other_views import default_inputs
from scoring.predictions import event_position_of_dead_letter
from scoring.vectors import FloatArray, Vectorizer
from sinks.vector_format import VectorState, VectorWindows
from streams.plan.entity_text import composite_text, entity_text
from streams.plan.feature_records import FeaturesDecoder, is_absent
from streams.plan.other_views import OtherView
from streams.plan.project import Project

PREDICTION_GONE = "feature records whose prediction is no longer kept"
OTHER_UNREADABLE = "records of another pipeline's features topic that are none, or of another release"
OTHER_GONE = "inputs of another pipeline whose record is no longer kept"
# The clocks of the job and of the scorer may differ by this much.
_CLOCKS_MS = 1_000
_NAMED = ("entity", "epoch", "seq", "as_of")
_NO_ENTITY, _EXPIRED = "NO_ENTITY", "EXPIRED"
_ABSENT = ("MISSING", "UNREACHABLE")


class _Unknown(Enum):
    GONE = "gone"
    """It cannot be told, because the other pipeline's record is no longer kept."""


_Verdict: TypeAlias = Cause | _Unknown | None


@dataclass
class Predictions:
    """The first prediction of each compared event, with its own place.

    Attributes:
        first: By event.
        given_up: The events that got a letter instead.
        newest: For each partition of the features topic, the greatest offset of a record that has a prediction.
        begins: For each partition: offset and Kafka timestamp of the first prediction that was read.
        unreadable: How many records are no predictions, or of an event of no topic that is scored: an event that has
            one of these only has none.
    """

    first: dict[Place, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    given_up: set[Place] = field(default_factory=set)
    newest: dict[int, int] = field(default_factory=dict)
    begins: dict[int, tuple[int, int]] = field(default_factory=dict)
    unreadable: int = 0


def read_predictions(
    project: Project, records: Iterable[Record], letters: Iterable[Record], served: Collection[Place]
) -> Predictions:
    """Read the predictions of the served events, and which of them have a dead letter instead."""
    topic, decoder = project.pipeline.predictions_topic, record_decoder("prediction")
    found, scored = Predictions(), scored_sources(project.plan)
    for record in records:
        found.begins.setdefault(record.partition, (record.offset, record.timestamp))
        at = f"{topic}[{record.partition}]@{record.offset}"
        try:
            value = decoder.decode(record.value or b"", at)
        except (Undecodable, UnknownSchema):
            found.unreadable += 1
            continue
        partition, offset = value["features_partition"], value["features_offset"]
        found.newest[partition] = max(offset, found.newest.get(partition, -1))
        number = scored.get(value["source"]["topic"])
        if number is None:
            found.unreadable += 1
            continue
        place = Place(number, value["source"]["partition"], value["source"]["offset"])
        if place in served:
            found.first.setdefault(place, (at, value))
    positions = (event_position_of_dead_letter(record.headers) for record in letters)
    found.given_up = {
        Place(scored[one.topic], one.partition, one.offset)
        for one in positions
        if one is not None and one.topic in scored
    }
    return found


class OtherEmission(NamedTuple):
    """A view's part of a feature record of another pipeline; times are epoch ms."""

    part: Mapping[str, Any]
    newest_ms: int
    published_ms: int


@dataclass
class OtherTopic:
    """What another pipeline published for one view, by entity; whole if no record is missing at its beginning."""

    emissions: dict[str, list[OtherEmission]]
    is_whole: bool


def read_others(
    project: Project,
    read: Callable[[str], Iterator[Record]],
    served: Served,
    decoder_of: Callable[[str], FeaturesDecoder],
    findings: Findings,
) -> dict[str, OtherTopic]:
    """What other pipelines published for the entities that the served events name, by ``pipeline:view``.

    ``decoder_of`` gives the decoder of a pipeline's features topic; ``findings`` gets how many records cannot be read.
    """
    wanted: dict[str, set[str | None]] = {
        other.name: {other_entity(other, record) for record in served.first.values()} for other in project.other_views
    }
    found: dict[str, OtherTopic] = {}
    for topic in dict.fromkeys(other.plan.features_topic for other in project.other_views):
        others = [other for other in project.other_views if other.plan.features_topic == topic]
        emissions: dict[str, dict[str, list[OtherEmission]]] = {o.name: defaultdict(list) for o in others}
        begins, is_whole = dict[int, int](), True
        decoder = decoder_of(others[0].plan.pipeline)
        for record in read(topic):
            begins.setdefault(record.partition, record.offset)
            try:
                value = decoder.decode(record.value or b"", f"{topic}[{record.partition}]@{record.offset}")
            except (Undecodable, UnknownSchema) as error:
                findings.not_compared[OTHER_UNREADABLE] += 1
                # A record of another release may be the one that was served; what is none cannot.
                is_whole &= isinstance(error, Undecodable)
                continue
            for other in others:
                part = value[other.view.name]
                if part is not None and part["entity"] in wanted[other.name]:
                    newest = value["event_time"] if value["trigger"] == TIMER else part["as_of"]
                    emissions[other.name][part["entity"]].append(OtherEmission(part, newest, record.timestamp))
        for other in others:
            from_start = bool(begins) and not any(begins.values())
            found[other.name] = OtherTopic(dict(emissions[other.name]), is_whole and from_start)
    return found


def other_entity(other: OtherView, record: ServedRecord) -> str | None:
    """The entity of another pipeline's view that an event names; None if one of its columns is null."""
    values = [record.value["event"][column] for column in other.key]
    if len(values) > 1:
        return composite_text(values)
    return None if values[0] is None else entity_text(values[0])


def compare_predictions(
    project: Project,
    served: Served,
    predictions: Predictions,
    others: Mapping[str, OtherTopic],
    sources: Sources,
    findings: Findings,
) -> None:
    """Compare the vector of each prediction; an event without one is a difference of its record.

    Args:
        project: The pipeline.
        served: The feature records.
        predictions: The predictions.
        others: What :func:`read_others` found.
        sources: Say how far the scorer had committed, and what of the predictions may be missing.
        findings: Gets the counts and differences.
    """
    comparison = _Comparison(project, others, findings)
    for place, record in served.first.items():
        found = predictions.first.get(place)
        if found is not None:
            findings.add(comparison.of_event(place, record, *found))
            continue
        partition, scored = record.partition, sources.scored
        until = predictions.newest.get(partition, -1) + 1 if scored is None else scored.get(partition, 0)
        topic = project.pipeline.predictions_topic
        if place in predictions.given_up:
            cause = Cause.MISSING
        elif record.offset >= until:
            cause = Cause.IN_FLIGHT
        elif record.timestamp < sources.missing_before(topic, partition, predictions.begins.get(partition)):
            findings.not_compared[PREDICTION_GONE] += 1
            continue
        else:
            cause = Cause.UNEXPLAINED
        findings.compared[RECORD, ""] += 1
        findings.add([Difference(RECORD, "", "prediction", cause, None, place, record.at, None, None, place)])


class _Comparison:
    """Compares the vectors of one model."""

    def __init__(self, project: Project, others: Mapping[str, OtherTopic], findings: Findings) -> None:
        self._model, categories = project.pipeline.model, project.pipeline.categories
        self._vectorizer = Vectorizer(self._model.inputs, categories)
        self._ids = {view.name: view.id for view in project.plan.views}
        self._own = [place for place, name in enumerate(self._model.inputs) if ":" not in name]
        self._others = [_Other(other, self._model.inputs, categories) for other in project.other_views]
        self._topics, self._findings = others, findings

    def of_event(self, place: Place, record: ServedRecord, at: str, prediction: Mapping[str, Any]) -> list[Difference]:
        """What differs in one prediction."""
        model = self._model
        if prediction["model"] not in model.names or len(prediction["vector"]) != 4 * len(model.inputs):
            self._findings.compared[VECTOR, ""] += 1
            served = f"{prediction['model']}, {len(prediction['vector']) // 4} inputs"
            wanted = f"{model.name}, {len(model.inputs)} inputs"
            return [Difference(VECTOR, "", "model", Cause.VERSION, None, place, at, served, wanted, place)]
        vector = np.frombuffer(prediction["vector"], "<f4")
        expected = self._vectorizer.vectors([record.value])[0]
        found = []
        for number in self._own:
            name = model.inputs[number]
            view, _, feature = name.partition(".")
            self._findings.compared[VECTOR, self._ids.get(view, view)] += 1
            if _same_bits(vector[number], expected[number]):
                continue
            cause = Cause.VERSION if is_absent(name, record.lacks) else Cause.UNEXPLAINED
            found.append(self._difference(view, feature, cause, place, at, vector[number], expected[number]))
        found += self._of_names(place, record, at, prediction)
        for other in self._others:
            found += self._of_other(other, place, record, at, prediction, vector)
        return found

    def _of_names(
        self, place: Place, record: ServedRecord, at: str, prediction: Mapping[str, Any]
    ) -> Iterator[Difference]:
        """Views that a prediction names otherwise than its feature record has them."""
        named = {one["view"].partition("@")[0]: one for one in prediction["views"]}
        for view, id_ in self._ids.items():
            part, got = record.value[view], named.get(view)
            wanted = None if part is None else {"view": id_} | {name: part[name] for name in _NAMED}
            self._findings.compared[VECTOR, id_] += 1
            if got != wanted:
                cause = Cause.VERSION if view in record.lacks else Cause.UNEXPLAINED
                entity = None if part is None else part["entity"]
                yield Difference(VECTOR, id_, "named vector", cause, entity, place, at, got, wanted, place)

    def _of_other(
        self,
        other: _Other,
        place: Place,
        record: ServedRecord,
        at: str,
        prediction: Mapping[str, Any],
        vector: FloatArray,
    ) -> Iterator[Difference]:
        view, got = other.view, vector[other.places]
        if any(is_absent(f"event.{column}", record.lacks) for column in view.key):
            self._findings.not_compared[OTHER_GONE] += len(got)
            return
        topic = self._topics.get(view.name, OtherTopic({}, is_whole=False))
        entity = other_entity(view, record)
        reasons = [one["reason"] for one in prediction["defaulted"] if one["view"] == view.name]
        if reasons:
            cause, wanted = other.cause_of_default(reasons[0], got, entity, topic, prediction), other.defaults
        else:
            cause, wanted = other.cause_of_served(got, entity, topic, prediction)
        if cause is _Unknown.GONE:
            self._findings.not_compared[OTHER_GONE] += len(got)
            return
        self._findings.compared[VECTOR, view.id] += len(got)
        if cause is None:
            return
        for number, name in enumerate(view.defaults):
            if reasons or not _same_bits(got[number], wanted[number]):
                feature = name.partition(".")[2]
                yield self._difference(view.id, feature, cause, place, at, got[number], wanted[number], entity)

    def _difference(
        self, view: str, feature: str, cause: Cause, place: Place, at: str, got: Any, wanted: Any, entity: Any = None
    ) -> Difference:
        view = self._ids.get(view, view)
        return Difference(VECTOR, view, feature, cause, entity, place, at, float(got), float(wanted), place)


class _Other:
    """One view of another pipeline: where its inputs are in the vector, and what they should be."""

    def __init__(self, view: OtherView, inputs: Sequence[str], categories: Collection[str]) -> None:
        self.view = view
        self.places = [inputs.index(name) for name in view.defaults]
        self._categories, self._code = categories, cached_codes()
        self.defaults = default_inputs(view.defaults, categories, self._code)
        self._windows = VectorWindows(view.view)
        self._names = [output.name for output in view.view.outputs]

    def values(self, emission: OtherEmission, at_ms: int) -> FloatArray:
        """The inputs that a vector has, as it reads at a time."""
        values, _ = self._read(emission, at_ms)
        wanted = {name: values[name.partition(".")[2]] for name in self.view.defaults}
        return default_inputs(wanted, self._categories, self._code)

    def cause_of_default(
        self, reason: str, got: FloatArray, entity: str | None, topic: OtherTopic, prediction: Mapping[str, Any]
    ) -> _Verdict:
        """Why the defaults were served; None if a recomputation has them, too."""
        if not _all_same(got, self.defaults) or (entity is None) != (reason == _NO_ENTITY):
            return Cause.UNEXPLAINED
        if entity is None:
            return None
        if reason != _EXPIRED:
            return Cause.MISSING if reason in _ABSENT else Cause.UNEXPLAINED
        emissions = topic.emissions.get(entity, ())
        if any(self._read(one, prediction["event_time"])[1] is VectorState.EXPIRED for one in emissions):
            return Cause.EXPIRED
        return Cause.UNEXPLAINED if topic.is_whole else _Unknown.GONE

    def cause_of_served(
        self, got: FloatArray, entity: str | None, topic: OtherTopic, prediction: Mapping[str, Any]
    ) -> tuple[_Verdict, FloatArray]:
        """Why a vector differs from the one that the prediction names, if it does; and the values of that one."""
        nothing = np.full(len(got), np.nan, np.float32)
        named = next((one for one in prediction["views"] if one["view"].partition("@")[0] == self.view.name), None)
        if named is None or named["entity"] != entity:
            return Cause.UNEXPLAINED, nothing
        if named["view"] != self.view.id:
            return Cause.VERSION, nothing
        numbers = ("epoch", "seq", "as_of")
        held = [
            self.values(one, prediction["event_time"])
            for one in topic.emissions.get(entity or "", ())
            if all(one.part[name] == named[name] for name in numbers)
            and one.published_ms <= prediction["scored_at"] + _CLOCKS_MS
        ]
        if not held:
            return Cause.UNEXPLAINED if topic.is_whole else _Unknown.GONE, nothing
        return None if any(_all_same(got, one) for one in held) else Cause.UNEXPLAINED, held[0]

    def _read(self, emission: OtherEmission, at_ms: int) -> tuple[dict[str, Any], VectorState]:
        values = {name: emission.part[name] for name in self._names}
        state = self._windows.read(values, emission.part["as_of"], emission.newest_ms, at_ms)
        return values, state


def _same_bits(left: Any, right: Any) -> bool:
    return bool((np.isnan(left) and np.isnan(right)) or np.float32(left).tobytes() == np.float32(right).tobytes())


def _all_same(left: FloatArray, right: FloatArray) -> bool:
    return all(map(_same_bits, left, right))
