"""Findings as sentences for a person."""

from __future__ import annotations

from penstock.time import readable
from streams.drift.data_quality.quality_reference import Limit, TopicReference


def of_share(reference: TopicReference, limit: Limit, share: float, producer: str, new: str | None) -> str:
    """A share of records that is beyond its limit.

    ``new`` is the most frequent new value, of a category.
    """
    low, high = reference.ranges.get(limit.column, (0.0, 0.0))
    what = {
        "null": "null",
        "invalid": "against the contract",
        "range": f"out of range ({low:.4g} to {high:.4g})",
        "category": f"new values, most of them {new!r},",
        "duplicate": "an id that came before",
        "late": f"more than {_time(reference.late_ms)} old on arrival",
    }.get(limit.kind, "cannot be decoded")
    usually = f"usually {_percent(limit.expected)}"
    return f"{limit.column or reference.topic}: {what} in {_percent(share)} of the records{_by(producer)}, {usually}"


def of_distinct(limit: Limit, distinct: float, window: int, producer: str) -> str:
    """A number of different values in a window."""
    return (
        f"{limit.column}: about {distinct:,.0f} different values in {window:,} records{_by(producer)}, "
        f"usually {limit.expected:,.0f}"
    )


def of_hours(topic: str, end_ms: int, hours: int, events: int, expected: float) -> str:
    """The events of an hour, or of 24."""
    at, time = readable(end_ms, "minutes", zone=" UTC"), "hour" if hours == 1 else f"{hours} hours"
    return f"{topic}: {events:,} events in the {time} until {at}, usually {expected:,.0f}"


def of_silence(topic: str, silent_ms: float, missed: float) -> str:
    """A time without an event."""
    return f"{topic}: no event for {_time(silent_ms)}, in which about {missed:,.0f} usually come"


def _by(producer: str) -> str:
    return f" of producer {producer}" if producer else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def _time(ms: float) -> str:
    if ms < 120_000:
        return f"{ms / 1_000:,.0f} s"
    return f"{ms / 60_000:,.0f} min" if ms < 7_200_000 else f"{ms / 3_600_000:,.1f} h"
