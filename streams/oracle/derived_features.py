"""The oracle of derived features: DuckDB computes what the job computes in Flink SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from schemas.contract import ColumnType
from schemas.feature_types import Value
from streams.definitions.feature_sql import EVENT, typed_feature
from streams.definitions.sql.generate import to_duckdb
from streams.oracle.derived_columns import ARROW, duckdb_connection
from streams.plan.derivation import feature_column
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
    types = plan.record_types
    results: list[dict[str, Value]] = [{} for _ in records]
    with duckdb_connection() as connection:
        for view, feature in plan.derived_features:
            if not scopes.issuperset(name.partition(".")[0] for name in (f"{view.name}.", *feature.inputs)):
                continue
            values = _compute(connection, view, feature, types, records, results)
            for result, value in zip(results, values, strict=True):
                result[f"{view.name}.{feature.name}"] = value
    return results


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
    value = to_duckdb(typed_feature(feature.sql, view.name, types, feature.type), feature_column)
    query = f"SELECT {value} AS value FROM record ORDER BY __record"  # noqa: S608 - generated from a checked tree
    values: list[Value] = connection.execute(query).to_arrow_table()["value"].to_pylist()
    return values


def _input(name: str, record: Mapping[str, Any], before: Mapping[str, Value]) -> Value:
    scope, _, field = name.partition(".")
    part = record[scope]
    if part is None:
        return None
    value: Value = part[field] if field in part else before[name]
    return value
