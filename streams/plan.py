"""The planner: turns a pipeline's definitions into the plan that every engine follows.

The plan is plain data (JSON): the PyFlink job assembles its graph from it, the JVM kernel computes by it, the oracle,
the sinks and the scorer read their columns from it. Its view hashes say whether a version still means what it meant.
"""

from __future__ import annotations

import hashlib
import json
import re
from graphlib import TopologicalSorter
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from schemas.contract import ColumnType, ContractField, Pii, contract_fields
from streams.aggregates.spec import SPECS, Operation
from streams.definitions import Derived, Entity, Pipeline, PythonColumn, Source, View
from streams.feature_sql import columns_used, references, views_used, windows_used
from streams.feature_types import FeatureType
from streams.words import LIFETIME_MS, span


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


EVENT_TYPE = "event__type"
"""The column that holds the name of an event's contract, where a pipeline has several sources."""


class FeaturePlan(_Plan):
    """One feature: an aggregate over one window. ``where`` is the name of a boolean column of the row."""

    name: str
    operation: Operation
    column: str | None
    column_type: ColumnType | None
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
    def depends_on_event(self) -> bool:
        """Whether the value depends on the triggering event, and stays what it was between events."""
        return SPECS[self.operation].depends_on_event

    @property
    def empty(self) -> int | float | list[int | float | None] | None:
        """What an empty window gives: 0 for counts, null for the rest."""
        empty = SPECS[self.operation].empty
        return empty if self.buckets is None else [empty] * (len(self.buckets) + 1)

    @property
    def is_lifetime(self) -> bool:
        """Whether nothing ever leaves its window."""
        return self.window_ms == LIFETIME_MS

    @property
    def call(self) -> str:
        """The aggregate as its definition writes it, without window and condition."""
        buckets = None if self.buckets is None else [f"{edge:g}" for edge in self.buckets]
        listed = buckets and f"[{', '.join(buckets)}]"
        parameters = {"k": self.k, "q": self.q, "bound": self.bound, "buckets": listed}
        parameters |= {"gap": self.gap_ms and span(self.gap_ms)}
        given = [f"{name}={value}" for name, value in parameters.items() if value is not None]
        return f"{self.operation}({', '.join([*filter(None, [self.column]), *given])})"


class DerivedFeaturePlan(_Plan):
    """One feature computed by SQL from others of the same record.

    ``inputs`` are all that the SQL names, as ``view.feature`` or ``event.column``. ``windows`` are those (size and hop
    in ms) on which it depends through them.
    """

    name: str
    type: ColumnType
    sql: str
    inputs: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]

    @property
    def empty(self) -> None:
        """What it is when nothing is known: null."""
        return


Output: TypeAlias = FeaturePlan | DerivedFeaturePlan
"""What a record holds of a view: it has a name, a type, and a value when nothing is known."""


class ViewPlan(_Plan):
    """One view: the features of its aggregates, those derived from them, and the hash of all that gives them meaning.

    Whoever stores, serves or reads what a view puts on a record follows :attr:`outputs`; ``features`` are what the
    kernel and the oracle compute.
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
        """All features, in the order of the record."""
        return (*self.features, *self.derived)

    @property
    def own_derived(self) -> tuple[DerivedFeaturePlan, ...]:
        """The derived features that need nothing but the view itself: a timer's record has no more to compute from."""
        own = {f"{self.name}.{feature.name}" for feature in self.features}
        found = []
        for feature in self.derived:
            if own.issuperset(feature.inputs):
                own.add(f"{self.name}.{feature.name}")
                found.append(feature)
        return tuple(found)

    @property
    def id(self) -> str:
        """``name@version``: how state, Redis keys and tables are told apart."""
        return f"{self.name}@{self.version}"

    @property
    def longest_window_ms(self) -> int | None:
        """After this long without an event every window of the view is empty; None if one of them is a lifetime."""
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
    """A column computed per row, by SQL or by a Python function (exactly one of the two is set)."""

    name: str
    type: ColumnType
    sql: str | None = None
    python: str | None = None
    arguments: tuple[str, ...] = ()


class CompositePlan(_Plan):
    """A text column that names an entity by several columns; null if one of them is (see :mod:`streams.entities`)."""

    name: str
    columns: tuple[str, ...]


class SourcePlan(_Plan):
    """Where events come from and what makes one valid; ``accepts`` is the name of a boolean column of the row."""

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
    accepts: str | None = None


