"""The aggregates of the definition language; what each computes is in docs/concepts/semantics.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from schemas.contract import ColumnType
from streams.feature_types import FeatureType, list_of
from streams.words import LIFETIME_MS, Definition, Duration, Name, Sql, Window

Operation = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "variance",
    "std",
    "skewness",
    "kurtosis",
    "zscore",
    "first",
    "last",
    "changed",
    "time_since_first",
    "time_since_last",
    "time_since_previous",
    "approx_distinct",
    "distinct",
    "quantile",
    "frequency",
    "session_count",
    "session_length",
    "rate",
    "decayed_count",
    "decayed_sum",
    "decayed_mean",
    "first_k",
    "last_k",
    "top_k",
    "bottom_k",
    "most_frequent",
    "histogram",
]


class Kind(NamedTuple):
    """What is known of an operation before any event: the type of its feature, and what an empty window gives.

    ``column`` as a type is that of the column that it aggregates; ``numeric`` says that this must be a number.
    ``empty`` is of each element, if an empty window gives a list. ``about_event`` says that the value is about the
    event that asks, and stays what it was while none does.
    """

    type: Literal["long", "double", "boolean", "column", "long[]", "double[]", "column[]"]
    empty: int | float | None = None
    numeric: bool = False
    about_event: bool = False


_NUMBER = Kind("double", numeric=True)
KINDS: dict[Operation, Kind] = {
    "count": Kind("long", empty=0),
    "sum": _NUMBER,
    "mean": _NUMBER,
    "min": _NUMBER,
    "max": _NUMBER,
    "variance": _NUMBER,
    "std": _NUMBER,
    "skewness": _NUMBER,
    "kurtosis": _NUMBER,
    "zscore": Kind("double", numeric=True, about_event=True),
    "first": Kind("column"),
    "last": Kind("column"),
    "changed": Kind("boolean", about_event=True),
    "time_since_first": Kind("double"),
    "time_since_last": Kind("double"),
    "time_since_previous": Kind("double", about_event=True),
    "approx_distinct": Kind("long", empty=0),
    "distinct": Kind("long", empty=0),
    "quantile": _NUMBER,
    "frequency": Kind("long", empty=0, about_event=True),
    "session_count": Kind("long", empty=0),
    "session_length": Kind("double"),
    "rate": Kind("double", empty=0.0),
    "decayed_count": Kind("double", empty=0.0),
    "decayed_sum": _NUMBER,
    "decayed_mean": _NUMBER,
    "first_k": Kind("column[]"),
    "last_k": Kind("column[]"),
    "top_k": Kind("double[]", numeric=True),
    "bottom_k": Kind("double[]", numeric=True),
    "most_frequent": Kind("column[]"),
    "histogram": Kind("long[]", empty=0, numeric=True),
}
MOST_ELEMENTS = 100
"""How many elements a list may ask for, and how many edges a histogram may have."""
MOST_COUNTED = 256
"""Distinct values of a window that ``most_frequent`` counts exactly; see docs/concepts/semantics.md."""


def _windows(value: Any) -> Any:
    several = (value,) if isinstance(value, str | Window) else value
    return tuple(Window.of(window) if isinstance(window, str) else window for window in several)


def _increasing(edges: tuple[float, ...]) -> tuple[float, ...]:
    if any(left >= right for left, right in pairwise(edges)):
        raise ValueError("the edges of the buckets must increase strictly")
    return edges


_Over = Iterable[str | Window] | str
_K = Annotated[int, Field(ge=1, le=MOST_ELEMENTS)]
_Edge = Annotated[float, Field(allow_inf_nan=False)]
_Edges = Annotated[tuple[_Edge, ...], Field(min_length=1, max_length=MOST_ELEMENTS), AfterValidator(_increasing)]
# What only some aggregates have: a parameter that is not set is no part of a view's definition, nor of its hash.
_PARAMETERS = ("half_life", "k", "buckets", "q", "bound", "gap")


class Aggregate(Definition):
    """One aggregate over any number of windows: each window makes one feature, ``<name>_<window>``.

    ``where`` is a SQL condition on the row (null counts as false). Build it with :func:`count`, :func:`sum_` and so on.
    """

    operation: Operation
    column: Name | None
    windows: Annotated[tuple[Window, ...], BeforeValidator(_windows), Field(min_length=1)]
    where: Sql | None = None
    name: Name
    half_life: Duration | None = None
    k: _K | None = None
    buckets: _Edges | None = None
    q: Annotated[float, Field(gt=0, lt=1)] | None = None
    bound: Annotated[int, Field(ge=1, le=10_000)] | None = None
    gap: Duration | None = None

    @model_validator(mode="after")
    def _has_a_length_to_divide_by(self) -> Self:
        if self.operation == "rate" and any(window.size == LIFETIME_MS for window in self.windows):
            raise ValueError(f"{self.name}: a lifetime has no length for a rate; divide a count by time_since_first")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if value is not None or name not in _PARAMETERS}

    def type(self, columns: Mapping[str, ColumnType]) -> FeatureType:
        """The type of its features, given the types of the row's columns."""
        kind = KINDS[self.operation].type
        if kind == "column":
            return columns[self.column or ""]
        return list_of(columns[self.column or ""]) if kind == "column[]" else kind

    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, one per window."""
        return tuple(f"{self.name}_{window.label}" for window in self.windows)


def _aggregate(
    operation: Operation,
    column: str | None,
    over: _Over,
    where: str | None,
    name: str | None,
    **parameters: Any,
) -> Aggregate:
    if name is None and where is not None:
        raise ValueError(f"{operation}({column or ''}) with where={where!r} needs a name of its own: name=...")
    default = operation if column is None else f"{column}_{operation}"
    return Aggregate(operation=operation, column=column, windows=over, where=where, name=name or default, **parameters)


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


def variance(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Sample variance (n - 1), as SQL's VAR_SAMP; null for fewer than two values."""
    return _aggregate("variance", column, over, where, name)


