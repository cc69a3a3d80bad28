"""Compiles a pipeline's definition to its plan."""

from __future__ import annotations

from typing import cast

from schemas.contract import ColumnType, contract_fields
from schemas.feature_types import FeatureType
from streams.definitions.columns import Derived
from streams.definitions.feature_dependencies import windows_used
from streams.definitions.feature_sql import references
from streams.definitions.lookups import Lookup
from streams.definitions.pipeline import Pipeline
from streams.definitions.sources import Source
from streams.definitions.views import Entity, View
from streams.plan.hashing import view_hash
from streams.plan.model import (
    ColumnPlan,
    CompositePlan,
    DerivedFeaturePlan,
    FeaturePlan,
    LookupPlan,
    PipelinePlan,
    SourcePlan,
    StagePlan,
    ViewPlan,
)


def compile_plan(pipeline: Pipeline) -> PipelinePlan:
    """The plan of a pipeline; equal definitions give equal plans."""
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
    return PipelinePlan(
        pipeline=pipeline.name,
        source=_source(pipeline.source, filters),
        additional_sources=tuple(_source(source, filters) for source in pipeline.additional_sources),
        lookups=tuple(_lookup(lookup) for lookup in pipeline.lookups),
        derived=tuple(_derived(pipeline)),
        filters=tuple(ColumnPlan(name=name, type="boolean", sql=sql) for sql, name in filters.items()),
        stages=stages,
        composites=tuple(
            CompositePlan(name=_key(entity), columns=entity.columns)
            for entity in pipeline.entities
            if len(entity.columns) > 1
        ),
        passthrough=tuple((name, _value_type(columns[name])) for name in pipeline.kept_columns),
        features_topic=pipeline.features_topic,
    )


def _key(entity: Entity) -> str:
    """The column with the entity: its key, or the text column that joins the columns of a composite key."""
    return entity.key if isinstance(entity.key, str) else f"key__{entity.name}"


def _key_type(entity: Entity, columns: dict[str, FeatureType]) -> ColumnType:
    return _value_type(columns[entity.key]) if isinstance(entity.key, str) else "string"


def _value_type(kind: FeatureType) -> ColumnType:
    """The type of a column that is no list, as the definition has checked."""
    return cast("ColumnType", kind)


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
        filter=None if source.filter is None else filters[source.filter],
        envelope=source.envelope,
    )


def _lookup(lookup: Lookup) -> LookupPlan:
    return LookupPlan(
        name=lookup.name,
        topic=lookup.topic,
        contract=lookup.contract.contract_name,
        contract_version=lookup.contract.contract_version,
        fields=contract_fields(lookup.contract),
        on=lookup.on_columns,
        key=lookup.key_fields,
        columns=tuple((field.name, column) for column, field in lookup.fields.items()),
        max_rows=lookup.max_rows,
        max_bytes=lookup.max_bytes,
    )


def _derived(pipeline: Pipeline) -> list[ColumnPlan]:
    plans = []
    for name, column in pipeline.derived.items():
        if isinstance(column, Derived):
            plans.append(ColumnPlan(name=name, type=column.type, sql=column.sql))
        else:
            plans.append(
                ColumnPlan(
                    name=name,
                    type=column.type,
                    python=column.reference,
                    arguments=column.columns,
                    function=column.function,
                )
            )
    return plans


def _filters(pipeline: Pipeline) -> dict[str, str]:
    """The boolean column of each distinct condition; with these the kernel needs to evaluate no expressions."""
    conditions = [a.where for view in pipeline.views for a in view.aggregates if a.where is not None]
    conditions += [source.filter for source in pipeline.sources if source.filter is not None]
    return {sql: f"where__{number}" for number, sql in enumerate(dict.fromkeys(conditions))}


def _view(pipeline: Pipeline, view: View, columns: dict[str, FeatureType], filters: dict[str, str]) -> ViewPlan:
    views = {other.name: other for other in pipeline.views}
    return ViewPlan(
        name=view.name,
        version=view.version,
        entity=view.entity.name,
        key=_key(view.entity),
        key_type=_key_type(view.entity, columns),
        hash=view_hash(pipeline, view),
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
                windows=tuple(sorted(windows_used(views, f"{view.name}.{name}"))),
            )
            for name, feature in view.derived.items()
        ),
    )
