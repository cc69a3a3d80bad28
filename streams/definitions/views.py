"""Entities and their feature views."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.records import VIEW_FIELD_NAMES
from streams.definitions.aggregates.spec import Aggregate
from streams.definitions.base import Definition, Name
from streams.definitions.columns import Derived
from streams.definitions.feature_sql import is_reserved, references
from streams.definitions.windows import Duration

# Columns of a view's history table that are not fields of its part of a feature record.
_HISTORY_COLUMNS = ("slot", "attempt", "event_id")


class Entity(Definition):
    """The subject of features, such as a card, a merchant or an aircraft. ``key`` is the column that identifies it.

    The column may be a derived one. A composite key has several columns (``key=("card", "merchant")``: a card at a
    merchant); a row in which one of them is null has no such entity. :mod:`streams.plan.entity_text` defines the text
    of an entity.
    """

    name: Name
    key: Name | Annotated[tuple[Name, ...], Field(min_length=2)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its key."""
        return (self.key,) if isinstance(self.key, str) else self.key


class View(Definition):
    """A set of features of one entity, versioned as a whole. The meaning of a version never changes.

    ``derived`` features are SQL over the same record: the view's own features by their name, those of another view as
    ``view.feature``, the event's columns as ``event.column``. Each may use the derived features before it.

    With ``refresh``, the job emits the vector of an idle entity again when events leave its windows, at most once in
    that time. ``refresh`` changes no value, so it is not part of the version's meaning.
    """

    name: Name
    version: int = Field(ge=1)
    entity: Entity
    aggregates: Annotated[tuple[Aggregate, ...], Field(min_length=1)]
    derived: dict[Name, Derived] = Field(default_factory=dict)
    refresh: Duration | None = None

    @model_serializer(mode="wrap")
    def _without_unused_fields(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``derived`` if there is none: it is then not part of the definition, nor of its hash."""
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
        """All features of the view in record order: those of its aggregates, then the derived ones."""
        return (*(name for aggregate in self.aggregates for name in aggregate.feature_names()), *self.derived)

    def inputs(self) -> tuple[str, ...]:
        """The features as model inputs: ``view.feature``."""
        return tuple(f"{self.name}.{name}" for name in self.feature_names())


def _check_derived(view: View) -> None:
    """Check the names of the derived features, and that each uses only features of the view that are before it.

    Raises:
        ValueError: if one is wrong; names the feature and the reason.
    """
    earlier = [name for aggregate in view.aggregates for name in aggregate.feature_names()]
    for name, feature in view.derived.items():
        where = f"view {view.name}, {name}"
        if name in (*VIEW_FIELD_NAMES, *_HISTORY_COLUMNS) or is_reserved(name):
            raise ValueError(f"{where}: a feature cannot have this name: records or SQL reserve it")
        for reference in references(feature.sql, view.name):
            scope, _, used = reference.partition(".")
            if scope != view.name or used in earlier:
                continue
            if used in view.derived:
                raise ValueError(f"{where}: {used!r} is defined later; a derived feature may use those before it")
            raise ValueError(f"{where}: no feature {used!r}; there are {', '.join(earlier)}")
        earlier.append(name)
