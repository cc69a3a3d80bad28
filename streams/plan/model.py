"""The plan model: a compiled pipeline as plain data (JSON).

The PyFlink job builds its graph from the plan, the JVM kernel computes by it, and the oracle, the sinks and the scorer
take their columns from it. :mod:`streams.plan.compiler` makes plans. From the definition language, this module may
import only the specs of the aggregates, the names in SQL and the units of durations.
"""

from __future__ import annotations

from collections.abc import Callable
from graphlib import TopologicalSorter
from typing import Any, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from schemas.contract import ColumnType, ContractField, Pii
from schemas.envelopes import Envelope
from schemas.feature_types import FeatureType, element_of
from streams.definitions.aggregates.spec import SPECS, Operation
from streams.definitions.base import EVENT_TYPE, id_prefix
from streams.definitions.feature_sql import EVENT
from streams.definitions.windows import LIFETIME_MS, duration_text


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeaturePlan(_Plan):
    """One feature: an aggregate over one window. ``where`` is the name of a boolean column of the row.

    If ``column_type`` is a list, each element of the column counts as a value.
    """

    name: str
    operation: Operation
    column: str | None
    column_type: FeatureType | None
    where: str | None
    window_ms: int
    hop_ms: int
    type: FeatureType
    half_life_ms: int | None = None
    k: int | None = None
    buckets: tuple[float, ...] | None = None
    q: float | None = None
    bound: int | None = None
    gap_ms: int | None = None

    @property
    def value_type(self) -> ColumnType | None:
        """The type of the values that count."""
        return (
            None if self.column_type is None else element_of(self.column_type) or cast("ColumnType", self.column_type)
        )

    @property
    def depends_on_event(self) -> bool:
        """Whether the value depends on the triggering event, and so does not change between events."""
        return SPECS[self.operation].depends_on_event

    @property
    def empty(self) -> int | float | list[int | float | None] | None:
        """The value of an empty window: 0 for counts, else null."""
        empty = SPECS[self.operation].empty
        return empty if self.buckets is None else [empty] * (len(self.buckets) + 1)

    @property
    def is_lifetime(self) -> bool:
        """Whether the window is a lifetime, which no event leaves."""
        return self.window_ms == LIFETIME_MS

    @property
    def call(self) -> str:
        """The aggregate as in the definition, without window and condition."""
        buckets = None if self.buckets is None else [f"{edge:g}" for edge in self.buckets]
        listed = buckets and f"[{', '.join(buckets)}]"
        durations = {"gap": self.gap_ms, "half_life": self.half_life_ms}
        parameters = {"k": self.k, "q": self.q, "bound": self.bound, "buckets": listed}
        parameters |= {name: ms and duration_text(ms) for name, ms in durations.items()}
        given = [f"{name}={value}" for name, value in parameters.items() if value is not None]
        column = f"each={self.column}" if self.value_type != self.column_type else self.column
        return f"{self.operation}({', '.join([*filter(None, [column]), *given])})"


class DerivedFeaturePlan(_Plan):
    """One feature computed by SQL from other features of the same record.

    ``inputs`` are the references in the SQL, as ``view.feature`` or ``event.column``. ``windows`` (size and hop in ms)
    are those on which it depends through them.
    """

    name: str
    type: ColumnType
    sql: str
    inputs: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]

    @property
    def empty(self) -> None:
        """The value in an empty vector: null."""
        return


Output: TypeAlias = FeaturePlan | DerivedFeaturePlan
"""A feature of a view in a record: it has a name, a type, and a value for an entity without events (``empty``)."""


