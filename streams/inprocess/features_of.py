"""Computes what a job would emit for given events, without a cluster."""

from __future__ import annotations

import atexit
import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock.errors import PenstockError
from penstock.time import epoch_ms
from schemas.avro import contract_schema
from schemas.feature_types import FeatureValue, Value
from streams.definitions.pipeline import Pipeline
from streams.inprocess.kernel import Kernel
from streams.oracle.derived_columns import derive
from streams.oracle.derived_features import derived_features
from streams.oracle.event_time_order import Arrival, order_by_event_time
from streams.oracle.reference import Row
from streams.plan.compiler import compile_plan
from streams.plan.model import PipelinePlan, SourcePlan

# Hashes personal data in tests, which need no secret: the hashes differ from those of production.
PII_KEY = b"penstock.testing"


@dataclass(frozen=True)
class Event:
    """An event as a producer sends it.

    ``value`` is its fields, or the bytes (or text) of a message. Its time may be a datetime or ISO 8601 (UTC unless it
    says otherwise); a missing event id becomes ``event-<number>``. ``received`` is when Kafka had it, in epoch ms, by
    default the event's own time: the clock guard compares the two. ``source`` names the contract of an event of one of
    the pipeline's other sources.
    """

    value: Mapping[str, Any] | bytes | str | None
    received: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class Features:
    """One view's part of what an event emits. ``late``: it was older than every window, and changed nothing."""

    entity: str
    seq: int
    as_of: int
    late: bool
    values: Mapping[str, FeatureValue]


@dataclass(frozen=True)
class Outcome:
    """What became of an event: it was refused, or dropped as a duplicate, or emitted with the features of each view.

    ``outcome["view.feature"]`` is a feature, ``outcome["event.column"]`` a column, derived or not, of the event.

    Attributes:
        views: By name; None for a view whose entity the event has no value for.
        columns: Of the event, derived ones included; none if it was refused or a duplicate.
        refused: The reason, as dead letters carry it (``penstock.InvalidField``), or None.
        message: Why it was refused, in words.
        duplicate: Whether an event of its key and id was had before.
        ignored: Whether it is valid, and its source does not accept it.
        updates: Whether it changed the windows and gives no record, as its source does not trigger.
    """

    views: Mapping[str, Features | None] = field(default_factory=dict)
    columns: Mapping[str, Value] = field(default_factory=dict)
    refused: str | None = None
    message: str | None = None
    duplicate: bool = False
    ignored: bool = False
    updates: bool = False

    @property
    def emitted(self) -> bool:
        """Whether there is a record of it."""
        return self.refused is None and not (self.duplicate or self.ignored or self.updates)

    def __getitem__(self, name: str) -> FeatureValue:
        if not self.emitted:
            why = "is a duplicate" if self.duplicate else "is ignored" if self.ignored else "only updates"
            if self.refused:
                why = f"was refused: {self.refused}, {self.message}"
            raise KeyError(f"{name}: this event {why}")
        view, _, feature = name.partition(".")
        if view == "event" and feature in self.columns:
            return self.columns[feature]
        if view in self.views:
            features = self.views[view]
            if features is None:
                return None
            if feature in features.values:
                return features.values[feature]
            raise KeyError(f"{view} has no feature {feature!r}; it has {', '.join(features.values)}")
        raise KeyError(f"{name!r} is neither event.<column> nor <view>.<feature>; views: {', '.join(self.views)}")


def features_of(
    pipeline: Pipeline, events: Iterable[Event | Mapping[str, Any]], *, kernel: Kernel | None = None
) -> list[Outcome]:
    """What becomes of each event, from empty windows on, in the order given (which is that of arrival).

    A source that is taken by event time is so here too: then windows see the events in the order of their time, as far
    as they come within its disorder.

    Args:
        pipeline: The definitions.
        events: Fields of events, or :class:`Event`.
        kernel: By default one of this process, which starts with the first call and serves all later ones.

    Raises:
        PenstockError: if Java or the kernel is missing, or the kernel fails.
    """
    plan = compile_plan(pipeline)
    sent = [event if isinstance(event, Event) else Event(event) for event in events]
    kernel = kernel or shared_kernel()
    decoded = _decoded(pipeline, plan, sent, kernel)
    numbers = [_source_of(plan, event) for event in sent]
    valid = [index for index, answer in enumerate(decoded) if "columns" in answer]
    rows = dict(zip(valid, derive(plan, [decoded[index]["columns"] for index in valid]), strict=True))
    accepts = [source.filter for source in plan.sources]
    taken = [index for index, row in rows.items() if (name := accepts[numbers[index]]) is None or row[name] is True]
    taken = _in_order(plan, sent, rows, taken)
    events_taken = [{**rows[index], "__source": numbers[index]} for index in taken]
    computed = kernel.features(plan.model_dump(mode="json"), events_taken)
    _add_derived(plan, [rows[index] for index in taken], computed)
    answers = dict(zip(taken, computed, strict=True))
    return [
        Outcome(refused=answer["reason"], message=answer["message"])
        if "columns" not in answer
        else Outcome(ignored=True)
        if index not in answers
        else _outcome(rows[index], answers[index], plan.sources[numbers[index]].triggers)
        for index, answer in enumerate(decoded)
    ]


