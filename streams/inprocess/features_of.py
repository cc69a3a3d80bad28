"""Computes the features that a job would emit for given events, without a cluster."""

from __future__ import annotations

import atexit
import base64
import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock.errors import PenstockError
from penstock.time import epoch_ms, parse
from schemas.avro import contract_schema
from schemas.conversions import written_value
from schemas.documents import place
from schemas.envelopes import ENVELOPE, SOURCE_AND_ID
from schemas.feature_types import FeatureValue, Value
from schemas.sealing import DEFAULT_SOURCE, headers_around, sealed
from streams.definitions.base import EVENT_TYPE
from streams.definitions.pipeline import Pipeline
from streams.inprocess.kernel import Kernel
from streams.inprocess.references import Reference, decode_references, looked_up
from streams.oracle.event_time_order import Arrival, order_by_event_time
from streams.oracle.lookups import Change
from streams.oracle.reference import Row, accept_rows
from streams.plan.compiler import compile_plan
from streams.plan.entity_text import composite_text
from streams.plan.model import PipelinePlan, SourcePlan

# The key of personal data in tests. It is no secret; the hashes differ from those in production.
PII_KEY = b"penstock.testing"


@dataclass(frozen=True)
class Event:
    """An event as a producer sends it.

    Attributes:
        value: Its fields, or the bytes or text of a message. Fields have the contract's names and the values that
            producers write. The event time may be a datetime or ISO 8601 (UTC unless it has an offset), or epoch
            milliseconds, whatever producers write. A missing event id becomes ``event-<number>``, and each must be one
            of the contract.
        received: Its Kafka timestamp in epoch ms, which the clock guard compares with the event time. By default the
            event time.
        source: The name of its contract; by default that of the pipeline's first source.
        headers: The record's headers, with the bytes or text of a message. By default those of an event in its source's
            envelope: a message of a source of CloudEvents is one in structured mode.
    """

    value: Mapping[str, Any] | bytes | str | None
    received: int | None = None
    source: str | None = None
    headers: Sequence[tuple[str, bytes | None]] | None = None


@dataclass(frozen=True)
class Features:
    """One view's part of a feature record. ``late``: the event is older than every window, and changed nothing."""

    entity: str
    seq: int
    as_of: int
    late: bool
    values: Mapping[str, FeatureValue]


@dataclass(frozen=True)
class Outcome:
    """The outcome of an event: emitted with the features of each view, refused, a duplicate, ignored or an update.

    ``outcome["view.feature"]`` is a feature, ``outcome["event.column"]`` a column of the event, derived or not.

    Attributes:
        views: The features by view name; None for a view for whose entity the event has no value.
        columns: The columns of an emitted event, derived ones included.
        refused: The reason, as in the headers of a dead letter (``penstock.InvalidField``), or None.
        message: The explanation of the refusal.
        duplicate: Whether an earlier event had its key and id.
        ignored: Whether it is valid, but the filter of its source does not accept it, or no event in its envelope.
        updates: Whether it changed the windows without a record, because its source is not the trigger.
        reference: Whether it is reference data, which changes what later events get from lookups.
    """

    views: Mapping[str, Features | None] = field(default_factory=dict)
    columns: Mapping[str, Value] = field(default_factory=dict)
    refused: str | None = None
    message: str | None = None
    duplicate: bool = False
    ignored: bool = False
    updates: bool = False
    reference: bool = False

    @property
    def emitted(self) -> bool:
        """Whether a feature record is emitted for it."""
        return self.refused is None and not (self.duplicate or self.ignored or self.updates or self.reference)

    def __getitem__(self, name: str) -> FeatureValue:
        if not self.emitted:
            reason = "is a duplicate" if self.duplicate else "is ignored" if self.ignored else "only updates windows"
            if self.reference:
                reason = "is reference data"
            if self.refused:
                reason = f"was refused: {self.refused}, {self.message}"
            raise KeyError(f"{name}: this event {reason}")
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
    pipeline: Pipeline, events: Iterable[Event | Reference | Mapping[str, Any]], *, kernel: Kernel | None = None
) -> list[Outcome]:
    """The outcome of each event, from empty windows on; the given order is the arrival order.

    A :class:`~streams.inprocess.references.Reference` among them is a record of reference data. Lookups begin empty.

    If the source's order is event time, duplicates are still dropped in the order of arrival, and the windows see the
    others in event-time order, within the source's disorder.

    Args:
        pipeline: The definitions.
        events: The fields of each event, or an :class:`Event`.
        kernel: By default the shared kernel of this process, which the first call starts.

    Raises:
        PenstockError: if the fields of an event are not those of its contract, Java or the kernel is missing, or the
            kernel fails.
    """
    kernel = kernel or shared_kernel()  # a new one starts while this process does the rest
    plan = compile_plan(pipeline)
    sent = [event if isinstance(event, Event | Reference) else Event(event) for event in events]
    events_sent = [event for event in sent if isinstance(event, Event)]
    references = [event for event in sent if isinstance(event, Reference)]
    derive = _derivation(plan)
    decoded = _decode(pipeline, plan, events_sent, kernel)
    changes = decode_references(pipeline, plan, references, kernel, PII_KEY, require_known_fields)
    numbers = [_source_number(plan, event) for event in events_sent]
    if plan.lookups:
        _add_lookups(plan, sent, decoded, numbers, changes)
    valid = [index for index, answer in enumerate(decoded) if "columns" in answer]
    rows = dict(zip(valid, derive(plan, [decoded[index]["columns"] for index in valid]), strict=True))
    filters = [source.filter for source in plan.sources]
    accepted = [index for index, row in rows.items() if (name := filters[numbers[index]]) is None or row[name] is True]
    of_kernel = plan
    answers: dict[int, dict[str, Any] | None] = dict.fromkeys(accepted)
    if plan.source.order == "event_time":
        verdicts = accept_rows(plan.source, [rows[index] for index in accepted])
        first = {index for index, is_first in zip(accepted, verdicts, strict=True) if is_first}
        # Duplicates move the watermark, too: the job finds them behind it.
        accepted = [index for index in _window_order(plan, events_sent, rows, accepted) if index in first]
        of_kernel = plan.model_copy(update={"source": plan.source.model_copy(update={"event_id": None})})
    rows_accepted = [{**rows[index], "__source": numbers[index]} for index in accepted]
    computed = kernel.features(of_kernel.model_dump(mode="json"), rows_accepted)
    if plan.derived_features:
        _add_derived_features(plan, [rows[index] for index in accepted], computed)
    answers |= dict(zip(accepted, computed, strict=True))
    outcomes = iter(
        Outcome(refused=answer["reason"], message=answer["message"])
        if "reason" in answer
        else Outcome(ignored=True)
        if index not in answers
        else _outcome(rows[index], answers[index], plan.sources[numbers[index]].triggers)
        for index, answer in enumerate(decoded)
    )
    others = map(_of_reference, changes)
    return [next(outcomes) if isinstance(event, Event) else next(others) for event in sent]


