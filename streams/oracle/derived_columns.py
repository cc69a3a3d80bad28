"""Derived columns by a second engine: DuckDB for the SQL ones, a plain call for the Python ones.

The job computes them in Flink SQL. That both agree on every row is part of what the verifier proves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from schemas.contract import ColumnType
from streams.oracle.reference import Row
from streams.plan.derivation import function_of
from streams.plan.entity_text import composite_text
from streams.plan.model import ColumnPlan, PipelinePlan

ARROW = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
_SQL = {"string": "VARCHAR", "long": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN"}


def derive(plan: PipelinePlan, rows: list[Row]) -> list[Row]:
    """The rows with the plan's derived columns, filters and composite keys added, in the same order.

    A value that its type cannot hold, or that is no finite number, is null.
    """
    schema = pa.schema([(name, ARROW[kind]) for name, kind in plan.contract_columns.items()])
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with connected() as connection:
        for by_sql, group in itertools.groupby((*plan.derived, *plan.filters), lambda column: column.sql is not None):
            columns = list(group)
            table = _by_sql(connection, table, columns) if by_sql else _by_call(table, columns)
    derived: list[Row] = [
        row | {key.name: composite_text([row[name] for name in key.columns]) for key in plan.composites}
        for row in table.to_pylist()
    ]
    return derived


@contextmanager
def connected() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine of its own, which divides as Flink does: 7 / 2 is 3."""
    with duckdb.connect() as connection:
        connection.execute("SET integer_division = true; SET preserve_insertion_order = true")
        yield connection


def typed(sql: str, kind: ColumnType) -> str:
    """The expression as a value of that type; null if the type cannot hold it, or it is no finite number."""
    value = f"TRY(CAST({sql} AS {_SQL[kind]}))"
    # Written twice, for a subquery would become a join, which keeps no order of rows.
    return f"CASE WHEN isfinite({value}) THEN {value} END" if kind == "double" else value


def _by_sql(connection: duckdb.DuckDBPyConnection, table: pa.Table, columns: Iterable[ColumnPlan]) -> pa.Table:
    connection.register("event", table)
    query = "SELECT * FROM event"
    for column in columns:
        assert column.sql is not None
        # A column may use those before it.
        query = f'SELECT *, {typed(column.sql, column.type)} AS "{column.name}" FROM ({query})'  # noqa: S608 - the pipeline's own SQL
    return connection.execute(query).to_arrow_table()


def _by_call(table: pa.Table, columns: Iterable[ColumnPlan]) -> pa.Table:
    for column in columns:
        function = function_of(column)
        arguments = [table.column(name).to_pylist() for name in column.arguments]
        values = [_finite(function(*row)) for row in zip(*arguments, strict=True)]
        table = table.append_column(column.name, pa.array(values, type=ARROW[column.type]))
    return table


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