class PipelinePlan(_Plan):
    """The whole plan of a pipeline. ``carried`` are the event columns kept on the feature record."""

    pipeline: str
    source: SourcePlan
    also: tuple[SourcePlan, ...] = ()
    derived: tuple[ColumnPlan, ...]
    filters: tuple[ColumnPlan, ...]
    stages: tuple[StagePlan, ...]
    composites: tuple[CompositePlan, ...] = ()
    carried: tuple[tuple[str, ColumnType], ...]
    features_topic: str

    @property
    def sources(self) -> tuple[SourcePlan, ...]:
        """All sources, the one whose events are scored first."""
        return (self.source, *self.also)

    @property
    def contract_columns(self) -> dict[str, ColumnType]:
        """The columns of a row before any is derived: the fields of all contracts, and the event's type if need be."""
        columns = {field.name: field.type for source in self.sources for field in source.fields}
        return columns | ({EVENT_TYPE: "string"} if self.also else {})

    @property
    def views(self) -> tuple[ViewPlan, ...]:
        """All views, in record order."""
        return tuple(view for stage in self.stages for view in stage.views)

    @property
    def derived_features(self) -> tuple[tuple[ViewPlan, DerivedFeaturePlan], ...]:
        """The derived features of all views, each after those that it uses."""
        found = {f"{view.name}.{feature.name}": (view, feature) for view in self.views for feature in view.derived}
        uses = {name: [used for used in feature.inputs if used in found] for name, (_, feature) in found.items()}
        return tuple(found[name] for name in TopologicalSorter(uses).static_order())

    def view(self, name: str) -> ViewPlan:
        """The plan of the view of that name; KeyError, listing the names, if there is none."""
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(f"pipeline {self.pipeline} has no view {name!r}; it has {', '.join(v.name for v in self.views)}")

    def key_columns(self, view: ViewPlan) -> tuple[str, ...]:
        """The columns of an event that name the view's entity; ``view.key`` itself may be made of several."""
        return next((composite.columns for composite in self.composites if composite.name == view.key), (view.key,))


def plan(pipeline: Pipeline) -> PipelinePlan:
    """The plan of a pipeline; the same definitions always give the same plan."""
    columns = pipeline.column_types()
    filters = _filters(pipeline)
    stages = tuple(
        StagePlan(
            entity=entity.name,
            key=_key(entity),
            key_type=_key_type(entity, columns),
            views=tuple(_view(pipeline, view, columns, filters) for view in pipeline.views if view.entity == entity),
        )
        for entity in pipeline.entities
        if any(view.entity == entity for view in pipeline.views)
    )
    dropped = {f.name for s in pipeline.sources for f in contract_fields(s.contract) if f.pii is Pii.DROP}
    inputs = [name.partition(".")[2] for name in pipeline.model.inputs if name.startswith("event.")]
    inputs += [name for view in pipeline.views for name in columns_used(view)]
    return PipelinePlan(
        pipeline=pipeline.name,
        source=_source(pipeline.source, filters),
        also=tuple(_source(source, filters) for source in pipeline.also),
        derived=tuple(_derived(pipeline)),
        filters=tuple(ColumnPlan(name=name, type="boolean", sql=sql) for sql, name in filters.items()),
        stages=stages,
        composites=tuple(
            CompositePlan(name=_key(entity), columns=entity.columns)
            for entity in pipeline.entities
            if len(entity.columns) > 1
        ),
        carried=tuple(
            (name, columns[name]) for name in columns if name in (*inputs, *pipeline.carry) and name not in dropped
        ),
        features_topic=pipeline.features_topic,
    )


def _key(entity: Entity) -> str:
    """The column of a row that holds the entity: its own, or the one that is made of several."""
    return entity.key if isinstance(entity.key, str) else f"key__{entity.name}"


def _key_type(entity: Entity, columns: dict[str, ColumnType]) -> ColumnType:
    return columns[entity.key] if isinstance(entity.key, str) else "string"


def _source(source: Source, filters: dict[str, str]) -> SourcePlan:
    return SourcePlan(
        topic=source.topic,
        dead_letter_topic=source.dead_letter_topic,
        partitions=source.partitions,
        contract=source.contract.contract_name,
        contract_version=source.contract.contract_version,
        fields=contract_fields(source.contract),
        event_id=source.event_id,
        event_time=source.event_time,
        key=source.key,
        dedup_horizon_ms=source.dedup_horizon,
        max_future_ms=source.max_future,
        max_bytes=source.max_bytes,
        order=source.order,
        disorder_ms=source.disorder,
        idle_after_ms=source.idle_after,
        triggers=source.triggers,
        accepts=None if source.accepts is None else filters[source.accepts],
    )


