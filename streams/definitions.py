"""The definition language: a pipeline is one Python file that says what, never how.

A pipeline names a source and its contract, the entities, the feature views over them, the model and the labels.
The job graph, the Avro records, the Redis keys, the Cassandra tables and the training sets are derived from it
(:mod:`streams.plan`). Definitions are immutable values and touch no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.contract import ColumnType, Contract, Pii, Role, contract_fields, field_with_role
from streams.aggregates import KINDS, Aggregate
from streams.feature_sql import check_other_features, check_own_features, types_of
from streams.feature_types import FeatureType, element_of
from streams.monitors import Monitors
from streams.words import Definition, Duration, Name, Sql

# Columns that the planner adds to a row.
_GENERATED = re.compile(r"(event|key|where)__")
# What a feature record has beside its views (schemas.records).
_RECORD_FIELDS = ("event_id", "event_time", "trigger", "attempt", "source", "event")


class Entity(Definition):
    """What features are about: a card, a merchant, an aircraft. ``key`` is the (derived) column that names it.

    Several columns name it together (``key=("card", "merchant")``: a card at a merchant); where one of them is null,
    there is no such entity. How its parts become one text is in :mod:`streams.entities`.
    """

    name: Name
    key: Name | Annotated[tuple[Name, ...], Field(min_length=2)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that name it."""
        return (self.key,) if isinstance(self.key, str) else self.key


class Derived(Definition):
    """A column computed from one row by a SQL expression.

    The expression uses the SQL that Flink and DuckDB share (the second is the oracle's): arithmetic, comparison,
    ``CASE``, ``COALESCE``, ``ABS``, ``FLOOR``, ``MOD``, ``LN``, ``EXP``, ``SQRT``, ``UPPER``, ``||`` and the like.
    ``/`` between integers is integer division, and a number with a fraction is written with an exponent (``0.5e0``),
    which makes it a double. Event time is a column of epoch milliseconds.
    """

    sql: Sql
    type: ColumnType


class PythonColumn(Definition):
    """A column computed from one row by a Python function: slower by an order of magnitude, so a choice.

    ``function`` must be importable (module level), pure, and take the named columns as positional arguments; None
    stands for null. It runs in the TaskManager's Python (docs/reference/benchmarks.md has the measured cost).
    """

    function: Callable[..., Any]
    columns: tuple[Name, ...]
    type: ColumnType

    @property
    def reference(self) -> str:
        """``module:function``, by which the job imports it."""
        return f"{self.function.__module__}:{self.function.__qualname__}"


class View(Definition):
    """A set of features of one entity, versioned as a whole. A version never changes its meaning.

    ``derived`` are features computed by SQL from those of the same record: the view's own by their name, another
    view's as ``view.feature``, the event's columns as ``event.column``; each may use the derived ones before it.

    With ``refresh``, the vector of an entity that is idle is emitted again as what it counted leaves its windows, at
    most once in that time. It changes no value and is no part of what the version means.
    """

    name: Name
    version: int = Field(ge=1)
    entity: Entity
    aggregates: Annotated[tuple[Aggregate, ...], Field(min_length=1)]
    derived: dict[Name, Derived] = Field(default_factory=dict)
    refresh: Duration | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a view does not use is no part of its definition, nor of its hash."""
        fields: dict[str, Any] = serialize(self)
        if not self.derived:
            del fields["derived"]
        return fields

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = self.feature_names()
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"view {self.name}: two features are called {', '.join(twice)}; give one a name=...")
        check_own_features(self)
        return self

    def feature_names(self) -> tuple[str, ...]:
        """All features of the view, in the order of the record: those of its aggregates, then the derived ones."""
        return (*(name for aggregate in self.aggregates for name in aggregate.feature_names()), *self.derived)

    def inputs(self) -> tuple[str, ...]:
        """The features as model inputs: ``view.feature``."""
        return tuple(f"{self.name}.{name}" for name in self.feature_names())


class Source(Definition):
    """A Kafka topic of raw events under one contract.

    ``key`` is the column by which producers partition the topic: for that entity a replay is bit-exact.
    ``dedup_horizon`` is in event time (default 1 h); ``max_future`` is how far an event's time may be ahead of its
    Kafka timestamp (default 1 min). An event of more than ``max_bytes`` is refused unread. Dead letters go to
    ``<topic>.dlq``. Valid events for which ``accepts``, a SQL condition on the row, is not true are ignored and
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
    accepts: Sql | None = None

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


class Model(Definition):
    """The model that scores each event, and how its score becomes a decision.

    ``inputs`` are ``view.feature`` or ``event.column`` (contract or derived), in the order of the model's vector.
    A score of at least ``threshold`` gives ``positive``, else ``negative``.
    """

    name: Name
    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    threshold: float = Field(gt=0, lt=1)
    positive: str
    negative: str


class Labels(Definition):
    """The topic that brings the truth, late.

    Its contract names the labelled event (EVENT_ID) and the time at which the label was known (EVENT_TIME).
    """

    topic: str
    contract: type[Contract]
    value: Name


