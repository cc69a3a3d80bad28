"""The SQL of a plan's derived columns, filters and derived features, and the functions of its Python columns."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType
from streams.definitions.feature_sql import typed_feature
from streams.definitions.sql.generate import to_flink
from streams.definitions.sql.typed import typed
from streams.plan.model import ColumnPlan, PipelinePlan

_log = logging.getLogger(__name__)

_PYTHON_TYPES: dict[ColumnType, type] = {"string": str, "long": int, "double": float, "boolean": bool}


def derivation_query(plan: PipelinePlan, columns: list[str], table: str) -> str:
    """The query that computes the derived columns and the filters of a plan over the rows of ``table``.

    Each column is one level of the query, because it may use the columns before it; filters may use all. Flink's
    planner merges the levels. No value stops the job: an operation without a result gives null.

    Args:
        plan: The plan.
        columns: The columns of the result, in order.
        table: The registered table or view to read.
    """
    query = f"SELECT * FROM {table}"  # noqa: S608 - the pipeline's author writes SQL on purpose
    types = plan.contract_columns
    for column in (*plan.derived, *plan.filters):
        query = f"SELECT *, {_column_value(column, types)} AS `{column.name}` FROM ({query})"  # noqa: S608
        types |= {column.name: column.type}
    return f"SELECT {', '.join(f'`{name}`' for name in columns)} FROM ({query})"  # noqa: S608


def feature_query(plan: PipelinePlan, columns: list[str], table: str) -> str:
    """The query that computes the derived features of a plan over the features of ``table``, one row per event.

    ``table`` has a column for every input (:func:`feature_column`). Each level of the query adds one feature.

    Args:
        plan: The plan.
        columns: The columns of the result, in order.
        table: The registered table or view to read.
    """
    query = f"SELECT * FROM {table}"  # noqa: S608 - the pipeline's author writes SQL on purpose
    types = plan.record_types
    for view, feature in plan.derived_features:
        value = to_flink(typed_feature(feature.sql, view.name, types, feature.type), feature_column)
        query = f"SELECT *, {value} AS `{feature_column(f'{view.name}.{feature.name}')}` FROM ({query})"  # noqa: S608
    return f"SELECT {', '.join(f'`{name}`' for name in columns)} FROM ({query})"  # noqa: S608


def feature_column(name: str) -> str:
    """The column name of ``view.feature`` or ``event.column`` in the table of features."""
    return name.replace(".", "__")


def python_function(column: ColumnPlan) -> Callable[..., Any]:
    """The function of a Python column; it returns None where the author's function raises or returns another type.

    One odd event must not stop the job. Failures number 1, 2, 4, 8, ... are logged, without any value.
    """
    function = _imported(column) if column.function is None else column.function
    failures = 0

    def call(*arguments: Any) -> Any:
        nonlocal failures
        try:
            return _typed(function(*arguments), column.type)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the author's code may raise anything, SystemExit too
            failures += 1
            if failures & (failures - 1) == 0:
                _log.warning("column %s is null: %s (%s times so far)", column.name, type(error).__name__, failures)
            return None

    return call


def _imported(column: ColumnPlan) -> Callable[..., Any]:
    assert column.python is not None
    module, _, path = column.python.partition(":")
    function: Any = importlib.import_module(module)
    for name in path.split("."):
        function = getattr(function, name)
    return function  # type: ignore[no-any-return]


def function_name(column: ColumnPlan) -> str:
    """The name under which the function of a Python column is registered."""
    return f"python__{column.name}"


def _column_value(column: ColumnPlan, types: Mapping[str, FeatureType]) -> str:
    if column.python is None:
        assert column.sql is not None
        return to_flink(typed(column.sql, types, column.type))
    value = f"{function_name(column)}({', '.join(f'`{name}`' for name in column.arguments)})"
    return f"penstock_finite({value})" if column.type == "double" else value


def _typed(value: Any, kind: ColumnType) -> Any:
    """The value in the Python type of the column; NumPy scalars become Python scalars.

    Raises:
        TypeError: if the value is of another type, or an integer that 64 bits cannot hold.
        ValueError: if it is a text with half a surrogate pair, which UTF-8 cannot hold.
    """
    value = value.item() if hasattr(value, "item") else value
    if value is None:
        return None
    if kind == "double" and type(value) is int:
        value = float(value)
    fits = not isinstance(value, int) or -(2**63) <= value < 2**63
    if type(value) is not _PYTHON_TYPES[kind] or not fits:
        raise TypeError(f"{type(value).__name__} is not a {kind}")
    if isinstance(value, str):
        value.encode()
    return value
