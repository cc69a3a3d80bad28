"""The SQL of a plan's derived columns and filters."""

from __future__ import annotations

from streams.plan import ColumnPlan, PipelinePlan

_SQL_TYPES = {"string": "STRING", "long": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN"}


def derivation_query(plan: PipelinePlan, columns: list[str], table: str) -> str:
    """The query that computes the derived columns and the filters of a plan over the rows of ``table``.

    A column may use those defined before it, so each is one level of the query; filters may use all. Flink's planner
    merges the levels again. A value that does not fit the column's type is null: one odd row must not stop the job.

    Args:
        plan: Whose columns to compute.
        columns: What to select in the end, in this order.
        table: The registered table or view to read.
    """
    query = f"SELECT * FROM {table}"  # noqa: S608 - the pipeline's author writes SQL on purpose
    for column in (*plan.derived, *plan.filters):
        cast = f"TRY_CAST({_expression(column)} AS {_SQL_TYPES[column.type]}) AS `{column.name}`"
        query = f"SELECT *, {cast} FROM ({query})"  # noqa: S608
    return f"SELECT {', '.join(f'`{name}`' for name in columns)} FROM ({query})"  # noqa: S608


def function_name(column: ColumnPlan) -> str:
    """Under which name the function of a Python column is registered."""
    return f"python__{column.name}"


def _expression(column: ColumnPlan) -> str:
    if column.python is None:
        assert column.sql is not None
        return f"({column.sql})"
    arguments = ", ".join(f"`{name}`" for name in column.arguments)
    return f"{function_name(column)}({arguments})"