class Pipeline(Definition):
    """Everything about one pipeline. ``carry`` names event columns that feature records keep beside model inputs.

    Beside its ``source``, whose events are scored, a pipeline may read other topics (``also``), each under a contract
    of its own, keyed and partitioned as the source is. A row then has the columns of all contracts, null where its own
    lacks them, and ``event__type``: its contract's name, for conditions.
    """

    name: Name
    source: Source
    also: tuple[Source, ...] = ()
    entities: Annotated[tuple[Entity, ...], Field(min_length=1)]
    derived: dict[Name, Derived | PythonColumn] = Field(default_factory=dict)
    views: Annotated[tuple[View, ...], Field(min_length=1)]
    model: Model
    labels: Labels | None = None
    carry: tuple[Name, ...] = ()
    monitors: Monitors | None = None

    @property
    def features_topic(self) -> str:
        """One record per valid event, with every feature of every entity of it."""
        return f"features.{self.name}"

    @property
    def predictions_topic(self) -> str:
        """One record per valid event, exactly once."""
        return f"predictions.{self.name}"

    @property
    def drift_topic(self) -> str:
        """Alerts of the monitors."""
        return f"drift.{self.name}"

    @property
    def drift_state_topic(self) -> str:
        """What the drift detectors know, with the offset up to which they know it; compacted."""
        return f"drift.{self.name}.state"

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, the one whose events are scored first."""
        return (self.source, *self.also)

    def column_types(self) -> dict[str, ColumnType]:
        """All columns of a row: the fields of all contracts, then the derived ones."""
        types = {f.name: f.type for source in self.sources for f in contract_fields(source.contract)}
        return types | {name: column.type for name, column in self.derived.items()}

    def view(self, name: str) -> View:
        """The view of that name.

        Raises:
            KeyError: if there is none; the message lists those that exist.
        """
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(f"pipeline {self.name} has no view {name!r}; it has {', '.join(v.name for v in self.views)}")

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        _check_sources(self.source, self.also)
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for source in self.sources:
            for field in contract_fields(source.contract):
                if field.name in self.derived:
                    raise ValueError(f"derived column {field.name!r} hides a field of {source.contract.contract_name}")
        view_names = [view.name for view in self.views]
        if len(set(view_names)) < len(view_names):
            raise ValueError(f"view names must differ, got {view_names}")
        for name in view_names:
            if name in _RECORD_FIELDS:
                raise ValueError(f"a view cannot be called {name!r}: feature records have a field of that name")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        columns = self.column_types()
        for entity in self.entities:
            for name in entity.columns:
                if _require(columns, name, f"entity {entity.name}") == "double":
                    raise ValueError(f"entity {entity.name}: a double is no key; derive a string or long from {name}")
            if len(set(entity.columns)) < len(entity.columns):
                raise ValueError(f"entity {entity.name}: a column is named twice in {entity.columns}")
        if self.source.key is not None:
            _require(columns, self.source.key, "source key")
        for name in self.carry:
            _require(columns, name, "carry")
        for view in self.views:
            if view.entity not in self.entities:
                raise ValueError(f"view {view.name}: entity {view.entity.name} is not among the pipeline's entities")
            for aggregate in view.aggregates:
                _check_aggregate(columns, view, aggregate)
        dropped = [f.name for s in self.sources for f in contract_fields(s.contract) if f.pii is Pii.DROP]
        check_other_features(self, dropped)
        return self

    @model_validator(mode="after")
    def _model_inputs_are_numbers(self) -> Self:
        columns = self.column_types()
        sources: dict[str, FeatureType] = {f"event.{name}": kind for name, kind in columns.items()}
        for view in self.views:
            sources |= {f"{view.name}.{name}": kind for name, kind in types_of(self, view).items()}
        for name in self.model.inputs:
            if name not in sources:
                raise ValueError(
                    f"model {self.model.name}: input {name!r} is neither event.<column> nor <view>.<feature>"
                )
            if sources[name] == "string":
                raise ValueError(f"model {self.model.name}: input {name} is a string; derive a number from it")
            if element_of(sources[name]) is not None:
                raise ValueError(
                    f"model {self.model.name}: input {name} is a list ({sources[name]}), a model takes numbers; "
                    "give it an aggregate of one value, such as max_, last or count(where=...)"
                )
        if self.monitors is not None:
            self.monitors.check(self.model.inputs)
        return self


def _check_sources(first: Source, also: tuple[Source, ...]) -> None:
    """Check that the events of several topics can be brought together.

    Raises:
        ValueError: naming the source that does not fit, and why.
    """
    if not first.triggers:
        raise ValueError(f"source {first.topic}: the pipeline's own source always triggers; put others into also=(...)")
    topics = {first.topic}
    for source in also:
        where = f"source {source.topic}"
        if source.topic in topics:
            raise ValueError(f"{where}: is named twice; tell its events apart by accepts= or where=")
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
    if also:
        _check_columns(first, also)


def _check_columns(first: Source, also: tuple[Source, ...]) -> None:
    """Columns of one name must be alike, all events must have the key, and no name may be a generated one."""
    known = {field.name: (first, field) for field in contract_fields(first.contract)}
    has_key = first.key in known
    for source in also:
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


def _check_aggregate(columns: dict[str, ColumnType], view: View, aggregate: Aggregate) -> None:
    if aggregate.column is None:
        return
    kind = _require(columns, aggregate.column, f"view {view.name}, {aggregate.name}")
    if KINDS[aggregate.operation].numeric and kind not in ("long", "double"):
        call = f"{aggregate.operation}({aggregate.column})"
        raise ValueError(f"view {view.name}: {call} needs a number, not {kind}")


def _require(columns: dict[str, ColumnType], name: str, where: str) -> ColumnType:
    if name not in columns:
        raise ValueError(f"{where}: no column {name!r}; there are {', '.join(columns)}")
    return columns[name]
