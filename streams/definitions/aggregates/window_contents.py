"""The input of an aggregate's oracle: the events of one window."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

from schemas.feature_types import FeatureValue, Value

TimedValue: TypeAlias = tuple[int, str | int | float | bool]


class PlannedFeature(Protocol):
    """A feature of a plan: an aggregate, a window and parameters; durations in milliseconds."""

    @property
    def operation(self) -> str:
        """The name of the aggregate."""

    @property
    def empty(self) -> FeatureValue:
        """The value of an empty window."""

    @property
    def window_ms(self) -> int:
        """The window's size."""

    @property
    def half_life_ms(self) -> int | None:
        """The time in which a weight halves."""

    @property
    def gap_ms(self) -> int | None:
        """The longest pause within a session."""

    @property
    def k(self) -> int | None:
        """The maximum number of list elements."""

    @property
    def buckets(self) -> tuple[float, ...] | None:
        """The edges of a histogram."""

    @property
    def q(self) -> float | None:
        """The share of values up to a quantile."""

    @property
    def bound(self) -> int | None:
        """The number of distinct values up to which the result is exact."""


class WindowContents(NamedTuple):
    """The contents of one feature's window when an event ("this event") arrives.

    Args:
        feature: The feature.
        as_of: The time of the window's end, epoch ms.
        matching: Times and values of the matching events in the window, in arrival order. A feature of rows, without a
            column, has the value True for each event.
        others: ``matching`` without this event.
        current: The value of this event, even if its time is outside the window; None if it does not match.
    """

    feature: PlannedFeature
    as_of: int
    matching: tuple[TimedValue, ...]
    others: tuple[TimedValue, ...]
    current: Value

    @property
    def times(self) -> list[int]:
        """The event times, in arrival order."""
        return [time for time, _ in self.matching]

    @property
    def numbers(self) -> list[float]:
        """The numeric values as doubles, in arrival order."""
        return [float(value) for _, value in self.matching if not isinstance(value, str)]

    @property
    def distinct(self) -> set[str | int | float | bool]:
        """The distinct values."""
        return {value for _, value in self.matching}

    def seconds_since(self, time: int) -> float:
        """The seconds from ``time`` (epoch ms) to ``as_of``."""
        return (self.as_of - time) / 1000.0
