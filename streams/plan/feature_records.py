"""Feature records of a pipeline: their Avro schema, and a decoder that also reads records of earlier definitions."""

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

NO_NAMES: frozenset[str] = frozenset()
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
    """Schema of one view's part of a feature record: entity, emission, ``as_of`` and features."""
    features = [{"name": feature.name, "type": _feature_type(feature)} for feature in view.outputs]
    return {"type": "record", "name": f"{view.name}_v{view.version}", "fields": [*VIEW_FIELDS, *features]}


def _feature_type(feature: Output) -> Any:
    element = element_of(feature.type)
    kind: Any = _AVRO[feature.type] if element is None else {"type": "array", "items": _AVRO[element]}
    return ["null", kind] if feature.empty is None else kind


class _EarlierSchema(NamedTuple):
    """The current views and columns that an earlier schema has, and the names of those that it does not have.

    ``changed`` are the views that it has under the same version with other features.
    """

    views: tuple[str, ...]
    columns: tuple[str, ...]
    absent: frozenset[str]
    changed: frozenset[str]


class FeaturesDecoder(Decoder):
    """Decodes every record of a features topic to the current schema.

    A view is null if the record's own schema does not have it in the current version; an event column is null if that
    schema does not have it. Other fields of the record, such as a view that was removed, are left out.

    Args:
        current: The schema of the current definition.
        earlier: The schemas of earlier definitions, whose records may still be on the topic.
    """

    def __init__(self, current: dict[str, Any], earlier: Iterable[dict[str, Any]] = ()) -> None:
        schemas = {fingerprint(schema): schema for schema in (*earlier, current)}
        super().__init__(*schemas.values())
        self._views, self._columns = _views(current), _columns(current)
        self._view_names = _view_names(current)
        del schemas[fingerprint(current)]
        self._earlier = {MARKER + key: self._compare(schema) for key, schema in schemas.items()}

    def decode(self, value: bytes, where: str | None = None) -> dict[str, Any]:
        """Like :meth:`Decoder.decode`."""
        record = super().decode(value, where)
        schema = self._earlier.get(value[:HEADER_LENGTH])
        if schema is None:
            return record
        event = record["event"]
        return (
            {name: record[name] for name in ENVELOPE_NAMES}
            | {"event": {name: event[name] if name in schema.columns else None for name in self._columns}}
            | {name: record[name] if name in schema.views else None for name in self._views}
        )

    def absent_names(self, value: bytes) -> frozenset[str]:
        """The views and event columns (``event.<column>``) that are null because the record's schema is older."""
        schema = self._earlier.get(value[:HEADER_LENGTH])
        return NO_NAMES if schema is None else schema.absent

    def changed_views(self, value: bytes) -> frozenset[str]:
        """The views that are null because the record's schema has other features under their name and version."""
        schema = self._earlier.get(value[:HEADER_LENGTH])
        return NO_NAMES if schema is None else schema.changed

    def _compare(self, schema: dict[str, Any]) -> _EarlierSchema:
        its_views, its_columns = _views(schema), _columns(schema)
        views = tuple(name for name, version in self._views.items() if its_views.get(name) == version)
        columns = tuple(name for name in self._columns if its_columns.get(name) == self._columns[name])
        absent = {
            *(self._views.keys() - set(views)),
            *(f"event.{name}" for name in self._columns.keys() - set(columns)),
        }
        changed = {name for name in self._view_names & _view_names(schema) if name[0] not in views}
        return _EarlierSchema(views, columns, frozenset(absent), frozenset(name for name, _ in changed))


def features_decoder(plan: PipelinePlan, root: Path) -> FeaturesDecoder:
    """The decoder of a pipeline's features topic, for the current schema and all schemas committed under ``root``."""
    schema = features_schema(plan)
    return FeaturesDecoder(schema, record_schemas(plan.features_topic, schema, root))


def is_absent(name: str, absent: frozenset[str]) -> bool:
    """Whether a model input (``view.feature`` or ``event.column``), or its view, is in ``absent``."""
    return name in absent or name.partition(".")[0] in absent


def _views(schema: dict[str, Any]) -> dict[str, bytes]:
    """Each view of a feature schema, and the fingerprint of its part (which covers name, version and features)."""
    return {name: fingerprint(part) for name, part in _parts(schema)}


def _view_names(schema: dict[str, Any]) -> set[tuple[str, str]]:
    """Each view of a feature schema, with the name of its part, which covers its version."""
    return {(name, part["name"]) for name, part in _parts(schema)}


def _parts(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    fields = [field for field in schema["fields"] if field["name"] not in ENVELOPE_NAMES]
    return [(field["name"], next(branch for branch in field["type"] if branch != "null")) for field in fields]


def _columns(schema: dict[str, Any]) -> dict[str, Any]:
    (event,) = (field["type"]["fields"] for field in schema["fields"] if field["name"] == "event")
    return {field["name"]: field["type"] for field in event}