def _add_derived(plan: PipelinePlan, rows: Sequence[Row], answers: Sequence[dict[str, Any] | None]) -> None:
    """The kernel computes no SQL: derived features come from the second engine."""
    emitted = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer is not None]
    records = [
        {"event": row} | {name: view and view["features"] for name, view in answer.items()} for row, answer in emitted
    ]
    found = derived_features(plan, records, [view.name for view in plan.views])
    for (_, answer), derived in zip(emitted, found, strict=True):
        for view in plan.views:
            if answer[view.name] is not None:
                of_view = {feature.name: derived[f"{view.name}.{feature.name}"] for feature in view.derived}
                answer[view.name]["features"] |= of_view


def _in_order(plan: PipelinePlan, events: Sequence[Event], rows: Mapping[int, Row], taken: list[int]) -> list[int]:
    """The numbers of the events as windows see them: of one partition, received when they happened or as they say."""
    if plan.source.order == "arrival":
        return taken
    arrivals = []
    for index in taken:
        time, received = rows[index][plan.source.event_time], events[index].received
        assert isinstance(time, int)
        arrivals.append(Arrival(time, 0, index, time if received is None else received))
    return [arrival.offset for arrival in order_by_event_time(plan.source, 1, arrivals)]


_shared: list[Kernel] = []


def shared_kernel() -> Kernel:
    """The kernel of this process."""
    if _shared and not _shared[0].alive:
        _shared.pop().close()
    if not _shared:
        _shared.append(Kernel())
        atexit.register(_shared[0].close)
    return _shared[0]


def _decoded(
    pipeline: Pipeline, plan: PipelinePlan, events: Sequence[Event], kernel: Kernel
) -> Sequence[Mapping[str, Any]]:
    encoded: dict[int, list[dict[str, Any]]] = {}
    for number, event in enumerate(events, 1):
        value, timestamp = record_of(plan, number, event)
        record = {"value": None if value is None else base64.b64encode(value).decode(), "timestamp": timestamp}
        encoded.setdefault(_source_of(plan, event), []).append(record)
    key = base64.b64encode(PII_KEY).decode()
    answers = {}
    for source, records in encoded.items():
        writers = [json.dumps(contract_schema(pipeline.sources[source].contract))]
        answers[source] = iter(kernel.decode(plan.model_dump(mode="json"), writers, key, records, source))
    return [next(answers[_source_of(plan, event)]) for event in events]


def _source_of(plan: PipelinePlan, event: Event) -> int:
    """The number of the event's source."""
    contracts = [source.contract for source in plan.sources]
    if event.source is None:
        return 0
    if event.source not in contracts:
        raise PenstockError(f"the pipeline has no source of {event.source!r}; it has {', '.join(contracts)}")
    return contracts.index(event.source)


def record_of(plan: PipelinePlan, number: int, event: Event) -> tuple[bytes | None, int]:
    """Value and timestamp of the Kafka record that brings an event, the ``number``-th."""
    value, received = event.value, event.received
    if isinstance(value, Mapping):
        source = plan.sources[_source_of(plan, event)]
        value = _fields(source, number, value)
        time = value.get(source.event_time)
        received = time if received is None and type(time) is int else received
        value = json.dumps(value)
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    # Without a time (-1) no clock guards it: bytes say theirs to the decoder alone.
    return value, -1 if received is None else received


def _fields(source: SourcePlan, number: int, value: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(value)
    time = fields.get(source.event_time)
    if isinstance(time, datetime):
        fields[source.event_time] = epoch_ms(time)
    elif isinstance(time, str):
        fields[source.event_time] = time_ms(time)
    if source.event_id is not None:
        fields.setdefault(source.event_id, f"event-{number}")
    return fields


def time_ms(text: str) -> int | str:
    """Epoch milliseconds of ISO 8601; any other text as it is, for the contract to refuse."""
    try:
        return epoch_ms(datetime.fromisoformat(text))
    except ValueError:
        return text


def _outcome(row: Row, views: Mapping[str, Any] | None, triggers: bool) -> Outcome:
    if views is None:
        return Outcome(duplicate=True)
    if not triggers:
        return Outcome(updates=True)
    return Outcome(
        # Two underscores mark what the planner made of a definition: filters and composite keys.
        columns={name: value for name, value in row.items() if "__" not in name},
        views={
            name: None
            if view is None
            else Features(view["entity"], view["seq"], view["as_of"], view["late"], view["features"])
            for name, view in views.items()
        },
    )
