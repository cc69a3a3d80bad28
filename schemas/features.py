"""Reading a features topic whose records were written by several definitions of its pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from schemas.avro import fingerprint
from schemas.codec import HEADER_LENGTH, MARKER, Decoder
from schemas.committed import features_writer_schemas
from schemas.records import features_schema
from streams.definitions import Pipeline
from streams.plan import plan

NOTHING: frozenset[str] = frozenset()
_ENVELOPE = ("event_id", "event_time", "trigger", "attempt", "source", "event")


class _Form(NamedTuple):
    """An earlier form: what of today's records it has, and what it lacks."""

    views: tuple[str, ...]
    columns: tuple[str, ...]
    lacks: frozenset[str]


class FeaturesDecoder(Decoder):
    """Gives every record of a features topic in the form of today's definitions.

    A view that the record's own form does not have in the present version is null, and so is a column of the event
    that it does not carry. What it has beyond that, such as a view that was removed, is left out.

    Args:
        current: The schema of today's records.
        earlier: Those of records that may still be on the topic.
    """

    def __init__(self, current: dict[str, Any], earlier: Iterable[dict[str, Any]] = ()) -> None:
        forms = {fingerprint(schema): schema for schema in (*earlier, current)}
        super().__init__(*forms.values())
        self._views, self._columns = _views(current), _columns(current)
        del forms[fingerprint(current)]
        self._earlier = {MARKER + key: self._form(schema) for key, schema in forms.items()}

    def decode(self, value: bytes, where: str | None = None) -> dict[str, Any]:
        """As :meth:`Decoder.decode`."""
        record = super().decode(value, where)
        form = self._earlier.get(value[:HEADER_LENGTH])
        if form is None:
            return record
        event = record["event"]
        return (
            {name: record[name] for name in _ENVELOPE}
            | {"event": {name: event[name] if name in form.columns else None for name in self._columns}}
            | {name: record[name] if name in form.views else None for name in self._views}
        )

    def lacks(self, value: bytes) -> frozenset[str]:
        """Which views, and which columns of the event (``event.<column>``), are null only for the record's form."""
        form = self._earlier.get(value[:HEADER_LENGTH])
        return NOTHING if form is None else form.lacks

    def _form(self, schema: dict[str, Any]) -> _Form:
        theirs, columns = _views(schema), _columns(schema)
        views = tuple(name for name, version in self._views.items() if theirs.get(name) == version)
        kept = tuple(name for name in self._columns if columns.get(name) == self._columns[name])
        lacks = {*(self._views.keys() - set(views)), *(f"event.{name}" for name in self._columns.keys() - set(kept))}
        return _Form(views, kept, frozenset(lacks))


def features_decoder(pipeline: Pipeline, root: Path) -> FeaturesDecoder:
    """Reads the features topic of a pipeline: today's records, and those of all forms committed under ``root``."""
    return FeaturesDecoder(features_schema(plan(pipeline)), features_writer_schemas(pipeline, root))


def is_lacking(name: str, lacks: frozenset[str]) -> bool:
    """Whether a model's input (``view.feature`` or ``event.column``) is null only for a record's form."""
    return name in lacks or name.partition(".")[0] in lacks


def _views(schema: dict[str, Any]) -> dict[str, bytes]:
    """Each view of a record's schema, and the fingerprint of its part: name, version and features."""
    fields = [field for field in schema["fields"] if field["name"] not in _ENVELOPE]
    return {
        field["name"]: fingerprint(next(branch for branch in field["type"] if branch != "null")) for field in fields
    }


def _columns(schema: dict[str, Any]) -> dict[str, Any]:
    (event,) = (field["type"]["fields"] for field in schema["fields"] if field["name"] == "event")
    return {field["name"]: field["type"] for field in event}
