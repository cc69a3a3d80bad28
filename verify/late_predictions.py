"""Predictions that came when the count of quality had forgotten their events: they do not count.

Which ones depends on how far other partitions had been read, so the engine names them. The verifier holds each of them
against the records: it may be named only if events two horizons later had been published by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from verify.published import Published

# A reader may be behind with one partition for as long, and ahead with another.
_SLACK_MS = 60_000


class Place(NamedTuple):
    """The place of a prediction."""

    topic: str
    partition: int
    offset: int


def named_late(note: Mapping[str, Any]) -> set[Place] | None:
    """The places that the note of the histograms names; None if it does not say which they are.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: if the note is not in its form.
    """
    if not note.get("late", 0):
        return set()
    if note.get("late_places") is None:
        return None
    return {
        Place(topic, int(partition), offset)
        for topic, of in note["late_places"].items()
        for partition, ranges in of.items()
        for first, end in ranges
        for offset in range(first, end)
    }


def in_time(
    named: Iterable[Place], records: Mapping[Place, Published], horizon_ms: int, mature_ms: int | None
) -> list[Place]:
    """Which of the named predictions cannot have come too late, or do not exist.

    Args:
        named: The places that the engine names.
        records: All predictions, served or in shadow.
        horizon_ms: When, after its event, a label is final.
        mature_ms: The time that labels have reached in the end; None if there is none.
    """
    mature_ms = -(2**63) if mature_ms is None else mature_ms
    newest_at: dict[Place, int] = {}
    ordered = sorted(records.items(), key=lambda one: one[1].timestamp)
    newest, ahead = -(2**63), 0
    for place, record in ordered:
        while ahead < len(ordered) and ordered[ahead][1].timestamp <= record.timestamp + _SLACK_MS:
            newest = max(newest, ordered[ahead][1].value["event_time"])
            ahead += 1
        newest_at[place] = newest
    return [
        place
        for place in sorted(named)
        if place not in records
        or records[place].value["event_time"] + 2 * horizon_ms > min(newest_at[place], mature_ms)
    ]
