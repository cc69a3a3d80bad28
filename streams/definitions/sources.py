"""Sources: the Kafka topics of raw events that a pipeline reads, and how several of them fit together."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from schemas.contract import Contract, Role, contract_fields, field_with_role
from streams.definitions.base import Definition, Name, Sql
from streams.definitions.windows import Duration

# Columns that the planner adds to a row.
_GENERATED = re.compile(r"(event|key|where)__")


class Source(Definition):
    """A Kafka topic of raw events under one contract.

    ``key`` is the column by which producers partition the topic: for that entity a replay is bit-exact.
    ``dedup_horizon`` is in event time (default 1 h); ``max_future`` is how far an event's time may be ahead of its
    Kafka timestamp (default 1 min). An event of more than ``max_bytes`` is refused unread. Dead letters go to
    ``<topic>.dlq``. Valid events for which ``filter``, a SQL condition on the row, is not true are ignored and
    counted: for a topic that carries more than the pipeline is about.

    ``order`` is that in which views take the events of an entity: as they arrive, or by (event time, partition,
    offset), for which each event waits until the watermark has passed it. The watermark stays ``disorder`` behind the
    least advanced partition; one that has brought nothing for ``idle_after`` is not waited for.

    An event of a source that ``triggers`` gives a feature record, and so a prediction; one of another source changes
    the windows, and that is all.
    """

    topic: str
    contract: type[Contract]
    key: Name | None = None
    partitions: int = Field(default=4, ge=1)
    dedup_horizon: Duration = 3_600_000
    max_future: Duration = 60_000
    max_bytes: int = Field(default=1_048_576, ge=1)
    order: Literal["arrival", "event_time"] = "arrival"
    disorder: Duration = 30_000
    idle_after: Duration = 60_000
    triggers: bool = True
    filter: Sql | None = None

    @property
    def dead_letter_topic(self) -> str:
        """Where events that cannot be used are kept, verbatim, with the reason in their headers."""
        return f"{self.topic}.dlq"

    @property
    def event_id(self) -> str | None:
        """The field that identifies an event, if the contract names one."""
        return field_with_role(self.contract, Role.EVENT_ID)

    @property
    def event_time(self) -> str:
        """The field that holds event time, in epoch milliseconds."""
        name = field_with_role(self.contract, Role.EVENT_TIME)
        assert name is not None  # the contract's own check
        return name


def check_sources(first: Source, additional: tuple[Source, ...]) -> None:
    """Check that the events of several topics can be brought together.

    Raises:
        ValueError: naming the source that does not fit, and why.
    """
    if not first.triggers:
        raise ValueError(
            f"source {first.topic}: the pipeline's own source always triggers; put others into additional_sources=(...)"
        )
    topics = {first.topic}
    for source in additional:
        where = f"source {source.topic}"
        if source.topic in topics:
            raise ValueError(f"{where}: is named twice; tell its events apart by filter= or where=")
        topics.add(source.topic)
        if source.triggers:
            raise ValueError(f"{where}: only the pipeline's own source can trigger records; give it triggers=False")
        if "event_time" in (first.order, source.order):
            raise ValueError(f"{where}: events of several topics cannot be taken by event time; leave out order=")
        for name in ("key", "partitions"):
            theirs, ours = getattr(source, name), getattr(first, name)
            if theirs != ours:
                raise ValueError(
                    f"{where}: {name} is {theirs!r}, that of {first.topic} is {ours!r}; an entity's events must be in "
                    "partitions of the same number in all topics"
                )
    if additional:
        _check_columns(first, additional)


def _check_columns(first: Source, additional: tuple[Source, ...]) -> None:
    """Columns of one name must be alike, all events must have the key, and no name may be a generated one."""
    known = {field.name: (first, field) for field in contract_fields(first.contract)}
    has_key = first.key in known
    for source in additional:
        where = f"source {source.topic}"
        fields = contract_fields(source.contract)
        if has_key and first.key not in {field.name for field in fields}:
            raise ValueError(
                f"{where}: {source.contract.contract_name} has no field {first.key!r}, the key of all topics"
            )
        for field in fields:
            other, same = known.setdefault(field.name, (source, field))
            for name in ("type", "pii"):
                theirs, ours = getattr(field, name), getattr(same, name)
                if theirs != ours:
                    raise ValueError(
                        f"{where}: the {name} of {field.name} is {theirs}, in {other.topic} it is {ours}; "
                        "columns of one name must be alike"
                    )
    reserved = sorted(name for name in known if _GENERATED.match(name))
    if reserved:
        raise ValueError(f"contracts: {', '.join(reserved)} could be a generated column; rename it")
