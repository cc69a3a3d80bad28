"""The SQL of derived features: what it names, and its text with those names written as an engine has them.

A bare name is a feature of the view itself, ``view.feature`` one of another view of the same record, ``event.column`` a
column of the event. Names are lower case; every other word is SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from streams.feature_types import FeatureType, element_of

if TYPE_CHECKING:
    from streams.definitions import Pipeline, View

EVENT = "event"
"""The scope of the event's own columns."""

# What a view's part of a record has beside its features, in the topic (schemas.records) and in the history's table.
_TAKEN = ("entity", "epoch", "seq", "as_of", "late", "day", "attempt", "event_id")
_WORD = re.compile(
    "and|as|between|bigint|boolean|both|by|case|cast|char|date|day|decimal|distinct|double|else|end|escape|extract|"
    "false|float|for|from|hour|in|int|integer|interval|is|leading|like|minute|month|not|null|or|second|similar|"
    "smallint|string|substring|then|time|timestamp|to|trailing|trim|true|try_cast|unknown|varchar|when|year"
)
# A text, a quoted name or a comment, a number, or a name with what may follow it: a second part, an opening bracket.
_TOKEN = re.compile(
    r"(?P<text>'(?:[^']|'')*')|(?P<refused>[`\"]|--|/\*)|(?P<number>\d[\w.]*)"
    r"|(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)(?P<call>\s*\()?"
)


def references(sql: str, view: str) -> tuple[str, ...]:
    """What the SQL of a derived feature of ``view`` names, each once, as ``view.feature`` or ``event.column``.

    >>> references("CASE WHEN count_1h > 3 THEN ABS(shop.mean_1h - event.amount) END", "card")
    ('card.count_1h', 'shop.mean_1h', 'event.amount')

    Raises:
        ValueError: if a name is quoted or has more than two parts, or there is a comment.
    """
    found: dict[str, None] = {}

    def note(name: str) -> str:
        found[name] = None
        return name

    rendered(sql, view, note)
    return tuple(found)


def rendered(sql: str, view: str, column: Callable[[str], str]) -> str:
    """The SQL with every name, as :func:`references` gives it, replaced by what ``column`` makes of it."""

    def replaced(token: re.Match[str]) -> str:
        if token["refused"]:
            raise ValueError(f"{sql!r}: write names without quotes, of which each engine has its own, and no comments")
        name = token["name"]
        if name is None or token["call"] or ("." not in name and (name != name.lower() or _WORD.fullmatch(name))):
            return token[0]
        parts = [part.strip() for part in name.split(".")]
        if len(parts) > 2:
            raise ValueError(f"{name!r} in {sql!r}: a name is feature, view.feature or event.column")
        return column(".".join(parts if len(parts) == 2 else (view, name)))

    return _TOKEN.sub(replaced, sql)


def check_own_features(view: View) -> None:
    """Check what a view can check alone: the names of its derived features, and that each uses only earlier ones.

    Raises:
        ValueError: that names the feature and what is wrong with it.
    """
    known = [name for aggregate in view.aggregates for name in aggregate.feature_names()]
    for name, feature in view.derived.items():
        where = f"view {view.name}, {name}"
        if name in _TAKEN or _WORD.fullmatch(name):
            raise ValueError(f"{where}: a feature cannot be called that, it is a word of records or of SQL")
        for reference in references(feature.sql, view.name):
            scope, _, used = reference.partition(".")
            if scope != view.name or used in known:
                continue
            if used in view.derived:
                raise ValueError(f"{where}: {used!r} is defined later; a derived feature may use those before it")
            raise ValueError(f"{where}: no feature {used!r}; there are {', '.join(known)}")
        known.append(name)


def check_other_features(pipeline: Pipeline, dropped: Iterable[str]) -> None:
    """Check what derived features name of other views and of the event; ``dropped`` columns are known to nobody.

    Raises:
        ValueError: that names the feature and what is wrong with it.
    """
    columns = {name for name in pipeline.column_types() if name not in dropped}
    types = {view.name: types_of(pipeline, view) for view in pipeline.views}
    for view in pipeline.views:
        for name, feature in view.derived.items():
            for reference in references(feature.sql, view.name):
                scope, _, used = reference.partition(".")
                there_are = columns if scope == EVENT else types.get(scope)
                if there_are is None:
                    raise ValueError(f"view {view.name}, {name}: {reference!r}, but there is no view {scope!r}")
                if used not in there_are:
                    what = f"the event has no column {used!r}" if scope == EVENT else f"no feature {reference!r}"
                    raise ValueError(f"view {view.name}, {name}: {what}; there are {', '.join(sorted(there_are))}")
                if scope != EVENT and element_of(types[scope][used]) is not None:
                    raise ValueError(
                        f"view {view.name}, {name}: {reference!r} is a list, which SQL cannot compute with"
                    )
    try:
        TopologicalSorter({view.name: views_used(view) for view in pipeline.views}).prepare()
    except CycleError as error:
        circle = " to ".join(reversed(error.args[1]))
        raise ValueError(
            f"derived features refer in a circle, view {circle}: put those that need both views into one of them"
        ) from None


def types_of(pipeline: Pipeline, view: View) -> dict[str, FeatureType]:
    """The types of all features of a view, in the order of the record."""
    columns = pipeline.column_types()
    types: dict[str, FeatureType] = {name: a.type(columns) for a in view.aggregates for name in a.feature_names()}
    return types | {name: feature.type for name, feature in view.derived.items()}


def views_used(view: View) -> list[str]:
    """The other views whose features a view's derived ones use."""
    scopes = (name.partition(".")[0] for f in view.derived.values() for name in references(f.sql, view.name))
    return sorted({scope for scope in scopes if scope not in (EVENT, view.name)})


def columns_used(view: View) -> list[str]:
    """The columns of the event that a view's derived features use."""
    names = (name.partition(".") for f in view.derived.values() for name in references(f.sql, view.name))
    return sorted({name for scope, _, name in names if scope == EVENT})


def windows_used(pipeline: Pipeline, feature: str) -> set[tuple[int, int]]:
    """The windows (size and hop in ms) on which ``view.feature`` depends, through whatever other features."""
    scope, _, name = feature.partition(".")
    if scope == EVENT:
        return set()
    view = pipeline.view(scope)
    if name in view.derived:
        used = references(view.derived[name].sql, scope)
        return set().union(*(windows_used(pipeline, one) for one in used))
    return {
        (window.size, window.hop)
        for aggregate in view.aggregates
        for own, window in zip(aggregate.feature_names(), aggregate.windows, strict=True)
        if own == name
    }
