"""Columns that a pipeline computes from one row: by SQL, or by a Python function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.contract import ColumnType
from streams.definitions.base import Definition, Name, Sql
from streams.definitions.importing import public_name


class Derived(Definition):
    """A column computed from one row by a SQL expression.

    The expression uses the SQL that Flink and DuckDB share (the second is the oracle's): arithmetic, comparison,
    ``CASE``, ``COALESCE``, ``ABS``, ``FLOOR``, ``MOD``, ``LN``, ``EXP``, ``SQRT``, ``UPPER``, ``||`` and the like.
    ``/`` between integers is integer division, and a number with a fraction is written with an exponent (``0.5e0``),
    which makes it a double. Event time is a column of epoch milliseconds.
    """

    sql: Sql
    type: ColumnType


class PythonColumn(Definition):
    """A column computed from one row by a Python function: slower by an order of magnitude, so a choice.

    ``function`` must be importable (module level), pure, and take the named columns as positional arguments; None
    stands for null. It runs in the TaskManager's Python (see docs for the measured cost).
    """

    function: Callable[..., Any]
    columns: tuple[Name, ...]
    type: ColumnType

    @property
    def reference(self) -> str:
        """``module:function``, by which the job imports it."""
        return f"{public_name(self.function.__module__)}:{self.function.__qualname__}"
