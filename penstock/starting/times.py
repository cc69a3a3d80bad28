"""In which form a value is a time. Pure."""

from __future__ import annotations

import re
from typing import Literal

from schemas.conversions import column_value
from schemas.event_time import EARLIEST_MS
from schemas.written import Form

TimeForm = Literal["iso8601", "seconds", "milliseconds", "microseconds", "nanoseconds"]

USUAL_TIMES = ("event_time", "event_timestamp", "timestamp", "time", "ts", "occurred_at", "created_at", "datetime")
"""Usual names of an event's time, the likeliest first."""
_LATEST_MS = 4_102_444_800_000  # 2100-01-01
MARKERS: dict[TimeForm, tuple[Form | None, str]] = {
    "iso8601": ("iso8601", "ISO8601"),
    "seconds": ("seconds", "SECONDS"),
    "milliseconds": (None, ""),
    "microseconds": ("microseconds", "MICROSECONDS"),
    "nanoseconds": ("nanoseconds", "NANOSECONDS"),
}
"""How a contract declares each form, and the marker that says so; milliseconds need none."""
_PER_MS: dict[TimeForm, float] = {"seconds": 0.001, "milliseconds": 1, "microseconds": 1_000, "nanoseconds": 1_000_000}
_ZONELESS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?")


def unit_of(number: int) -> TimeForm | None:
    """The unit in which an integer is a time of this century; the ranges of the units do not overlap.

    >>> unit_of(1_772_366_400), unit_of(1_772_366_400_000), unit_of(17)
    ('seconds', 'milliseconds', None)
    """
    for form, per_ms in _PER_MS.items():
        if EARLIEST_MS * per_ms <= number < _LATEST_MS * per_ms:
            return form
    return None


def ms_of(value: object, form: TimeForm) -> int | None:
    """Epoch milliseconds of a value that is written in a form; None if it is not.

    >>> ms_of("2026-03-01T12:00:00Z", "iso8601"), ms_of(1_772_366_400, "seconds")
    (1772366400000, 1772366400000)
    """
    found = column_value(value, MARKERS[form][0], "long", None, None, None)
    return found if type(found) is int else None


def lacks_zone(text: str) -> bool:
    """Whether a text is a time without a zone, of which nobody can say when it was.

    >>> lacks_zone("2026-03-01 12:00:00"), lacks_zone("2026-03-01T12:00:00Z")
    (True, False)
    """
    return _ZONELESS.fullmatch(text) is not None