class ViewPlan(_Plan):
    """One view: the features of its aggregates, the derived features, and the hash of the view's meaning.

    Code that stores, serves or reads records uses :attr:`outputs`; the kernel and the oracle compute ``features``.
    """

    name: str
    version: int
    entity: str
    key: str
    key_type: ColumnType
    hash: str
    features: tuple[FeaturePlan, ...]
    derived: tuple[DerivedFeaturePlan, ...] = ()
    refresh_ms: int = 0

    @property
    def outputs(self) -> tuple[Output, ...]:
        """All features, in record order."""
        return (*self.features, *self.derived)

    @property
    def own_derived(self) -> tuple[DerivedFeaturePlan, ...]:
        """The derived features that use only this view: a timer's record has no other view and no event."""
        own = {f"{self.name}.{feature.name}" for feature in self.features}
        found = []
        for feature in self.derived:
            if own.issuperset(feature.inputs):
                own.add(f"{self.name}.{feature.name}")
                found.append(feature)
        return tuple(found)

    @property
    def id(self) -> str:
        """``name@version``, by which state, Redis keys and tables are named."""
        return f"{self.name}@{self.version}"

    @property
    def longest_window_ms(self) -> int | None:
        """The time without an event after which all windows are empty; None if one of them is a lifetime."""
        if any(feature.is_lifetime for feature in self.features):
            return None
        return max(feature.window_ms for feature in self.features)


class StagePlan(_Plan):
    """One keyed stage of the job: all views of one entity."""

    entity: str
    key: str
    key_type: ColumnType
    views: tuple[ViewPlan, ...]


class ColumnPlan(_Plan):
    """A column computed per row, by SQL or by a Python function; exactly one of the two is set.

    ``python`` is the name by which the job imports the function. In the process that compiled the plan, ``function`` is
    the function itself: a pipeline that was loaded by its path cannot be imported by that name there.
    """

    name: str
    type: ColumnType
    sql: str | None = None
    python: str | None = None
    arguments: tuple[str, ...] = ()
    function: Callable[..., Any] | None = Field(default=None, exclude=True, repr=False)


class CompositePlan(_Plan):
    """A text column that joins several key columns (:mod:`streams.plan.entity_text`). Null if one of them is null."""

    name: str
    columns: tuple[str, ...]


