"""What computes a plan's derived columns, filters and derived features: their SQL, and the calls of Python columns."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from schemas.contract import ColumnType
from streams.definitions.feature_sql import replace_references
from streams.plan.model import ColumnPlan, DerivedFeaturePlan, PipelinePlan, ViewPlan

_log = logging.getLogger(__name__)

_PYTHON_TYPES: dict[ColumnType, type] = {"string": str, "long": int, "double": float, "boolean": bool}
_SQL_TYPES = {"string": "STRING", "long": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN"}


def derivation_query(plan: PipelinePlan, columns: list[str], table: str) -> str:
    """The query that computes the derived columns and the filters of a plan over the rows of ``table``.

    A column may use those defined before it, so each is one level of the query; filters may use all. Flink's planner
    merges the levels again. A value that does not fit the column's type, or is no finite number, is null at once: one
    odd row must not stop the job, and what comes later must not see it.

    Args:
        plan: Whose columns to compute.
        columns: What to select in the end, in this order.
        table: The registered table or view to read.
    """
    query = f"SELECT * FROM {table}"  # noqa: S608 - the pipeline's author writes SQL on purpose
    for column in (*plan.derived, *plan.filters):
        value = f"TRY_CAST({_expression(column)} AS {_SQL_TYPES[column.type]})"
        value = f"penstock_finite({value})" if column.type == "double" else value
        query = f"SELECT *, {value} AS `{column.name}` FROM ({query})"  # noqa: S608
    return f"SELECT {', '.join(f'`{name}`' for name in columns)} FROM ({query})"  # noqa: S608


def feature_query(plan: PipelinePlan, columns: list[str], table: str) -> str:
    """The query that computes the derived features of a plan over the features of ``table``, one row per event.

    ``table`` has a column for every input (:func:`feature_column`), in which numbers are doubles; so have the levels
    of the query, each of which adds one feature. What is no finite number, or does not fit the type, is null by the
    kernel's functions ``penstock_finite`` and ``penstock_whole``, at once: what comes later must not see it.

    Args:
        plan: Whose features to compute.
        columns: What to select in the end, in this order.
        table: The registered table or view to read.
    """
    query = f"SELECT * FROM {table}"  # noqa: S608 - the pipeline's author writes SQL on purpose
    types = {f"{view.name}.{feature.name}": feature.type for view, feature in plan.derived_features}
    for view, feature in plan.derived_features:
        value = _feature_value(view, feature, types)
        query = f"SELECT *, {value} AS `{feature_column(f'{view.name}.{feature.name}')}` FROM ({query})"  # noqa: S608
    return f"SELECT {', '.join(f'`{name}`' for name in columns)} FROM ({query})"  # noqa: S608


def _feature_value(view: ViewPlan, feature: DerivedFeaturePlan, types: Mapping[str, ColumnType]) -> str:
    expression = replace_references(
        feature.sql, view.name, lambda name: number(f"`{feature_column(name)}`", types.get(name))
    )
    if feature.type in ("double", "long"):
        function = "penstock_finite" if feature.type == "double" else "penstock_whole"
        return f"{function}(TRY_CAST(({expression}) AS DOUBLE))"
    return f"TRY_CAST(({expression}) AS {_SQL_TYPES[feature.type]})"


def feature_column(name: str) -> str:
    """The column of the table of features that holds ``view.feature`` or ``event.column``."""
    return name.replace(".", "__")


def number(column: str, kind: ColumnType | None) -> str:
    """A column as the SQL of a derived feature sees it: a long is a double, so that its division is no integer's."""
    return f"CAST({column} AS DOUBLE)" if kind == "long" else column


def function_of(column: ColumnPlan) -> Callable[..., Any]:
    """The function of a Python column, which gives null where the author's raises or gives another type.

    One odd event must not stop the job. Every failure that doubles their number is logged, without any value.
    """
    assert column.python is not None
    module, _, path = column.python.partition(":")
    function: Any = importlib.import_module(module)
    for name in path.split("."):
        function = getattr(function, name)
    failures = 0

    def call(*arguments: Any) -> Any:
        nonlocal failures
        try:
            return _typed(function(*arguments), column.type)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            failures += 1
            if failures & (failures - 1) == 0:
                _log.warning("column %s is null: %s (%s times so far)", column.name, type(error).__name__, failures)
            return None

    return call


def function_name(column: ColumnPlan) -> str:
    """Under which name the function of a Python column is registered."""
    return f"python__{column.name}"


def _expression(column: ColumnPlan) -> str:
    if column.python is None:
        assert column.sql is not None
        return f"({column.sql})"
    arguments = ", ".join(f"`{name}`" for name in column.arguments)
    return f"{function_name(column)}({arguments})"


def _typed(value: Any, kind: ColumnType) -> Any:
    """The value as the column's type has it; NumPy's scalars become Python's."""
    value = value.item() if hasattr(value, "item") else value
    if value is None:
        return None
    if kind == "double" and type(value) is int:
        value = float(value)
    fits = not isinstance(value, int) or -(2**63) <= value < 2**63
    if type(value) is not _PYTHON_TYPES[kind] or not fits:
        raise TypeError(f"{type(value).__name__} is no {kind}")
    return value
