"""Reads raw records leniently: each column by itself, whether or not the contract takes the event as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas.codec import Decoder, Registry, Undecodable, UnknownSchema, decode_row
from schemas.committed import writer_schemas
from schemas.contract import Contract, Role, contract_fields, field_with_role
from schemas.envelopes import CloudEvents, Debezium, Ignored
from schemas.event_time import EARLIEST_MS, latest_possible
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project

# Of a header's value, and of a text that a message quotes.
_MOST_TEXT = 64


class Column(NamedTuple):
    """A column that is watched.

    ``is_number``: its range is watched; ``may_be_category``: its values may be few, and none of them is personal;
    ``is_varied``: how many different values it has is watched. Of a list, only nulls and invalid values are watched.
    """

    name: str
    is_number: bool
    may_be_category: bool
    is_varied: bool


class RawEvent(NamedTuple):
    """What one record says, as far as it can be read.

    ``timestamp`` is Kafka's, -1 without one, and ``event_time`` the event's, None if it has no possible one (both epoch
    ms). ``producer`` is empty if nothing tells it. ``values`` are in the order of the columns, None for null; they are
    None as a whole if the record cannot be decoded. ``invalid`` are the columns, by position, whose value the contract
    refuses; nulls are not among them.
    """

    partition: int
    offset: int
    timestamp: int
    event_time: int | None
    producer: str
    event_id: str | None
    values: tuple[Any, ...] | None
    invalid: tuple[int, ...] = ()


class RawRecord(Protocol):
    """A Kafka record."""

    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


@dataclass(frozen=True)
class WatchedTopic:
    """A topic whose records are watched; of labels only whether they come, and as many as usual.

    ``max_future_ms`` is how far an event's time may be ahead of its Kafka timestamp, and of the clock.
    """

    topic: str
    contract: type[Contract]
    max_future_ms: int
    is_labels: bool = False
    envelope: Debezium | CloudEvents | None = None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are watched."""
        if self.is_labels:
            return ()
        return tuple(
            Column(
                field.name,
                is_number=field.type in ("long", "double") and Role.EVENT_TIME not in field.roles,
                may_be_category=field.type == "string" and field.pii is None and not field.roles,
                is_varied=Role.EVENT_TIME not in field.roles and not field.is_list,
            )
            for field in contract_fields(self.contract)
        )

    @property
    def has_ids(self) -> bool:
        """Whether its events have ids, none of which may come twice; a label may be corrected."""
        return not self.is_labels and field_with_role(self.contract, Role.EVENT_ID) is not None


def watched_topics(pipeline: Pipeline) -> tuple[WatchedTopic, ...]:
    """The topics of a pipeline that are watched: its sources, then its labels."""
    sources = [WatchedTopic(one.topic, one.contract, one.max_future, envelope=one.envelope) for one in pipeline.sources]
    labels = () if pipeline.labels is None else pipeline.labels.sources
    sources += [WatchedTopic(one.topic, one.contract, pipeline.source.max_future, is_labels=True) for one in labels]
    return tuple(sources)


class RawReader:
    """Reads the records of one topic.

    Args:
        topic: The topic.
        project: The pipeline.
        now: Wall-clock epoch milliseconds: no event is of a time to come.
        registry: Finds the schemas of Confluent-framed events; without one these cannot be decoded.
    """

    def __init__(
        self, topic: WatchedTopic, project: Project, now: Callable[[], int], registry: Registry | None = None
    ) -> None:
        monitors = project.pipeline.monitors
        quality = None if monitors is None else monitors.data_quality
        self._topic, self._now, self._registry = topic, now, registry
        self._header = None if quality is None else quality.producer_header
        self._writers = Decoder(*writer_schemas(topic.contract, project.schemas))
        fields = {field.name: field for field in contract_fields(topic.contract)}
        strict = ConfigDict(strict=True, allow_inf_nan=False)
        self._columns = [
            (
                column.name,
                fields[column.name].default,
                TypeAdapter[Any](_kind(topic.contract, column.name), config=strict).validator.validate_python,
            )
            for column in topic.columns
        ]
        event_time = field_with_role(topic.contract, Role.EVENT_TIME)
        assert event_time is not None  # contracts have one
        self._event_time = event_time
        self._event_id = field_with_role(topic.contract, Role.EVENT_ID) if topic.has_ids else None

    def read(self, record: RawRecord) -> RawEvent | None:
        """What a record says; None if it is no event in the topic's envelope.

        Raises:
            PenstockError: if the schema registry cannot be reached.
        """
        place = record.partition, record.offset, record.timestamp
        producer = self._producer(record.headers)
        try:
            # A record without a value is none, as an empty one is; in an envelope it may be one.
            row = decode_row(
                record.value,
                self._topic.contract,
                self._writers,
                self._registry,
                self._topic.envelope,
                record.headers,
            )
        except (Undecodable, UnknownSchema):
            return RawEvent(*place, None, producer, None, None)
        if isinstance(row, Ignored):
            return None
        values, invalid = [], []
        for position, (name, default, validate) in enumerate(self._columns):
            value = row.get(name, default)
            values.append(value)
            if value is not None:
                try:
                    validate(value)
                except ValidationError:
                    invalid.append(position)
        event_id = None if self._event_id is None else row.get(self._event_id)
        return RawEvent(
            *place,
            self._time(row.get(self._event_time), record.timestamp),
            producer,
            event_id if isinstance(event_id, str) else None,
            tuple(values),
            tuple(invalid),
        )

    def _time(self, value: Any, timestamp: int) -> int | None:
        if type(value) is not int or value < EARLIEST_MS:
            return None
        latest = latest_possible(self._topic.max_future_ms, self._now(), timestamp)
        return value if latest is not None and value <= latest else None

    def _producer(self, headers: Sequence[tuple[str, bytes | None]]) -> str:
        if self._header is None:
            return ""
        # Kafka lets a header come twice: the last one is of whoever wrote last.
        value = next((value for name, value in reversed(headers) if name == self._header), None)
        return short(value.decode("utf-8", "replace")) if value is not None else ""


def short(text: str) -> str:
    """A text as a message may quote it: not long, and on one line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)[
        :_MOST_TEXT
    ]


def _kind(contract: type[Contract], name: str) -> Any:
    info = contract.model_fields[name]
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
