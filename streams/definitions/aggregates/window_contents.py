"""What an oracle computes an aggregate from: the events of one window."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

from schemas.feature_types import FeatureValue, Value

TimedValue: TypeAlias = tuple[int, str | int | float | bool]


class Feature(Protocol):
    """A planned feature: an aggregate, a window and parameters; durations in milliseconds."""

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
        """In this time a weight halves."""

    @property
    def gap_ms(self) -> int | None:
        """The longest pause within a session."""

    @property
    def k(self) -> int | None:
        """The most elements of a list."""

    @property
    def buckets(self) -> tuple[float, ...] | None:
        """The edges of a histogram."""

    @property
    def q(self) -> float | None:
        """The share of a quantile."""

    @property
    def bound(self) -> int | None:
        """Up to so many distinct values the answer is exact."""


class WindowContents(NamedTuple):
    """What one feature sees when an event arrives.

    ``matching`` are the times and values that count, in arrival order, ``others`` the same without this event's, and
    ``current`` is this event's value wherever its time lies (None: it does not match). The value of a row is True.
    """

    feature: Feature
    as_of: int
    matching: tuple[TimedValue, ...]
    others: tuple[TimedValue, ...]
    current: Value

    @property
    def times(self) -> list[int]:
        """Event times, in arrival order."""
        return [time for time, _ in self.matching]

    @property
    def numbers(self) -> list[float]:
        """Values as doubles, in arrival order; those that are no numbers are left out."""
        return [float(value) for _, value in self.matching if not isinstance(value, str)]

    @property
    def distinct(self) -> set[str | int | float | bool]:
        """The different values."""
        return {value for _, value in self.matching}

    def seconds_since(self, time: int) -> float:
        """From ``time`` to ``as_of``."""
        return (self.as_of - time) / 1000.0
