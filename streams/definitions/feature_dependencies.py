"""Dependencies of derived features: checks that they exist, and finds the views, columns and windows behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import cast

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, element_of
from streams.definitions.feature_sql import EVENT, references, typed_feature
from streams.definitions.sql.tree import SqlError
from streams.definitions.views import View


def check_references(views: Sequence[View], columns: Mapping[str, FeatureType], dropped: Iterable[str]) -> None:
    """Check the references of derived features to other views and to the event; ``dropped`` columns are not readable.

    Raises:
        ValueError: if a reference is wrong; names the feature and the reason.
    """
    readable = {name for name in columns if name not in dropped}
    types = {view.name: feature_types(view, columns) for view in views}
    for view in views:
        for name, feature in view.derived.items():
            for reference in references(feature.sql, view.name):
                scope, _, used = reference.partition(".")
                names = readable if scope == EVENT else types.get(scope)
                if names is None:
                    raise ValueError(f"view {view.name}, {name}: {reference!r}, but there is no view {scope!r}")
                if used not in names:
                    what = f"the event has no column {used!r}" if scope == EVENT else f"no feature {reference!r}"
                    raise ValueError(f"view {view.name}, {name}: {what}; there are {', '.join(sorted(names))}")
                kind = columns[used] if scope == EVENT else types[scope][used]
                if element_of(kind) is not None:
                    instead = f"; derive a column of the event, such as CARDINALITY({used})" if scope == EVENT else ""
                    raise ValueError(
                        f"view {view.name}, {name}: {reference!r} is a list, which SQL here cannot use{instead}"
                    )
            _check_types(view, name, columns, types)
    try:
        TopologicalSorter({view.name: views_used(view) for view in views}).prepare()
    except CycleError as error:
        circle = " to ".join(reversed(error.args[1]))
        raise ValueError(
            f"derived features refer in a circle, view {circle}: define those that need both views in one of them"
        ) from None


def _check_types(
    view: View, name: str, columns: Mapping[str, FeatureType], types: Mapping[str, Mapping[str, FeatureType]]
) -> None:
    found: dict[str, FeatureType] = {f"{EVENT}.{column}": kind for column, kind in columns.items()}
    found |= {f"{scope}.{feature}": kind for scope, kinds in types.items() for feature, kind in kinds.items()}
    scalars = {reference: cast("ColumnType", kind) for reference, kind in found.items() if element_of(kind) is None}
    try:
        typed_feature(view.derived[name].sql, view.name, scalars, view.derived[name].type)
    except SqlError as error:
        raise ValueError(f"view {view.name}, {name}: {error}") from None


def feature_types(view: View, columns: Mapping[str, FeatureType]) -> dict[str, FeatureType]:
    """The types of all features of a view, in record order."""
    types: dict[str, FeatureType] = {name: a.type(columns) for a in view.aggregates for name in a.feature_names()}
    return types | {name: feature.type for name, feature in view.derived.items()}


def views_used(view: View) -> list[str]:
    """The other views whose features a view's derived features use."""
    scopes = (name.partition(".")[0] for f in view.derived.values() for name in references(f.sql, view.name))
    return sorted({scope for scope in scopes if scope not in (EVENT, view.name)})


def columns_used(view: View) -> list[str]:
    """The event columns that a view's derived features use."""
    names = (name.partition(".") for f in view.derived.values() for name in references(f.sql, view.name))
    return sorted({name for scope, _, name in names if scope == EVENT})


def windows_used(views: Mapping[str, View], feature: str) -> set[tuple[int, int]]:
    """The windows (size and hop in ms) on which ``view.feature`` depends, directly or through other features."""
    scope, _, name = feature.partition(".")
    if scope == EVENT:
        return set()
    view = views[scope]
    if name in view.derived:
        used = references(view.derived[name].sql, scope)
        return set().union(*(windows_used(views, reference) for reference in used))
    return {
        (window.size, window.hop)
        for aggregate in view.aggregates
        for feature_name, window in zip(aggregate.feature_names(), aggregate.windows, strict=True)
        if feature_name == name
    }
