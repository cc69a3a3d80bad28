"""Sources: the Kafka topics of raw events that a pipeline reads, and the checks that several of them fit together."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from penstock.kafka.names import dead_letters_of
from schemas.contract import Contract, Role, contract_fields, field_with_role
from schemas.envelopes import Envelope, check_envelope
from streams.definitions.base import Definition, Name, Sql, Topic
from streams.definitions.labels import Labels
from streams.definitions.windows import Duration

# The job writes the number of an event's source as a signed byte, in its state and between its operators.
_MOST_SOURCES = 128
GENERATED = re.compile(r"(event|key|where)__")
"""Columns that the planner adds to a row begin so."""


class Source(Definition):
    """A Kafka topic of raw events with one contract.

    Args:
        topic: The topic. Its dead letters go to ``<topic>.dlq``.
        contract: The contract of its events.
        key: The column by which producers partition the topic. For that entity a replay is bit-exact.
        partitions: The number of its partitions.
        dedup_horizon: Within this event time (default 1 h), an event with the same key and id is a duplicate.
        max_future: How far an event's time may be ahead of its Kafka timestamp, and of a live job's clock (default
            1 min).
        max_bytes: A longer event is refused without decoding it.
        order: The order in which views process an entity's events: by arrival, or by (event time, partition, offset).
            For the second, each event waits until the watermark has passed its time.
        disorder: How far the watermark stays behind the least advanced partition (default 30 s).
        idle_after: The watermark does not wait for a partition without valid events for this time (default 1 min).
        triggers: Whether its events produce feature records, and so predictions. Otherwise they only update windows.
            See :func:`streams.definitions.base.id_prefix` for the ids of these records.
        filter: A SQL condition on the row. Valid events for which it is not true are counted and ignored. Use it for a
            topic that also has events of other kinds.
        envelope: What stands around its events: ``Debezium(...)`` or ``CloudEvents()``. None: nothing.
    """

    topic: Topic
    contract: type[Contract]
    key: Name | None = None
    partitions: int = Field(default=4, ge=1)
    dedup_horizon: Duration = 3_600_000
    max_future: Duration = 60_000
    max_bytes: int = Field(default=1_048_576, ge=1, le=2**31 - 1)
    order: Literal["arrival", "event_time"] = "arrival"
    disorder: Duration = 30_000
    idle_after: Duration = 60_000
    triggers: bool = True
    filter: Sql | None = None
    envelope: Envelope | None = None

    @model_validator(mode="after")
    def _has_events(self) -> Self:
        if self.contract.is_reference_data:
            raise ValueError(
                f"source {self.topic}: {self.contract.contract_name} is a contract of reference data (reference=True), "
                "which has no event time"
            )
        return self

    @model_validator(mode="after")
    def _check_key_protects(self) -> Self:
        personal = [field.name for field in contract_fields(self.contract) if field.pii is not None]
        if self.key is None and personal:
            raise ValueError(
                f"source {self.topic}: give key=, the column that producers partition by. The contract has "
                f"personal data ({', '.join(personal)}), and record keys of an unknown column may be such values"
            )
        return self

    @model_validator(mode="after")
    def _check_envelope(self) -> Self:
        try:
            check_envelope(self.envelope, self.contract)
        except ValueError as error:
            raise ValueError(f"source {self.topic}: {error}") from None
        return self

    @property
    def dead_letter_topic(self) -> str:
        """The topic of refused events, kept verbatim with the reason in their headers."""
        return dead_letters_of(self.topic)

    @property
    def event_id(self) -> str | None:
        """The field that identifies an event, if the contract has one."""
        return field_with_role(self.contract, Role.EVENT_ID)

    @property
    def event_time(self) -> str:
        """The field with the event time, in epoch milliseconds."""
        name = field_with_role(self.contract, Role.EVENT_TIME)
        assert name is not None  # Contract checks this for every subclass
        return name


def check_sources(first: Source, additional: tuple[Source, ...]) -> None:
    """Check that the events of several topics fit into one row type and one partitioning.

    Raises:
        ValueError: if a source does not fit; names the source and the reason.
    """
    if not first.triggers:
        raise ValueError(
            f"source {first.topic}: the pipeline's own source always triggers; put others into additional_sources=(...)"
        )
    if len(additional) >= _MOST_SOURCES:
        raise ValueError(
            f"source {first.topic}: a pipeline reads at most {_MOST_SOURCES} topics, this one {len(additional) + 1}; "
            "merge topics whose events can share a contract"
        )
    topics = {first.topic}
    for source in additional:
        where = f"source {source.topic}"
        if source.topic in topics:
            raise ValueError(f"{where}: is named twice; separate its events with filter= or where=")
        topics.add(source.topic)
        if "event_time" in (first.order, source.order):
            raise ValueError(f"{where}: events of several topics cannot be ordered by event time; leave out order=")
        for name in ("key", "partitions"):
            theirs, ours = getattr(source, name), getattr(first, name)
            if theirs != ours:
                raise ValueError(
                    f"{where}: {name} is {theirs!r}, that of {first.topic} is {ours!r}; an entity's events must be in "
                    "the same partition number in all topics"
                )
    _check_shared_ids((first, *additional))
    _check_columns(first, additional)


def check_label_sources(labels: Labels, sources: tuple[Source, ...]) -> None:
    """Check that labels are of events that are scored, and whose ids name their contract.

    Raises:
        ValueError: if they are not; names the contracts that ``of`` may name.
    """
    own = sources[0].contract.contract_name
    scored = {one.contract.contract_name for one in sources if one.triggers and one.event_id is not None} - {own}
    for source in labels.sources:
        if source.of is not None and source.of not in scored:
            raise ValueError(
                f"labels of {source.topic} are of {source.of!r}: "
                + (f"of= names {', '.join(sorted(scored))}, or is left out" if scored else "leave out of=")
                + f", which means events of {own}"
            )


def _check_shared_ids(sources: tuple[Source, ...]) -> None:
    """Check that the topics of one contract whose events are scored find duplicates alike: they share the ids."""
    firsts: dict[str, Source] = {}
    for source in sources:
        if not source.triggers or source.event_id is None:
            continue
        first = firsts.setdefault(source.contract.contract_name, source)
        for name in ("event_id", "dedup_horizon", "max_future"):
            theirs, ours = getattr(source, name), getattr(first, name)
            if theirs != ours:
                raise ValueError(
                    f"source {source.topic}: {name} is {theirs!r}, that of {first.topic} is {ours!r}; an id is of one "
                    "event in all topics of a contract, so duplicates are found alike"
                )


def _check_columns(first: Source, additional: tuple[Source, ...]) -> None:
    """Check that columns of one name are alike, all events have the key, and no name could be a generated one."""
    columns = {field.name: (first, field) for field in contract_fields(first.contract)}
    has_key = first.key in columns
    for source in additional:
        where = f"source {source.topic}"
        fields = contract_fields(source.contract)
        if has_key and first.key not in {field.name for field in fields}:
            raise ValueError(
                f"{where}: {source.contract.contract_name} has no field {first.key!r}, the key of all topics"
            )
        for field in fields:
            other_source, other_field = columns.setdefault(field.name, (source, field))
            for name in ("type", "pii"):
                theirs, ours = getattr(field, name), getattr(other_field, name)
                if theirs != ours:
                    raise ValueError(
                        f"{where}: the {name} of {field.name} is {theirs}, in {other_source.topic} it is {ours}; "
                        "columns with the same name must have the same type and pii"
                    )
    reserved = sorted(name for name in columns if GENERATED.match(name))
    if reserved:
        raise ValueError(f"contracts: {', '.join(reserved)} could be a generated column; rename it")
