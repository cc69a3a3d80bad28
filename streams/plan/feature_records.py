"""Feature records of a pipeline: their Avro schema, and reading those that earlier definitions wrote."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from schemas.avro import fingerprint
from schemas.codec import HEADER_LENGTH, MARKER, Decoder
from schemas.committed import record_schemas
from schemas.feature_types import element_of
from schemas.records import ENVELOPE_NAMES, VIEW_FIELDS, feature_envelope
from streams.plan.model import Output, PipelinePlan, ViewPlan

NOTHING: frozenset[str] = frozenset()
_AVRO = {"string": "string", "long": "long", "double": "double", "boolean": "boolean"}


def features_schema(plan: PipelinePlan) -> dict[str, Any]:
    """Schema of the records on ``features.<pipeline>``; a view is null when the event has no value for its entity."""
    carried = [{"name": name, "type": ["null", _AVRO[kind]]} for name, kind in plan.passthrough]
    views = [{"name": view.name, "type": ["null", view_schema(view)], "default": None} for view in plan.views]
    return {
        "type": "record",
        "name": "Features",
        "namespace": f"penstock.{plan.pipeline}",
        "fields": [*feature_envelope(carried), *views],
    }


def view_schema(view: ViewPlan) -> dict[str, Any]:
    """Schema of one view's part of a feature record: who, which emission, as of when, and the named features."""
    features = [{"name": feature.name, "type": _feature_type(feature)} for feature in view.outputs]
    return {"type": "record", "name": f"{view.name}_v{view.version}", "fields": [*VIEW_FIELDS, *features]}


def _feature_type(feature: Output) -> Any:
    element = element_of(feature.type)
    kind: Any = _AVRO[feature.type] if element is None else {"type": "array", "items": _AVRO[element]}
    return ["null", kind] if feature.empty is None else kind


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
            {name: record[name] for name in ENVELOPE_NAMES}
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


def features_decoder(plan: PipelinePlan, root: Path) -> FeaturesDecoder:
    """Reads the features topic of a pipeline: today's records, and those of all forms committed under ``root``."""
    schema = features_schema(plan)
    return FeaturesDecoder(schema, record_schemas(plan.features_topic, schema, root))


def is_lacking(name: str, lacks: frozenset[str]) -> bool:
    """Whether a model's input (``view.feature`` or ``event.column``) is null only for a record's form."""
    return name in lacks or name.partition(".")[0] in lacks


def _views(schema: dict[str, Any]) -> dict[str, bytes]:
    """Each view of a record's schema, and the fingerprint of its part: name, version and features."""
    fields = [field for field in schema["fields"] if field["name"] not in ENVELOPE_NAMES]
    return {
        field["name"]: fingerprint(next(branch for branch in field["type"] if branch != "null")) for field in fields
    }


def _columns(schema: dict[str, Any]) -> dict[str, Any]:
    (event,) = (field["type"]["fields"] for field in schema["fields"] if field["name"] == "event")
    return {field["name"]: field["type"] for field in event}