def std(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Sample standard deviation (n - 1), as SQL's STDDEV; null for fewer than two values."""
    return _aggregate("std", column, over, where, name)


def skewness(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Sample skewness (G1, as SQL engines and pandas have it); null for fewer than three values or without spread."""
    return _aggregate("skewness", column, over, where, name)


def kurtosis(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Sample excess kurtosis (G2); null for fewer than four values or without spread."""
    return _aggregate("kurtosis", column, over, where, name)


def zscore(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """How many sample deviations this event's value is from the window's mean, both with this event.

    Null if the event has no value or does not match ``where``, for fewer than two values, or without spread.
    """
    return _aggregate("zscore", column, over, where, name)


def first(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The non-null value with the least event time (ties: the earlier arrival); null for an empty window."""
    return _aggregate("first", column, over, where, name)


def last(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The non-null value with the greatest event time (ties: the later arrival); null for an empty window."""
    return _aggregate("last", column, over, where, name)


def changed(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Whether this event's value differs from the latest other one in the window; null if one of them is missing."""
    return _aggregate("changed", column, over, where, name)


def approx_distinct(column: str, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Approximate number of distinct non-null values (HLL, lg k = 12: 1.6 % standard error; exact while small)."""
    return _aggregate("approx_distinct", column, over, where, name)


def distinct(
    column: str, *, bound: int = 1_000, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Number of distinct non-null values: exact while they are no more than ``bound``, else as ``approx_distinct``."""
    return _aggregate("distinct", column, over, where, name, bound=bound)


def quantile(column: str, *, q: float, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The least of the non-null values that a share of at least ``q`` of them does not exceed; 0.5 is the median.

    Exact up to 200 values, then by a KLL sketch: the value's rank is within 1.33 % of ``q``, at 99 % confidence. It is
    a double, named ``<column>_p95`` for 0.95; null for an empty window.
    """
    default = f"{column}_p{100 * q:g}".replace(".", "_")
    return _aggregate("quantile", column, over, where, default if name is None and where is None else name, q=q)


def frequency(
    column: str, *, bound: int = 1_000, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """How many events in the window have this event's value; 0 if it has none or does not match ``where``.

    Exact while the window has no more than ``bound`` distinct values; of n events in a window that has more, the number
    is too low by n / (bound + 1) at most, and never too high.
    """
    return _aggregate("frequency", column, over, where, name, bound=bound)


def session_count(
    column: str | None = None, *, gap: str, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Number of sessions in the window: matching events of which each is at most ``gap`` later than the one before."""
    return _aggregate("session_count", column, over, where, name, gap=gap)


def session_length(
    column: str | None = None, *, gap: str, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Seconds from the first to the last event of the newest session in the window; null for an empty window."""
    return _aggregate("session_length", column, over, where, name, gap=gap)


def time_since_last(
    column: str | None = None, *, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Seconds from the latest matching event in the window to ``as_of``; null if there is none.

    The current event counts, so this is 0 whenever it matches itself: give a ``where`` that means something.
    """
    return _aggregate("time_since_last", column, over, where, name)


def time_since_first(
    column: str | None = None, *, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Seconds from the earliest matching event in the window to ``as_of``; null if there is none."""
    return _aggregate("time_since_first", column, over, where, name)


def time_since_previous(
    column: str | None = None, *, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Seconds from the latest matching event other than this one to ``as_of``; null if there is none."""
    return _aggregate("time_since_previous", column, over, where, name)


def rate(column: str | None = None, *, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """Matching events per second of the window's length; an empty window gives 0."""
    return _aggregate("rate", column, over, where, name)


def decayed_count(
    column: str | None = None, *, half_life: str, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Number of matching events, each halved for every ``half_life`` from its time to ``as_of``."""
    return _aggregate("decayed_count", column, over, where, name, half_life=half_life)


def decayed_sum(
    column: str, *, half_life: str, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Sum of the non-null values, each halved for every ``half_life`` from its time to ``as_of``; null if none."""
    return _aggregate("decayed_sum", column, over, where, name, half_life=half_life)


def decayed_mean(
    column: str, *, half_life: str, over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """Mean of the non-null values, weighted by a half for every ``half_life`` of age; null for an empty window."""
    return _aggregate("decayed_mean", column, over, where, name, half_life=half_life)


def first_k(column: str, *, k: int, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The ``k`` (1 to 100) non-null values of the least event times, oldest first; null for an empty window."""
    return _aggregate("first_k", column, over, where, name, k=k)


def last_k(column: str, *, k: int, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The ``k`` (1 to 100) non-null values of the greatest event times, newest first; null for an empty window."""
    return _aggregate("last_k", column, over, where, name, k=k)


def top_k(column: str, *, k: int, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The ``k`` (1 to 100) largest non-null values, as doubles, largest first; null for an empty window."""
    return _aggregate("top_k", column, over, where, name, k=k)


def bottom_k(column: str, *, k: int, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The ``k`` (1 to 100) smallest non-null values, as doubles, smallest first; null for an empty window."""
    return _aggregate("bottom_k", column, over, where, name, k=k)


def most_frequent(column: str, *, k: int, over: _Over, where: str | None = None, name: str | None = None) -> Aggregate:
    """The ``k`` (1 to 100) most frequent non-null values, most frequent first; null for an empty window.

    Of equally frequent values the smaller comes first (text by code point, false before true). Exact up to 256
    distinct values in a window, then with an error that docs/concepts/semantics.md states.
    """
    return _aggregate("most_frequent", column, over, where, name, k=k)


def histogram(
    column: str, *, buckets: Iterable[float], over: _Over, where: str | None = None, name: str | None = None
) -> Aggregate:
    """How many non-null values lie in each bucket; an empty window gives zeros.

    ``buckets`` are 1 to 100 edges, strictly increasing: n edges make n + 1 counts, of the values below the first edge,
    from each edge (included) up to the next (excluded), and from the last one on.
    """
    return _aggregate("histogram", column, over, where, name, buckets=tuple(buckets))
