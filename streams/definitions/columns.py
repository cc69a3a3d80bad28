"""Columns that a pipeline computes from one row, by SQL or by a Python function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from operator import attrgetter
from types import FunctionType, MethodType
from typing import Any

from pydantic import field_validator

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

    ``function`` must be importable (module level) and pure. It gets the ``columns``, none of them a list, as positional
    arguments, null as None. It runs in the TaskManager's Python (the docs have the measured cost).
    """

    function: Callable[..., Any]
    columns: tuple[Name, ...]
    type: ColumnType

    @field_validator("function")
    @classmethod
    def _is_importable(cls, function: Callable[..., Any]) -> Callable[..., Any]:
        """Refuse what the job could not import by its name, and what has no Python source for the view's hash."""
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        try:
            is_found = attrgetter(str(name))(sys.modules[str(module)]) == function
        except (AttributeError, KeyError):
            is_found = False
        if not is_found or not isinstance(inspect.unwrap(function), FunctionType | MethodType):
            raise ValueError(
                f"PythonColumn(function={name or repr(function)}) is not a function at the top level of a module, "
                "which the job imports by its name: write it with 'def' there (not as a lambda, inside another "
                "function, with functools.partial or as a builtin); a decorator needs functools.wraps"
            )
        return function

    @property
    def reference(self) -> str:
        """The name by which the job imports the function: ``module:function``."""
        return f"{public_name(self.function.__module__)}:{self.function.__qualname__}"
