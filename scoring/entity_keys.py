"""Which entities of other pipelines' views an event names, by the columns of its feature record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.columns import Columns
from schemas.contract import ColumnType
from schemas.feature_types import Value
from streams.plan.entity_text import composite_text, entity_text
from streams.plan.other_views import OtherView


class Keys(NamedTuple):
    """What an event asks of the online store.

    Args:
        at_ms: Its event time, at which the vectors are read.
        entities: The entity of each view, as the store names it; None where the event names none.
    """

    at_ms: int
    entities: tuple[str | None, ...]


class EntityKeys:
    """Finds the entities in feature records.

    Args:
        others: The views of other pipelines.
        columns: The columns of the records, with their types.
    """

    def __init__(self, others: Sequence[OtherView], columns: Iterable[tuple[str, ColumnType]] = ()) -> None:
        types = dict(columns)
        self._keys = [other.key for other in others]
        self._types = {column: types[column] for key in self._keys for column in key}

    def of_record(self, record: Mapping[str, Any]) -> Keys:
        """What the event of a decoded record asks for."""
        event = record["event"]
        return Keys(
            record["event_time"], tuple(_entity([event[column] for column in columns]) for columns in self._keys)
        )

    def of_columns(self, columns: Columns) -> list[Keys]:
        """The same of located records; meaningless for those that are not plain."""
        values = {column: _values(columns, f"event.{column}", kind) for column, kind in self._types.items()}
        entities = [map(_entity, zip(*(values[column] for column in key), strict=True)) for key in self._keys]
        return list(map(Keys, columns.integers("event_time").tolist(), zip(*entities, strict=True)))


def _entity(values: Sequence[Value]) -> str | None:
    if len(values) > 1:
        return composite_text(values)
    return None if values[0] is None else entity_text(values[0])


def _values(columns: Columns, name: str, kind: ColumnType) -> Sequence[Value]:
    if kind == "string":
        return columns.texts(name)
    found = columns.numbers(name).astype(bool) if kind == "boolean" else columns.integers(name)
    return [value if has else None for value, has in zip(found.tolist(), columns.present(name).tolist(), strict=True)]