def _derived(pipeline: Pipeline) -> list[ColumnPlan]:
    plans = []
    for name, column in pipeline.derived.items():
        if isinstance(column, Derived):
            plans.append(ColumnPlan(name=name, type=column.type, sql=column.sql))
        else:
            plans.append(ColumnPlan(name=name, type=column.type, python=column.reference, arguments=column.columns))
    return plans


def _filters(pipeline: Pipeline) -> dict[str, str]:
    """Each distinct condition becomes one boolean column, so that the kernel never evaluates an expression."""
    conditions = [a.where for view in pipeline.views for a in view.aggregates if a.where is not None]
    conditions += [source.accepts for source in pipeline.sources if source.accepts is not None]
    return {sql: f"where__{number}" for number, sql in enumerate(dict.fromkeys(conditions))}


def _view(pipeline: Pipeline, view: View, columns: dict[str, ColumnType], filters: dict[str, str]) -> ViewPlan:
    return ViewPlan(
        name=view.name,
        version=view.version,
        entity=view.entity.name,
        key=_key(view.entity),
        key_type=_key_type(view.entity, columns),
        hash=_view_hash(pipeline, view),
        refresh_ms=view.refresh or 0,
        features=tuple(
            FeaturePlan(
                name=f"{aggregate.name}_{window.label}",
                operation=aggregate.operation,
                column=aggregate.column,
                column_type=columns[aggregate.column] if aggregate.column else None,
                where=filters[aggregate.where] if aggregate.where is not None else None,
                window_ms=window.size,
                hop_ms=window.hop,
                type=aggregate.type(columns),
                half_life_ms=aggregate.half_life,
                k=aggregate.k,
                buckets=aggregate.buckets,
                q=aggregate.q,
                bound=aggregate.bound,
                gap_ms=aggregate.gap,
            )
            for aggregate in view.aggregates
            for window in aggregate.windows
        ),
        derived=tuple(
            DerivedFeaturePlan(
                name=name,
                type=feature.type,
                sql=feature.sql,
                inputs=references(feature.sql, view.name),
                windows=tuple(sorted(windows_used(pipeline, f"{view.name}.{name}"))),
            )
            for name, feature in view.derived.items()
        ),
    )


def view_definition(pipeline: Pipeline, view: View) -> dict[str, Any]:
    """The view's meaning as plain data: itself, its derived columns, and the sources' rules for what is an event.

    Of other views whose features it uses, their versions and hashes.
    """
    others = [pipeline.view(name) for name in views_used(view)]
    used = {other.name: f"{other.version}:{_view_hash(pipeline, other)}" for other in others}
    also = [_events_of(source) for source in pipeline.also]
    definition = {
        "view": view.model_dump(mode="json", exclude={"refresh"}),
        "derived": {name: _meaning(pipeline.derived[name]) for name in _derived_columns_of(pipeline, view)},
        "source": _events_of(pipeline.source),
        **({"also": also} if also else {}),
    }
    return definition | ({"views": used} if used else {})


def _events_of(source: Source) -> dict[str, Any]:
    """Which events of a source there are, and their order; nothing of defaults that older definitions lack."""
    rules: dict[str, Any] = {
        "topic": source.topic,
        "contract": source.contract.contract_name,
        "key": source.key,
        "dedup_horizon_ms": source.dedup_horizon,
        "max_future_ms": source.max_future,
    }
    if source.order != "arrival":
        rules |= {"order": source.order, "disorder_ms": source.disorder}
    return rules if source.accepts is None else rules | {"accepts": source.accepts}


def _meaning(column: Derived | PythonColumn) -> dict[str, Any]:
    if isinstance(column, Derived):
        return {"sql": column.sql, "type": column.type}
    return {"python": column.reference, "columns": column.columns, "type": column.type}


def _derived_columns_of(pipeline: Pipeline, view: View) -> list[str]:
    """Derived columns that the view depends on, through other derived columns too (each can use only earlier ones)."""
    texts = [
        *view.entity.columns,
        *(a.column or "" for a in view.aggregates),
        *(a.where or "" for a in view.aggregates),
        *columns_used(view),
    ]
    texts += [source.accepts or "" for source in pipeline.sources]
    used = []
    for name, column in reversed(pipeline.derived.items()):
        if any(re.search(rf"\b{name}\b", text) for text in texts):
            used.append(name)
            texts += [column.sql] if isinstance(column, Derived) else column.columns
    return sorted(used)


def _view_hash(pipeline: Pipeline, view: View) -> str:
    canonical = json.dumps(view_definition(pipeline, view), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
