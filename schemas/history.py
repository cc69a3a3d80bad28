"""The schema history of Penstock's own records: predictions, scores of past events, drift alerts and drift states.

A release may add a field with a default. Readers then resolve older records on a topic to the current schema. Every
schema is committed as ``history/<record>/<fingerprint>.json``: an Avro schema, or a JSON Schema for a record that is
kept as JSON. ``penstock schemas check`` compares the current schemas with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from penstock.kafka.reading import Record
from schemas.avro import fingerprint, parse_avro
from schemas.codec import HEADER_LENGTH, Decoder, Undecodable, UnknownSchema, read_avro
from schemas.records import DRIFT_SCHEMA, PREDICTION_SCHEMA, SCORE_SCHEMA

HISTORY = Path(__file__).with_name("history")
AVRO_RECORDS: dict[str, dict[str, Any]] = {
    "prediction": PREDICTION_SCHEMA,
    "drift_alert": DRIFT_SCHEMA,
    "score": SCORE_SCHEMA,
}


class HistoryDecoder(Decoder):
    """Decodes records of every committed schema, resolved to the current one.

    Fields added since a record was written have their defaults; removed fields are left out.
    """

    def __init__(self, current: dict[str, Any], earlier: Iterable[dict[str, Any]]) -> None:
        super().__init__(*earlier, current)
        self._current_fingerprint, self._current_schema = fingerprint(current), parse_avro(current)

    def decode(self, value: bytes, where: str | None = None) -> dict[str, Any]:
        """Return the record in ``value`` in the current schema; raises the errors of :meth:`Decoder.decode`."""
        if value[2:HEADER_LENGTH] == self._current_fingerprint:
            return super().decode(value, where)
        return read_avro(value, HEADER_LENGTH, self.schema_of(value, where), where, self._current_schema)


def record_decoder(name: str) -> HistoryDecoder:
    """Return the decoder of one of :data:`AVRO_RECORDS`, for the records of all releases."""
    return HistoryDecoder(AVRO_RECORDS[name], committed_schemas(name))


def decoded(records: Iterable[Record], name: str) -> Iterator[dict[str, Any]]:
    """The records of one of :data:`AVRO_RECORDS` that can be read; the others are passed over."""
    decoder = record_decoder(name)
    for record in records:
        with suppress(Undecodable, UnknownSchema):
            yield decoder.decode(record.value or b"")


def committed_schemas(name: str, folder: Path = HISTORY) -> list[dict[str, Any]]:
    """Return all committed schemas of a record."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted((folder / name).glob("*.json"))]


def commit(records: Mapping[str, dict[str, Any]], folder: Path = HISTORY) -> list[Path]:
    """Write the current schema of each record that is not committed yet, and return the files written."""
    written = []
    for name, schema in records.items():
        file = _file(name, schema, folder)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            written.append(file)
    return written


def without_descriptions(schema: Any) -> Any:
    """Return a JSON Schema without descriptions, so that a reworded docstring is not a new schema."""
    if isinstance(schema, dict):
        return {key: without_descriptions(value) for key, value in schema.items() if not _is_description(key, value)}
    return [without_descriptions(item) for item in schema] if isinstance(schema, list) else schema


def _is_description(key: str, value: Any) -> bool:
    return key == "description" and isinstance(value, str)


def history_problems(records: Mapping[str, dict[str, Any]], folder: Path = HISTORY) -> Iterator[str]:
    """Yield each problem of the current schemas: not committed, or unable to read records of an earlier schema."""
    for name, schema in records.items():
        if not _file(name, schema, folder).exists():
            yield f"the current schema of {name} is not committed"
        current = dict(_objects(schema))
        for earlier in committed_schemas(name, folder):
            for object_name, fields in _objects(earlier):
                yield from (
                    f"{name}: {broken}" for broken in _breaks(object_name, fields, current.get(object_name, {}))
                )


class _Field(NamedTuple):
    """A field's type as comparable text, and whether a record may omit the field."""

    type: str
    is_optional: bool


def _breaks(object_name: str, old: Mapping[str, _Field], new: Mapping[str, _Field]) -> Iterator[str]:
    for field, (kind, is_optional) in new.items():
        if field not in old and not is_optional:
            yield f"{object_name}.{field} was added without a default, so earlier records cannot be read"
        elif field in old and old[field].type != kind:
            yield f"{object_name}.{field} was {old[field].type}, is {kind}: add a field of another name instead"


def _objects(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, _Field]]]:
    """Yield every object that the schema describes, nested ones included, with its fields."""
    return _avro_objects(schema) if "fields" in schema else _json_objects(schema)


def _avro_objects(schema: Any) -> Iterator[tuple[str, dict[str, _Field]]]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _avro_objects(branch)
    elif isinstance(schema, Mapping):
        if schema.get("type") == "record":
            fields = {f["name"]: _Field(json.dumps(_flat_type(f["type"])), "default" in f) for f in schema["fields"]}
            yield schema["name"], fields
        for inner in (*(f["type"] for f in schema.get("fields", ())), schema.get("items")):
            yield from _avro_objects(inner)


def _flat_type(schema: Any) -> Any:
    """Replace nested records by their names: nested records are compared on their own."""
    if isinstance(schema, list):
        return [_flat_type(branch) for branch in schema]
    if isinstance(schema, Mapping):
        if schema.get("type") == "record":
            return schema["name"]
        return {key: _flat_type(value) if key == "items" else value for key, value in schema.items()}
    return schema


def _json_objects(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, _Field]]]:
    for definition in (schema, *schema.get("$defs", {}).values()):
        if "properties" in definition:
            required, properties = definition.get("required", ()), definition["properties"]
            yield (
                definition["title"],
                {name: _Field(_type_text(kind), name not in required) for name, kind in properties.items()},
            )


def _type_text(kind: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in kind.items() if key not in ("title", "description", "default")})


def _file(name: str, schema: dict[str, Any], folder: Path) -> Path:
    if "fields" in schema:
        return folder / name / f"{fingerprint(schema).hex()}.json"
    text = json.dumps(schema, sort_keys=True)
    return folder / name / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
