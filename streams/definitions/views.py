"""Entities, and the feature views over them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.records import VIEW_FIELD_NAMES
from streams.definitions.aggregates.spec import Aggregate
from streams.definitions.base import Definition, Name
from streams.definitions.columns import Derived
from streams.definitions.feature_sql import is_reserved, references
from streams.definitions.windows import Duration

# What a view's row in the history's table has beside the fields of its part of a record.
_HISTORY_COLUMNS = ("day", "attempt", "event_id")


class Entity(Definition):
    """What features are about: a card, a merchant, an aircraft. ``key`` is the (derived) column that names it.

    Several columns name it together (``key=("card", "merchant")``: a card at a merchant); where one of them is null,
    there is no such entity. How its parts become one text is in :mod:`streams.plan.entity_text`.
    """

    name: Name
    key: Name | Annotated[tuple[Name, ...], Field(min_length=2)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that name it."""
        return (self.key,) if isinstance(self.key, str) else self.key


class View(Definition):
    """A set of features of one entity, versioned as a whole. A version never changes its meaning.

    ``derived`` are features computed by SQL from those of the same record: the view's own by their name, another
    view's as ``view.feature``, the event's columns as ``event.column``; each may use the derived ones before it.

    With ``refresh``, the vector of an entity that is idle is emitted again as what it counted leaves its windows, at
    most once in that time. It changes no value and is no part of what the version means.
    """

    name: Name
    version: int = Field(ge=1)
    entity: Entity
    aggregates: Annotated[tuple[Aggregate, ...], Field(min_length=1)]
    derived: dict[Name, Derived] = Field(default_factory=dict)
    refresh: Duration | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a view does not use is no part of its definition, nor of its hash."""
        fields: dict[str, Any] = serialize(self)
        if not self.derived:
            del fields["derived"]
        return fields

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = self.feature_names()
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"view {self.name}: two features are called {', '.join(twice)}; give one a name=...")
        _check_derived(self)
        return self

    def feature_names(self) -> tuple[str, ...]:
        """All features of the view, in the order of the record: those of its aggregates, then the derived ones."""
        return (*(name for aggregate in self.aggregates for name in aggregate.feature_names()), *self.derived)

    def inputs(self) -> tuple[str, ...]:
        """The features as model inputs: ``view.feature``."""
        return tuple(f"{self.name}.{name}" for name in self.feature_names())


def _check_derived(view: View) -> None:
    """Check what a view can check alone: the names of its derived features, and that each uses only earlier ones.

    Raises:
        ValueError: that names the feature and what is wrong with it.
    """
    known = [name for aggregate in view.aggregates for name in aggregate.feature_names()]
    for name, feature in view.derived.items():
        where = f"view {view.name}, {name}"
        if name in (*VIEW_FIELD_NAMES, *_HISTORY_COLUMNS) or is_reserved(name):
            raise ValueError(f"{where}: a feature cannot be called that, it is a word of records or of SQL")
        for reference in references(feature.sql, view.name):
            scope, _, used = reference.partition(".")
            if scope != view.name or used in known:
                continue
            if used in view.derived:
                raise ValueError(f"{where}: {used!r} is defined later; a derived feature may use those before it")
            raise ValueError(f"{where}: no feature {used!r}; there are {', '.join(known)}")
        known.append(name)