class SourcePlan(_Plan):
    """A topic of events, and the rules for valid ones; ``filter`` is the name of a boolean column of the row."""

    topic: str
    dead_letter_topic: str
    partitions: int
    contract: str
    contract_version: int
    fields: tuple[ContractField, ...]
    event_id: str | None
    event_time: str
    key: str | None
    dedup_horizon_ms: int
    max_future_ms: int
    max_bytes: int
    order: Literal["arrival", "event_time"] = "arrival"
    disorder_ms: int = 30_000
    idle_after_ms: int = 60_000
    triggers: bool = True
    filter: str | None = None
    envelope: Envelope | None = None

    @model_serializer(mode="wrap")
    def _without_envelope(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before there were envelopes, unless there is one: plans are compared."""
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if name != "envelope" or value is not None}


class LookupPlan(_Plan):
    """A topic of reference data, and the columns that an event gets from it.

    ``on`` are the event's columns that name a row, ``key`` the contract's fields that they equal. ``columns`` are pairs
    of a field and the column that it becomes.
    """

    name: str
    topic: str
    contract: str
    contract_version: int
    fields: tuple[ContractField, ...]
    on: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    max_rows: int
    max_bytes: int

    @property
    def column_fields(self) -> dict[str, ContractField]:
        """The field behind each column, by the column's name."""
        fields = {field.name: field for field in self.fields}
        return {column: fields[name] for name, column in self.columns}


class PipelinePlan(_Plan):
    """The plan of a pipeline. ``passthrough`` are the event columns on the feature record."""

    pipeline: str
    source: SourcePlan
    additional_sources: tuple[SourcePlan, ...] = ()
    lookups: tuple[LookupPlan, ...] = ()
    derived: tuple[ColumnPlan, ...]
    filters: tuple[ColumnPlan, ...]
    stages: tuple[StagePlan, ...]
    composites: tuple[CompositePlan, ...] = ()
    passthrough: tuple[tuple[str, ColumnType], ...]
    features_topic: str

    @model_serializer(mode="wrap")
    def _without_unused_parts(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before lookups existed, unless there are some: plans have hashes."""
        parts: dict[str, Any] = serialize(self)
        if not self.lookups:
            del parts["lookups"]
        return parts

    @property
    def sources(self) -> tuple[SourcePlan, ...]:
        """All sources; the pipeline's own, whose events are always scored, comes first."""
        return (self.source, *self.additional_sources)

    @property
    def triggering_topics(self) -> tuple[str, ...]:
        """The topics whose events are scored, each once; the pipeline's own source comes first."""
        return tuple(source.topic for source in self.sources if source.triggers)

    def id_prefix(self, number: int) -> str:
        """What the ids of the events of a source begin with: :func:`streams.definitions.base.id_prefix`."""
        source = self.sources[number]
        has_id = source.event_id is not None
        return id_prefix(self.source.contract, source.contract, triggers=source.triggers, has_id=has_id)

    def reserved_ids(self, number: int) -> tuple[str, ...]:
        """What the ids of a source's events must not begin with, because those of other sources do."""
        if not self.sources[number].triggers or self.sources[number].event_id is None or self.id_prefix(number):
            return ()
        others = [
            self.id_prefix(other) or ("" if source.event_id is not None else f"{source.topic}/")
            for other, source in enumerate(self.sources)
            if source.triggers
        ]
        return tuple(dict.fromkeys(prefix for prefix in others if prefix))

    def ids_of(self, number: int) -> int:
        """The number of the source among whose ids duplicates of a source's events are looked for.

        The topics of one contract whose events are scored share their ids. Every other source has its own.
        """
        source = self.sources[number]
        if not source.triggers:
            return number
        return next(i for i, one in enumerate(self.sources) if one.triggers and one.contract == source.contract)

    @property
    def contract_columns(self) -> dict[str, FeatureType]:
        """The columns of a row without derived ones: all contract fields, ``event__type``, those of lookups.

        Only rows of several sources have ``event__type``.
        """
        columns: dict[str, FeatureType] = {f.name: f.type for source in self.sources for f in source.fields}
        columns |= {EVENT_TYPE: "string"} if self.additional_sources else {}
        return columns | {name: f.type for lookup in self.lookups for name, f in lookup.column_fields.items()}

    @property
    def reference_topics(self) -> tuple[str, ...]:
        """The topics of the lookups, each once."""
        return tuple(dict.fromkeys(lookup.topic for lookup in self.lookups))

    @property
    def views(self) -> tuple[ViewPlan, ...]:
        """All views, in record order."""
        return tuple(view for stage in self.stages for view in stage.views)

    @property
    def derived_features(self) -> tuple[tuple[ViewPlan, DerivedFeaturePlan], ...]:
        """The derived features of all views, each after the features that it uses."""
        found = {f"{view.name}.{feature.name}": (view, feature) for view in self.views for feature in view.derived}
        uses = {name: [used for used in feature.inputs if used in found] for name, (_, feature) in found.items()}
        return tuple(found[name] for name in TopologicalSorter(uses).static_order())

    @property
    def record_types(self) -> dict[str, ColumnType]:
        """The types of what derived features may use, as ``event.column`` and ``view.feature``; lists are left out."""
        types: dict[str, FeatureType] = {f"{EVENT}.{name}": kind for name, kind in self.passthrough}
        types |= {f"{view.name}.{feature.name}": feature.type for view in self.views for feature in view.outputs}
        return {name: cast("ColumnType", kind) for name, kind in types.items() if element_of(kind) is None}

    @property
    def conditions(self) -> dict[str, str]:
        """The SQL, or the Python function, of each condition that a feature's ``where`` names."""
        return {column.name: column.sql or str(column.python) for column in self.filters}

    def view(self, name: str) -> ViewPlan:
        """The plan of the view called ``name``.

        Raises:
            KeyError: if there is none; the message lists the existing ones.
        """
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(f"pipeline {self.pipeline} has no view {name!r}; it has {', '.join(v.name for v in self.views)}")

    def key_columns(self, view: ViewPlan) -> tuple[str, ...]:
        """The event columns of the view's key; ``view.key`` itself may join several."""
        return next((composite.columns for composite in self.composites if composite.name == view.key), (view.key,))

    def hashed_columns(self, view: ViewPlan) -> tuple[bool, ...]:
        """Whether each of the view's :meth:`key_columns` is personal data, of which only the hash is kept."""
        hashed = self.hashed_fields
        return tuple(column in hashed for column in self.key_columns(view))

    @property
    def hashed_fields(self) -> frozenset[str]:
        """The columns from sources and lookups that are personal data, of which only the hash is kept."""
        columns = [(field.name, field) for source in self.sources for field in source.fields]
        columns += [item for lookup in self.lookups for item in lookup.column_fields.items()]
        return frozenset(name for name, field in columns if field.pii is Pii.HASH)