def _of_reference(change: Change | Mapping[str, Any]) -> Outcome:
    if isinstance(change, Change):
        return Outcome(reference=True)
    return Outcome(refused=change["reason"], message=change["message"])


def _add_lookups(
    plan: PipelinePlan,
    sent: Sequence[Event | Reference],
    decoded: Sequence[dict[str, Any]],
    numbers: Sequence[int],
    changes: Sequence[Change | Mapping[str, Any]],
) -> None:
    """Add to the columns of each valid event, in place, what it gets from the reference data before it."""
    events = iter(zip(decoded, numbers, strict=True))
    records = iter(changes)
    steps: list[Any] = []
    for each in sent:
        if isinstance(each, Reference):
            steps.append(change if isinstance(change := next(records), Change) else None)
        else:
            answer, number = next(events)
            steps.append((answer["columns"], plan.sources[number].triggers) if "columns" in answer else None)
    for step, columns in zip(steps, looked_up(plan, steps), strict=True):
        if columns is not None:
            step[0].update(columns)


def _derivation(plan: PipelinePlan) -> Callable[[PipelinePlan, list[Row]], list[Row]]:
    """Adds derived columns, filters and composite keys to rows. The oracle computes them: the kernel runs no SQL."""
    if not plan.derived and not plan.filters:
        return _with_composites
    # DuckDB takes longer to import and to open than all else here: only pipelines with SQL pay for it.
    from streams.oracle.derived_columns import derive  # noqa: PLC0415

    return derive


def _with_composites(plan: PipelinePlan, rows: list[Row]) -> list[Row]:
    keys = plan.composites
    return [{**row, **{key.name: composite_text([row[name] for name in key.columns]) for key in keys}} for row in rows]


def _add_derived_features(plan: PipelinePlan, rows: Sequence[Row], answers: Sequence[dict[str, Any] | None]) -> None:
    """Add derived features to ``answers`` in place. The oracle computes them, because the kernel runs no SQL."""
    from streams.oracle.derived_features import derived_features  # noqa: PLC0415 - as above

    emitted = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer is not None]
    records = [
        {"event": row} | {name: view and view["features"] for name, view in answer.items()} for row, answer in emitted
    ]
    derived_values = derived_features(plan, records, [view.name for view in plan.views])
    for (_, answer), derived in zip(emitted, derived_values, strict=True):
        for view in plan.views:
            if answer[view.name] is not None:
                of_view = {feature.name: derived[f"{view.name}.{feature.name}"] for feature in view.derived}
                answer[view.name]["features"] |= of_view


def _window_order(
    plan: PipelinePlan, events: Sequence[Event], rows: Mapping[int, Row], accepted: list[int]
) -> list[int]:
    """The indices of the accepted events in event-time order, as if all came from one partition."""
    arrivals = []
    for index in accepted:
        time, received = rows[index][plan.source.event_time], events[index].received
        assert isinstance(time, int)
        arrivals.append(Arrival(time, 0, index, time if received is None else received))
    return [arrival.offset for arrival in order_by_event_time(plan.source, 1, arrivals)]


