"""The oracle of derived columns: DuckDB computes those in SQL, a direct call those in Python.

The job computes them in Flink SQL. The verifier checks that both agree on every row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from schemas.feature_types import FeatureType
from streams.definitions.sql.functions import DUCKDB_MACROS
from streams.definitions.sql.generate import to_duckdb
from streams.definitions.sql.typed import typed
from streams.oracle.reference import Row
from streams.plan.derivation import python_function
from streams.plan.entity_text import composite_text
from streams.plan.model import ColumnPlan, PipelinePlan

_VALUES = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
ARROW = _VALUES | {f"{kind}[]": pa.list_(arrow) for kind, arrow in _VALUES.items()}


def derive(plan: PipelinePlan, rows: list[Row]) -> list[Row]:
    """The rows with the plan's derived columns, filters and composite keys added, in the same order.

    Raises:
        ValueError: if rows lack the columns of the plan's lookups, which would be taken for null.
    """
    types = plan.contract_columns
    looked_up = {column for lookup in plan.lookups for _, column in lookup.columns}
    if any(not looked_up <= row.keys() for row in rows):
        raise ValueError(f"rows of pipeline {plan.pipeline} without the columns of its lookups")
    schema = pa.schema([(name, ARROW[kind]) for name, kind in types.items()])
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with duckdb_connection() as connection:
        for by_sql, group in itertools.groupby((*plan.derived, *plan.filters), lambda column: column.sql is not None):
            columns = list(group)
            table = _by_sql(connection, table, columns, types) if by_sql else _by_call(table, columns)
            types |= {column.name: column.type for column in columns}
    derived: list[Row] = [
        row | {key.name: composite_text([row[name] for name in key.columns]) for key in plan.composites}
        for row in table.to_pylist()
    ]
    return derived


@contextmanager
def duckdb_connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with the macros that generated expressions use."""
    with _database().cursor() as connection:
        # A macro adds levels to an expression: 1,000, the default, are too few for one that is allowed.
        connection.execute("SET preserve_insertion_order = true; SET max_expression_depth TO 10000")
        yield connection


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """The process's database in memory: to open one takes longer than most computations."""
    database = duckdb.connect()
    database.execute("; ".join(f"CREATE MACRO {head} AS {body}" for head, body in DUCKDB_MACROS.items()))
    return database


def _by_sql(
    connection: duckdb.DuckDBPyConnection, table: pa.Table, columns: Iterable[ColumnPlan], types: dict[str, FeatureType]
) -> pa.Table:
    connection.register("event", table)
    query = "SELECT * FROM event"
    for column in columns:
        assert column.sql is not None
        # A column may use those before it.
        value = to_duckdb(typed(column.sql, types, column.type))
        query = f'SELECT *, {value} AS "{column.name}" FROM ({query})'  # noqa: S608 - generated from a checked tree
        types = types | {column.name: column.type}
    return connection.execute(query).to_arrow_table()


def _by_call(table: pa.Table, columns: Iterable[ColumnPlan]) -> pa.Table:
    for column in columns:
        function = python_function(column)
        arguments = [table.column(name).to_pylist() for name in column.arguments]
        values = [_finite(function(*row)) for row in zip(*arguments, strict=True)]
        table = table.append_column(column.name, pa.array(values, type=ARROW[column.type]))
    return table


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
