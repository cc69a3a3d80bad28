"""The aggregates of the definition language; what each computes is in docs/semantics.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from streams.words import Definition, Name, Sql, Window

Operation = Literal["count", "sum", "mean", "min", "max", "std", "last", "approx_distinct", "time_since_last"]


def _windows(value: Any) -> Any:
    several = (value,) if isinstance(value, str | Window) else value
    return tuple(Window.of(window) if isinstance(window, str) else window for window in several)


_Over = Iterable[str | Window] | str


class Aggregate(Definition):
    """One aggregate over any number of windows: each window makes one feature, ``<name>_<window>``.

    ``where`` is a SQL condition on the row (null counts as false). Build it with :func:`count`, :func:`sum_` and so on.
    """

    operation: Operation
    column: Name | None
    windows: Annotated[tuple[Window, ...], BeforeValidator(_windows), Field(min_length=1)]
    where: Sql | None = None
    name: Name

    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, one per window."""
        return tuple(f"{self.name}_{window.label}" for window in self.windows)


def _aggregate(operation: Operation, column: str | None, over: _Over, where: str | None, name: str | None) -> Aggregate:
    if name is None and where is not None:
        raise ValueError(f"{operation}({column or ''}) with where={where!r} needs a name of its own: name=...")
    default = operation if column is None else f"{column}_{operation}"
    return Aggregate(operation=operation, column=column, windows=over, where=where, name=name or default)


def count(column: str | None = None, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Number of rows, or of rows in which ``column`` is not null; an empty window gives 0."""
    return _aggregate("count", column, over, where, name)


def sum_(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Sum of the non-null values, as a double; null for an empty window."""
    return _aggregate("sum", column, over, where, name)


def mean(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Arithmetic mean of the non-null values; null for an empty window."""
    return _aggregate("mean", column, over, where, name)


def min_(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Smallest non-null value, as a double; null for an empty window."""
    return _aggregate("min", column, over, where, name)


def max_(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Largest non-null value, as a double; null for an empty window."""
    return _aggregate("max", column, over, where, name)


def std(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Sample standard deviation (n - 1), as SQL's STDDEV; null for fewer than two values."""
    return _aggregate("std", column, over, where, name)


def last(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The non-null value with the greatest event time (ties: the later arrival); null for an empty window."""
    return _aggregate("last", column, over, where, name)


def approx_distinct(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Approximate number of distinct non-null values (HLL, lg k = 12: 1.6 % standard error; exact while small)."""
    return _aggregate("approx_distinct", column, over, where, name)


def time_since_last(
    column: str | None = None, *, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Seconds from the latest matching event in the window to ``as_of``; null if there is none.

    The current event counts, so this is 0 whenever it matches itself: give a ``where`` that means something.
    """
    return _aggregate("time_since_last", column, over, where, name)
