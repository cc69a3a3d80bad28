"""Every schema that Penstock's own records have had: predictions, drift alerts and drift states.

A release may add a field that has a default; records of earlier releases that are still on a topic are then read in
today's form. Each form is committed as ``history/<record>/<fingerprint>.json``: an Avro schema, or a JSON Schema for
what is kept as JSON. ``penstock schemas check`` holds today's forms against them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from schemas.avro import fingerprint, parsed
from schemas.codec import HEADER_LENGTH, Decoder, read_avro
from schemas.records import DRIFT_SCHEMA, PREDICTION_SCHEMA

HISTORY = Path(__file__).with_name("history")
AVRO_RECORDS: dict[str, dict[str, Any]] = {"prediction": PREDICTION_SCHEMA, "drift_alert": DRIFT_SCHEMA}


class HistoryDecoder(Decoder):
    """Reads records of every committed form, and gives them in the present one.

    Fields that were added since a record was written have their defaults, those that were removed are left out.
    """

    def __init__(self, current: dict[str, Any], earlier: Iterable[dict[str, Any]]) -> None:
        super().__init__(*earlier, current)
        self._present, self._current = fingerprint(current), parsed(current)

    def decode(self, value: bytes, where: str | None = None) -> dict[str, Any]:
        """As :meth:`Decoder.decode`."""
        if value[2:HEADER_LENGTH] == self._present:
            return super().decode(value, where)
        return read_avro(value, HEADER_LENGTH, self.schema_of(value, where), where, self._current)


def record_decoder(name: str) -> HistoryDecoder:
    """Reads one of :data:`AVRO_RECORDS`, as any release has written it."""
    return HistoryDecoder(AVRO_RECORDS[name], committed_forms(name))


def committed_forms(name: str, folder: Path = HISTORY) -> list[dict[str, Any]]:
    """All forms of a record that are committed."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted((folder / name).glob("*.json"))]


def commit(records: Mapping[str, dict[str, Any]], folder: Path = HISTORY) -> list[Path]:
    """Write the present form of each record that is not committed yet; returns the files written."""
    written = []
    for name, schema in records.items():
        file = _file(name, schema, folder)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            written.append(file)
    return written


def without_prose(schema: Any) -> Any:
    """A JSON Schema without descriptions: rewording a docstring is no new form."""
    if isinstance(schema, dict):
        return {key: without_prose(value) for key, value in schema.items() if not _is_prose(key, value)}
    return [without_prose(item) for item in schema] if isinstance(schema, list) else schema


def _is_prose(key: str, value: Any) -> bool:
    return key == "description" and isinstance(value, str)


def history_problems(records: Mapping[str, dict[str, Any]], folder: Path = HISTORY) -> Iterator[str]:
    """What is wrong with the present forms: not committed, or unable to read the records of an earlier one."""
    for name, schema in records.items():
        if not _file(name, schema, folder).exists():
            yield f"the present form of {name} is not committed"
        present = dict(_objects(schema))
        for earlier in committed_forms(name, folder):
            for which, fields in _objects(earlier):
                yield from (f"{name}: {broken}" for broken in _breaks(which, fields, present.get(which, {})))


class _Field(NamedTuple):
    """A field's type as comparable text, and whether a record may lack it."""

    type: str
    is_optional: bool


def _breaks(which: str, old: Mapping[str, _Field], new: Mapping[str, _Field]) -> Iterator[str]:
    for field, (kind, is_optional) in new.items():
        if field not in old and not is_optional:
            yield f"{which}.{field} was added without a default, so earlier records cannot be read"
        elif field in old and old[field].type != kind:
            yield f"{which}.{field} was {old[field].type}, is {kind}: add a field of another name instead"


def _objects(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, _Field]]]:
    """Every object that the schema describes, the nested ones too, with its fields."""
    return _avro_objects(schema) if "fields" in schema else _json_objects(schema)


def _avro_objects(schema: Any) -> Iterator[tuple[str, dict[str, _Field]]]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _avro_objects(branch)
    elif isinstance(schema, Mapping):
        if schema.get("type") == "record":
            fields = {f["name"]: _Field(json.dumps(_named(f["type"])), "default" in f) for f in schema["fields"]}
            yield schema["name"], fields
        for inner in (*(f["type"] for f in schema.get("fields", ())), schema.get("items")):
            yield from _avro_objects(inner)


def _named(schema: Any) -> Any:
    """A type with nested records as their names only, as those are compared by themselves."""
    if isinstance(schema, list):
        return [_named(branch) for branch in schema]
    if isinstance(schema, Mapping):
        if schema.get("type") == "record":
            return schema["name"]
        return {key: _named(value) if key == "items" else value for key, value in schema.items()}
    return schema


def _json_objects(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, _Field]]]:
    for one in (schema, *schema.get("$defs", {}).values()):
        if "properties" in one:
            required = one.get("required", ())
            yield (
                one["title"],
                {name: _Field(_comparable(kind), name not in required) for name, kind in one["properties"].items()},
            )


def _comparable(kind: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in kind.items() if key not in ("title", "description", "default")})


def _file(name: str, schema: dict[str, Any], folder: Path) -> Path:
    if "fields" in schema:
        return folder / name / f"{fingerprint(schema).hex()}.json"
    text = json.dumps(schema, sort_keys=True)
    return folder / name / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
