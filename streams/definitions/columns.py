"""Columns that a pipeline computes from one row, by SQL or by a Python function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.contract import ColumnType
from streams.definitions.base import Definition, Name, Sql
from streams.definitions.importing import public_name


class Derived(Definition):
    """A column computed from one row by a SQL expression.

    ``docs/reference/sql.md`` is the whole language; anything else is refused when the definition is read. An operation
    without a result (``x / 0``, ``CAST('N/A' AS DOUBLE)``) gives null. ``/`` between whole numbers has no fraction.
    Columns need no quotes. Event time is a column in epoch milliseconds.

    >>> Derived(sql="CASE WHEN value > 2 THEN LN(value) ELSE 0 END", type="double").type
    'double'
    """

    sql: Sql
    type: ColumnType


class PythonColumn(Definition):
    """A column computed from one row by a Python function; slower than SQL by an order of magnitude.

    ``function`` must be importable (module level) and pure. It gets the ``columns`` as positional arguments, null as
    None. It runs in the TaskManager's Python (the docs have the measured cost).
    """

    function: Callable[..., Any]
    columns: tuple[Name, ...]
    type: ColumnType

    @property
    def reference(self) -> str:
        """The name by which the job imports the function: ``module:function``."""
        return f"{public_name(self.function.__module__)}:{self.function.__qualname__}"
