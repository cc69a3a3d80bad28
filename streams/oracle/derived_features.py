"""The oracle of derived features: DuckDB computes what the job computes in Flink SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import duckdb
import pyarrow as pa

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, Value, element_of
from streams.definitions.feature_sql import EVENT, replace_references
from streams.oracle.derived_columns import ARROW, cast_sql, duckdb_connection
from streams.plan.derivation import feature_column, long_as_double
from streams.plan.model import DerivedFeaturePlan, PipelinePlan, ViewPlan


def derived_features(
    plan: PipelinePlan, records: Sequence[Mapping[str, Any]], views: Iterable[str]
) -> list[dict[str, Value]]:
    """The derived features of each record, by ``view.feature``, computed from the record's own values.

    A record is ``{"event": {column: value}, view: {feature: value} or None}``; other fields are ignored. If a derived
    feature uses another one, it gets the record's value of that or, if the record has none, the computed value. All
    features of a view that is None are null; ignore the values of derived features of such a view.

    Args:
        plan: The plan.
        records: The records.
        views: The views in the records. Derived features of other views, or that use other views, are left out.
    """
    scopes = {EVENT, *views}
    types = _types(plan)
    results: list[dict[str, Value]] = [{} for _ in records]
    with duckdb_connection() as connection:
        for view, feature in plan.derived_features:
            if not scopes.issuperset(name.partition(".")[0] for name in (f"{view.name}.", *feature.inputs)):
                continue
            values = _compute(connection, view, feature, types, records, results)
            for result, value in zip(results, values, strict=True):
                result[f"{view.name}.{feature.name}"] = value
    return results


def _types(plan: PipelinePlan) -> dict[str, ColumnType]:
    types: dict[str, FeatureType] = {f"{EVENT}.{name}": kind for name, kind in plan.passthrough}
    types |= {f"{view.name}.{feature.name}": feature.type for view in plan.views for feature in view.outputs}
    return {name: cast("ColumnType", kind) for name, kind in types.items() if element_of(kind) is None}


def _compute(
    connection: duckdb.DuckDBPyConnection,
    view: ViewPlan,
    feature: DerivedFeaturePlan,
    types: Mapping[str, ColumnType],
    records: Sequence[Mapping[str, Any]],
    earlier: Sequence[Mapping[str, Value]],
) -> list[Value]:
    columns = {
        feature_column(name): pa.array(
            [_input(name, record, before) for record, before in zip(records, earlier, strict=True)], ARROW[types[name]]
        )
        for name in feature.inputs
    }
    # The number column gives one row per record, also to a feature without inputs.
    connection.register("record", pa.table({"__record": pa.array(range(len(records)), pa.int64()), **columns}))
    sql = replace_references(
        feature.sql, view.name, lambda name: long_as_double(f'"{feature_column(name)}"', types[name])
    )
    # Flink truncates towards zero; DuckDB's cast would round.
    whole = f"TRUNC(CAST({sql} AS DOUBLE))" if feature.type == "long" else sql
    query = f"SELECT {cast_sql(whole, feature.type)} AS value FROM record ORDER BY __record"  # noqa: S608 - the author's SQL
    values: list[Value] = connection.execute(query).to_arrow_table()["value"].to_pylist()
    return values


def _input(name: str, record: Mapping[str, Any], before: Mapping[str, Value]) -> Value:
    scope, _, field = name.partition(".")
    part = record[scope]
    if part is None:
        return None
    value: Value = part[field] if field in part else before[name]
    return value
