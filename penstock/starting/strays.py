"""Tells the few rows that lack what nearly all others have, so that they do not decide what events are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.starting.columns import Kind, Observed, Place, Table, kind_of, kind_of_text
from penstock.starting.naming import column_name
from penstock.starting.times import USUAL_TIMES, TimeForm, ms_of, unit_of

MOST_STRAYS = 0.05
"""The share of rows that may be left out; if more do not fit, all count."""
_NUMBERS: frozenset[Kind] = frozenset({"integer", "number", "huge integer", "not a number"})


@dataclass(frozen=True)
class Usual:
    """What nearly all rows have.

    Attributes:
        kinds: The kinds of values of a field in which a few rows have another.
        time: The field with a time that only a few rows lack, and its form; None if a field has one in each row.
        is_text: Whether all values are texts, as in a CSV.
    """

    kinds: Mapping[Place, frozenset[Kind]] = field(default_factory=dict)
    time: tuple[Place, TimeForm] | None = None
    is_text: bool = False

    def lacks(self, event: Mapping[str, Any]) -> str | None:
        """Why an event is a stray; None if it is as nearly all others.

        >>> usual = Usual({("ad",): frozenset({"object"})}, (("ts",), "seconds"))
        >>> usual.lacks({"ad": "oops", "ts": 1_772_366_400}), usual.lacks({"ad": {}})
        ('ad is a text, and an object in nearly all others', 'ts has no time, as nearly all others have')
        """
        for place, kinds in self.kinds.items():
            value = _at(event, place)
            if value is not None and (kind := kind_of(value)) not in kinds:
                usual = _a("number" if kinds == _NUMBERS else next(iter(kinds)))
                return f"{'.'.join(place)} is {_a(kind)}, and {usual} in nearly all others"
        if self.time is None:
            return None
        place, form = self.time
        return (
            None
            if self._is_time(_at(event, place), form)
            else f"{'.'.join(place)} has no time, as nearly all others have"
        )

    def _is_time(self, value: Any, form: TimeForm) -> bool:
        if value is None or value == "":
            return False
        kind = kind_of_text(value) if self.is_text else kind_of(value)
        if kind == "integer":
            return unit_of(int(value)) == form
        return kind == "time" or (kind == "text" and ms_of(value, form) is not None)


def usual_of(table: Table, time: str | None = None) -> Usual | None:
    """What nearly all rows have of which a few lack something; None if there are no such rows.

    Args:
        table: What was seen of the rows.
        time: The field of the event time, by its path or its name in code; None: that with the most times.
    """
    # A CSV has no kinds: a few cells with a leading zero make a column of codes, not of numbers.
    columns = [] if table.is_text else [one for one in table.columns.values() if one.array is None]
    kinds = {one.place: found for one in columns if (found := _usual_kinds(one))}
    of_time = _time(table, time)
    return Usual(kinds, of_time, table.is_text) if kinds or of_time else None


def _usual_kinds(observed: Observed) -> frozenset[Kind] | None:
    """The kinds of nearly all values, if a few have another."""
    most = observed.kinds.most_common(1)
    if not most:
        return None
    kinds = _NUMBERS if most[0][0] in _NUMBERS else frozenset({most[0][0]})
    others = observed.count - sum(observed.kinds[kind] for kind in kinds)
    return kinds if 0 < others <= MOST_STRAYS * observed.count else None


def _time(table: Table, named: str | None) -> tuple[Place, TimeForm] | None:
    """The field that is a time in the most rows, if that is in nearly all and not in all."""
    found = [
        (count, -_usual_rank(one.place), one.place, form)
        for one in table.columns.values()
        if one.array is None and (named is None or named in (".".join(one.place), column_name(one.place, ())))
        for form, count in one.forms.items()
    ]
    if not found:
        return None
    count, _, place, form = max(found, key=lambda one: one[:2])
    return (place, form) if 0 < table.rows - count <= MOST_STRAYS * table.rows else None


def _usual_rank(place: Place) -> int:
    return USUAL_TIMES.index(place[-1]) if place[-1] in USUAL_TIMES else len(USUAL_TIMES)


def _at(event: Any, place: Place) -> Any:
    for name in place:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def _a(kind: Kind) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
