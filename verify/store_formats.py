"""The formats of the stores, from docs/reference/records.md, written a second time: sinks use their own code."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastavro import parse_schema, schemaless_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

from streams.plan.feature_records import view_schema
from streams.plan.model import PipelinePlan, ViewPlan

_SLOT_MS = 10 * 60 * 1000
_HEADER = struct.Struct(">BQQQq")
_OF_EVENT, _OF_TIMER = 1, 2
_AVRO_MARKER = b"\xc3\x01"


class StoredVector(NamedTuple):
    """A vector in Redis; ``newest_ms`` is the time of the entity's newest event, in a timer's vector only."""

    order: tuple[int, int, int, int]
    newest_ms: int | None
    record: Mapping[str, Any]


class VectorReader:
    """Reads the stored vectors of one view."""

    def __init__(self, view: ViewPlan) -> None:
        schema = view_schema(view)
        self._schema = parse_schema(schema)
        self._fingerprint = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))

    def read(self, blob: bytes) -> StoredVector:
        """Read a vector.

        Raises:
            ValueError: if the bytes are not a vector of this view.
        """
        if len(blob) < _HEADER.size:
            raise ValueError("too short")
        kind, *order = _HEADER.unpack_from(blob)
        rest = blob[_HEADER.size :]
        if kind not in (_OF_EVENT, _OF_TIMER):
            raise ValueError(f"format {kind}")
        newest = int.from_bytes(rest[:8], "big", signed=True) if kind == _OF_TIMER else None
        body = io.BytesIO(rest[8:] if kind == _OF_TIMER else rest)
        if body.read(10) != _AVRO_MARKER + self._fingerprint:
            raise ValueError("the schema is another")
        record = schemaless_reader(body, self._schema, None)
        assert isinstance(record, dict)
        if body.read():
            raise ValueError("too long")
        epoch, seq, attempt, as_of = order
        return StoredVector((epoch, seq, attempt, as_of), newest, record)


def vector_prefix(pipeline: str) -> str:
    """What the Redis keys of a pipeline's vectors begin with."""
    return f"penstock:{pipeline}:"


def vector_key(plan: PipelinePlan, view: ViewPlan, entity: str) -> str:
    """The Redis key of an entity's vector."""
    return f"{vector_prefix(plan.pipeline)}{view.name}@{view.version}:{{{entity}}}"


def history_table(plan: PipelinePlan, view: ViewPlan) -> str:
    """The Cassandra table of a view's vectors."""
    return f"features_{plan.pipeline}_{view.name}_v{view.version}"


HISTORY_KEY = ("entity", "slot", "as_of", "epoch", "seq", "attempt")


def history_row(part: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a history table: one view of a feature record."""
    envelope = {name: part[name] for name in ("entity", "epoch", "seq", "as_of", "late")}
    return {
        **envelope,
        "slot": slot(part["as_of"]),
        "attempt": record["attempt"],
        "event_id": record["event_id"],
        "features": {name: value for name, value in part.items() if name not in envelope},
    }


def backfill_epoch(run: str) -> int:
    """The epoch of the rows that a backfill, with this run in its manifest, wrote to the history.

    Raises:
        ValueError: if it is not the eight digits and letters of a run.
    """
    return int(run, 16) - 2**32


def prediction_tables(pipeline: str) -> tuple[str, str]:
    """The Cassandra tables of predictions: by event, and by entity."""
    return f"predictions_{pipeline}", f"predictions_{pipeline}_by_entity"


PREDICTION_KEY = ("event_id", "source_partition", "source_offset")
PREDICTION_BY_ENTITY_KEY = ("entity", "slot", "event_time", "event_id", "source_partition", "source_offset")
_BY_ENTITY_ONLY = ("score", "decision", "model", "model_version")


def prediction_row(value: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table by event: the position of the source becomes columns, and each view a tuple."""
    lists = ("views", "outputs", "reasons", "defaulted")
    row = {name: one for name, one in value.items() if name not in ("source", *lists)}
    row |= {f"source_{name}": one for name, one in value["source"].items()}
    row["views"] = [tuple(view[n] for n in ("view", "entity", "epoch", "seq", "as_of")) for view in value["views"]]
    row["outputs"] = [(output["name"], output["value"]) for output in value["outputs"]]
    row["reasons"] = [(reason["input"], reason["contribution"]) for reason in value["reasons"]]
    row["defaulted"] = [(one["view"], one["reason"]) for one in value["defaulted"]]
    for name in ("cascade", "rollout"):
        row[name] = None if value[name] is None else tuple(value[name].values())
    return row


def prediction_by_entity_row(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of the table by entity; None for a prediction without an entity."""
    if value["entity"] is None:
        return None
    row = prediction_row(value) | {"slot": slot(value["event_time"])}
    return {name: row[name] for name in (*PREDICTION_BY_ENTITY_KEY, *_BY_ENTITY_ONLY)}


def slot(time_ms: int) -> int:
    """The ten minutes of a time, counted since 1970."""
    return time_ms // _SLOT_MS
