"""The signatures of the aggregates: each function takes a call's arguments and returns them as a :class:`Call`.

A parameter that only some aggregates have is also a field of :class:`~streams.definitions.aggregates.spec.Aggregate`,
with the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from streams.definitions.windows import Window

Over: TypeAlias = Iterable[str | Window] | str
_NONE: Mapping[str, Any] = MappingProxyType({})
REQUIRED = ""
"""No column, of an aggregate that needs one or a list (``each``)."""


class Call(NamedTuple):
    """The arguments of a call. Without ``name``, the features are called ``<column>_<suffix>``.

    ``each`` is a column with lists, in place of ``column``: each element counts as a value.
    """

    column: str | None
    each: str | None
    over: Over
    where: str | None
    name: str | None
    parameters: Mapping[str, Any] = _NONE
    suffix: str | None = None


def of_rows(
    column: str | None = None,
    *,
    each: str | None = None,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate all rows, or those with a value in ``column``."""
    return Call(column, each, over, where, name)


def of_rows_and_gap(
    column: str | None = None,
    *,
    each: str | None = None,
    gap: str,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate rows by sessions, whose events are at most ``gap`` apart."""
    return Call(column, each, over, where, name, {"gap": gap})


def of_rows_and_half_life(
    column: str | None = None,
    *,
    each: str | None = None,
    half_life: str,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate rows; the weight of each halves in every ``half_life``."""
    return Call(column, each, over, where, name, {"half_life": half_life})


def of_column(
    column: str = REQUIRED,
    *,
    each: str | None = None,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate the values of a column."""
    return Call(column, each, over, where, name)


def of_column_and_half_life(
    column: str = REQUIRED,
    *,
    each: str | None = None,
    half_life: str,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate the values of a column; the weight of each halves in every ``half_life``."""
    return Call(column, each, over, where, name, {"half_life": half_life})


def of_column_and_bound(
    column: str = REQUIRED,
    *,
    each: str | None = None,
    bound: int = 1_000,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate the values of a column, exactly for up to ``bound`` distinct ones."""
    return Call(column, each, over, where, name, {"bound": bound})


def of_column_and_q(
    column: str = REQUIRED,
    *,
    each: str | None = None,
    q: float,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Aggregate the values of a column; ``q`` is a share of them, with which the name ends, in percent: ``p95``."""
    return Call(column, each, over, where, name, {"q": q}, suffix=f"p{100 * q:g}".replace(".", "_"))


def of_column_and_k(
    column: str = REQUIRED,
    *,
    each: str | None = None,
    k: int,
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """List up to ``k`` values of a column."""
    return Call(column, each, over, where, name, {"k": k})


def of_column_and_buckets(
    column: str = REQUIRED,
    *,
    each: str | None = None,
    buckets: Iterable[float],
    over: Over,
    where: str | None = None,
    name: str | None = None,
) -> Call:
    """Count the values of a column in buckets; ``buckets`` are their edges, strictly increasing."""
    return Call(column, each, over, where, name, {"buckets": tuple(buckets)})