_shared: list[Kernel] = []


def shared_kernel() -> Kernel:
    """The shared kernel of this process; started if it does not run."""
    if _shared and not _shared[0].alive:
        _shared.pop().close()
    if not _shared:
        _shared.append(Kernel())
        atexit.register(_shared[0].close)
    return _shared[0]


def _decode(
    pipeline: Pipeline, plan: PipelinePlan, events: Sequence[Event], kernel: Kernel
) -> Sequence[dict[str, Any]]:
    encoded: dict[int, list[dict[str, Any]]] = {}
    for number, event in enumerate(events, 1):
        value, timestamp = record_of(plan, number, event)
        envelope = plan.sources[_source_number(plan, event)].envelope
        headers = headers_around(envelope) if event.headers is None else event.headers
        record = {
            "value": _base64(value),
            "timestamp": timestamp,
            "headers": [[name, _base64(content)] for name, content in headers],
        }
        encoded.setdefault(_source_number(plan, event), []).append(record)
    key = base64.b64encode(PII_KEY).decode()
    answers = {}
    for source, records in encoded.items():
        writers = [json.dumps(contract_schema(pipeline.sources[source].contract))]
        answers[source] = iter(kernel.decode(plan.model_dump(mode="json"), writers, key, records, source))
    return [next(answers[_source_number(plan, event)]) for event in events]


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _source_number(plan: PipelinePlan, event: Event) -> int:
    """The number of the event's source in the plan."""
    contracts, topics = zip(*((source.contract, source.topic) for source in plan.sources), strict=True)
    if event.source is None:
        return 0
    if event.source in topics:
        return topics.index(event.source)
    if event.source not in contracts:
        raise PenstockError(f"the pipeline has no source of {event.source!r}; it has {', '.join(contracts)}")
    return contracts.index(event.source)


def record_of(plan: PipelinePlan, number: int, event: Event) -> tuple[bytes | None, int]:
    """The value and timestamp of the Kafka record of an event. ``number`` counts from 1 and makes a missing id."""
    value, received = event.value, event.received
    if isinstance(value, Mapping):
        source = plan.sources[_source_number(plan, event)]
        value = _complete_fields(source, number, value)
        time = value.get(source.event_time)
        received = time if received is None and type(time) is int else received
        document = sealed(_document(source, value), source.envelope, source.contract, f"event-{number}")
        value = json.dumps(document)
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    # -1 disables the clock guard: the time of a raw message is not known before it is decoded.
    return value, -1 if received is None else received


def require_known_fields(contract: str, known: Sequence[str], fields: Iterable[str], where: str) -> None:
    """Refuse fields that the contract does not have. A real event may have them, in a test one is misspelt.

    Raises:
        PenstockError: names the fields, and the nearest ones of the contract.
    """
    if unknown := [name for name in fields if name not in known]:
        near = [match for name in unknown for match in difflib.get_close_matches(name, known, 1)]
        raise PenstockError(
            f"the event has {', '.join(unknown)}, which contract {contract} has not: "
            + (f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(known)}"),
            where=where,
            next="correct the name; to test a field that the pipeline ignores, give the event as the text of a message",
        )


def _complete_fields(source: SourcePlan, number: int, value: Mapping[str, Any]) -> dict[str, Any]:
    require_known_fields(source.contract, [field.name for field in source.fields], value, f"event {number}")
    fields = dict(value)
    time = fields.get(source.event_time)
    if isinstance(time, datetime):
        fields[source.event_time] = epoch_ms(time)
    elif isinstance(time, str):
        fields[source.event_time] = time_ms(time)
    if source.event_id is not None:
        has_both = any(f.name == source.event_id and f.place == (ENVELOPE, SOURCE_AND_ID) for f in source.fields)
        fields.setdefault(source.event_id, f"{DEFAULT_SOURCE} event-{number}" if has_both else f"event-{number}")
    return fields


def _document(source: SourcePlan, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The event with these fields, each where producers write it; the event time is written as they write it."""
    document: dict[str, Any] = {}
    for rules in source.fields:
        if rules.name in fields:
            value = fields[rules.name]
            if rules.name == source.event_time and type(value) is int:
                value = written_value(value, rules.written, rules.scale, avro=False)
            place(document, rules, value)
    return document


def time_ms(text: str) -> int | str:
    """Epoch milliseconds of a time as the command line reads it; another text unchanged, which the contract refuses."""
    try:
        return parse(text)
    except ValueError:
        return text


def _outcome(row: Row, views: Mapping[str, Any] | None, triggers: bool) -> Outcome:
    if views is None:
        return Outcome(duplicate=True)
    if not triggers:
        return Outcome(updates=True)
    return Outcome(
        # Other columns with two underscores come from the planner: filters and composite keys.
        columns={name: value for name, value in row.items() if name == EVENT_TYPE or "__" not in name},
        views={
            name: None
            if view is None
            else Features(view["entity"], view["seq"], view["as_of"], view["late"], view["features"])
            for name, view in views.items()
        },
    )
