"""Derived features by a second engine, DuckDB: what the job's Flink SQL must have given for a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import duckdb
import pyarrow as pa

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, Value, element_of
from streams.definitions.feature_sql import EVENT, replace_references
from streams.oracle.derived_columns import ARROW, connected, typed
from streams.plan.derivation import feature_column, number
from streams.plan.model import DerivedFeaturePlan, PipelinePlan, ViewPlan


def derived_features(
    plan: PipelinePlan, records: Sequence[Mapping[str, Any]], views: Iterable[str]
) -> list[dict[str, Value]]:
    """The derived features of each record, by ``view.feature``, computed from what the record itself holds.

    A record is ``{"event": {column: value}, view: {feature: value} or None}``, whatever else it has. One that holds a
    derived feature already gives that to those after it; otherwise they are given what was computed of it. Of a view
    that is None, all features count as null; those derived in it are computed, and mean nothing.

    ``views`` are those that the records hold: features of other views, and those that use them, are left out.
    """
    held = {EVENT, *views}
    types = _types(plan)
    found: list[dict[str, Value]] = [{} for _ in records]
    with connected() as connection:
        for view, feature in plan.derived_features:
            if not held.issuperset(name.partition(".")[0] for name in (f"{view.name}.", *feature.inputs)):
                continue
            computed = _computed(connection, view, feature, types, records, found)
            for values, value in zip(found, computed, strict=True):
                values[f"{view.name}.{feature.name}"] = value
    return found


def _types(plan: PipelinePlan) -> dict[str, ColumnType]:
    types: dict[str, FeatureType] = {f"{EVENT}.{name}": kind for name, kind in plan.passthrough}
    types |= {f"{view.name}.{feature.name}": feature.type for view in plan.views for feature in view.outputs}
    return {name: cast("ColumnType", kind) for name, kind in types.items() if element_of(kind) is None}


def _computed(
    connection: duckdb.DuckDBPyConnection,
    view: ViewPlan,
    feature: DerivedFeaturePlan,
    types: Mapping[str, ColumnType],
    records: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Value]],
) -> list[Value]:
    columns = {
        feature_column(name): pa.array(
            [_input(name, record, before) for record, before in zip(records, found, strict=True)], ARROW[types[name]]
        )
        for name in feature.inputs
    }
    # A feature that uses nothing has a value per record all the same.
    connection.register("record", pa.table({"__record": pa.array(range(len(records)), pa.int64()), **columns}))
    sql = replace_references(feature.sql, view.name, lambda name: number(f'"{feature_column(name)}"', types[name]))
    # Towards zero, as Flink does it; DuckDB would round.
    whole = f"TRUNC(CAST({sql} AS DOUBLE))" if feature.type == "long" else sql
    query = f"SELECT {typed(whole, feature.type)} AS value FROM record ORDER BY __record"  # noqa: S608 - the author's SQL
    values: list[Value] = connection.execute(query).to_arrow_table()["value"].to_pylist()
    return values


def _input(name: str, record: Mapping[str, Any], before: Mapping[str, Value]) -> Value:
    scope, _, own = name.partition(".")
    part = record[scope]
    if part is None:
        return None
    value: Value = part[own] if own in part else before[name]
    return value
