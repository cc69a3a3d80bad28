"""The tables of the history store and their rows, derived from the plan and the prediction schema.

Pure text and data: this module connects to nothing.

Feature history, one table per view version: ``features_<pipeline>_<view>_v<version>``. A row is one emitted vector and
never changes. ``attempt`` is part of its key: what a restored job emits again is a row beside the first one, and
:func:`latest_attempts` selects the one that counts. The features of a row are one column, ``features``, of a type with
a field for each of them, named as the table: a vector is written and read whole, and a server's work grows with the
columns that a row has.

Predictions, by event: ``predictions_<pipeline>``. By entity, for browsing: ``predictions_<pipeline>_by_entity``.

Where an entity is the key, a partition holds ten minutes of it (:func:`slot_of`), so that a busy entity's partitions
stay small. Cassandra's guideline is 100 MB. A row of thirty numeric features has about 400 bytes, so the guideline
allows 440 rows a second of one entity; whole days would allow 3, hours 70. Readers compute the slots of the times that
they want.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.codec import Undecodable
from schemas.records import PREDICTION_SCHEMA, VIEW_FIELD_NAMES, VIEW_FIELDS, feature_envelope
from sinks.emitted_vectors import EmittedVector
from streams.plan.feature_records import view_schema
from streams.plan.model import PipelinePlan, ViewPlan

SLOT_MS = 600_000
FEATURES = "features"
"""The column that holds the features of a row."""
# Cassandra's limit for a key is 65535 bytes, including the slot and the lengths.
_MAX_KEY_BYTES = 65_000
_CQL = {"string": "text", "int": "int", "long": "bigint", "double": "double", "boolean": "boolean", "bytes": "blob"}

# The fields of a feature record's envelope that a row of the history keeps.
_HISTORY_ENVELOPE = ("attempt", "event_id")
# The position of a prediction's raw event: it distinguishes predictions with the same event id.
_SOURCE_POSITION = ("source_partition", "source_offset")

Row = TypeVar("Row", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Table:
    """A table: columns in the order of its INSERT, keys, time to live of its rows, and a comment with its origin.

    ``features`` are the fields of its column of that name; a table without this column has none.
    """

    name: str
    columns: Mapping[str, str]
    partition: tuple[str, ...]
    clustering: tuple[tuple[str, str], ...]
    ttl_s: int
    comment: str
    features: Mapping[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of its primary key."""
        return (*self.partition, *(name for name, _ in self.clustering))

    def create_type_statement(self, keyspace: str) -> str:
        """The CREATE TYPE statement of the column ``features``."""
        fields = ", ".join(f'"{name}" {kind}' for name, kind in self.features.items())
        return f'CREATE TYPE IF NOT EXISTS "{keyspace}"."{self.name}" ({fields})'

    def create_statement(self, keyspace: str) -> str:
        """The CREATE TABLE statement; a row lives for about thirty compaction windows."""
        columns = ", ".join(f'"{name}" {kind}' for name, kind in self.columns.items())
        key = ", ".join([f"({_quoted(self.partition)})", *(f'"{name}"' for name, _ in self.clustering)])
        order = ", ".join(f'"{name}" {direction}' for name, direction in self.clustering)
        days = max(1, self.ttl_s // 86_400 // 30)
        return (
            f'CREATE TABLE IF NOT EXISTS "{keyspace}"."{self.name}" ({columns}, PRIMARY KEY ({key})) '
            f"WITH CLUSTERING ORDER BY ({order}) AND comment = '{self.comment}' "
            f"AND default_time_to_live = {self.ttl_s} "
            "AND compaction = {'class': 'TimeWindowCompactionStrategy', "
            f"'compaction_window_unit': 'DAYS', 'compaction_window_size': '{days}'}}"
        )

    def insert_statement(self, keyspace: str) -> str:
        """The INSERT statement to prepare, one marker per column."""
        markers = ", ".join("?" * len(self.columns))
        return f'INSERT INTO "{keyspace}"."{self.name}" ({_quoted(self.columns)}) VALUES ({markers})'  # noqa: S608 - names of the plan


def history_table(plan: PipelinePlan, view: ViewPlan, ttl_s: int) -> Table:
    """The table of a view version; its comment carries the view's hash."""
    name = f"features_{plan.pipeline}_{view.name}_v{view.version}"
    envelope = [field for field in feature_envelope([]) if field["name"] in _HISTORY_ENVELOPE]
    features = view_schema(view)["fields"][len(VIEW_FIELDS) :]
    return Table(
        name=name,
        columns={
            "slot": "bigint",
            **{field["name"]: _cql(field["type"]) for field in (*VIEW_FIELDS, *envelope)},
            FEATURES: f'frozen<"{name}">',
        },
        partition=("entity", "slot"),
        clustering=(("as_of", "DESC"), ("epoch", "DESC"), ("seq", "DESC"), ("attempt", "DESC")),
        ttl_s=ttl_s,
        comment=f"penstock {plan.pipeline} {view.id} {view.hash}",
        features={feature["name"]: _cql(feature["type"]) for feature in features},
    )


def prediction_table(pipeline: str, ttl_s: int) -> Table:
    """The prediction log, by event id and source position: an id may come again past its horizon."""
    columns: dict[str, str] = {}
    for field in PREDICTION_SCHEMA["fields"]:
        kind = field["type"]
        if isinstance(kind, dict) and kind["type"] == "record":
            columns |= {f"{field['name']}_{inner['name']}": _cql(inner["type"]) for inner in kind["fields"]}
        else:
            columns[field["name"]] = _cql(kind)
    return Table(
        name=f"predictions_{pipeline}",
        columns=columns,
        partition=("event_id",),
        clustering=tuple((name, "ASC") for name in _SOURCE_POSITION),
        ttl_s=ttl_s,
        comment=f"penstock {pipeline} predictions",
        features={},
    )


def prediction_by_entity_table(pipeline: str, ttl_s: int) -> Table:
    """An entity's predictions, newest first; the event id leads to the full row."""
    names = ("event_time", "event_id", *_SOURCE_POSITION, "score", "decision", "model", "model_version")
    full = prediction_table(pipeline, ttl_s)
    return Table(
        name=f"predictions_{pipeline}_by_entity",
        columns={"entity": "text", "slot": "bigint", **{name: full.columns[name] for name in names}},
        partition=("entity", "slot"),
        clustering=(("event_time", "DESC"), *((name, "ASC") for name in ("event_id", *_SOURCE_POSITION))),
        ttl_s=ttl_s,
        comment=f"penstock {pipeline} predictions by entity",
        features={},
    )


def history_row(vector: EmittedVector) -> dict[str, Any]:
    """The vector as columns of its view's table.

    Raises:
        Undecodable: if the entity is longer than a key can be.
    """
    _check_key("entity", vector.entity)
    record = vector.record
    envelope = {name: record[name] for name in VIEW_FIELD_NAMES}
    features = {name: value for name, value in record.items() if name not in envelope}
    of_event = {"attempt": vector.attempt, "event_id": vector.event_id}
    return {**envelope, "slot": slot_of(record["as_of"]), **of_event, FEATURES: features}


def prediction_row(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction as columns of both tables (each takes those it has).

    Raises:
        Undecodable: if event id or entity cannot be a key.
    """
    if not prediction["event_id"]:
        raise Undecodable("event_id: Cassandra takes no empty key")
    _check_key("event_id", prediction["event_id"])
    _check_key("entity", prediction["entity"] or "")
    row: dict[str, Any] = {"slot": slot_of(prediction["event_time"])}
    for name, value in prediction.items():
        if name == "source":
            row |= {f"source_{inner}": inner_value for inner, inner_value in value.items()}
        elif isinstance(value, dict):
            row[name] = tuple(value.values())
        elif isinstance(value, list):
            row[name] = [tuple(item.values()) for item in value]
        else:
            row[name] = value
    return row


def latest_attempts(rows: Iterable[Row]) -> list[Row]:
    """Of the rows of one entity, those that count: of each emitted vector the latest attempt, in the given order.

    The (epoch, seq) identifies an event's vector. A timer's vector, which has no event id, is identified by its
    ``as_of`` as well, and does not count if a later attempt emitted the event again. An attempt can emit the same
    (epoch, seq) with another ``as_of``, so pass the rows of the neighbouring slots, too.

    A row of a backfill, whose epoch is negative, counts only if there is none of its event with a greater epoch: what
    was served counts first.
    """
    kept: dict[tuple[int, int, int | None], Row] = {}
    for row in rows:
        key = row["epoch"], row["seq"], None if row["event_id"] else row["as_of"]
        if key not in kept or row["attempt"] > kept[key]["attempt"]:
            kept.pop(key, None)
            kept[key] = row
    events = {key[:2]: row["attempt"] for key, row in kept.items() if key[2] is None}
    counted = [row for key, row in kept.items() if key[2] is None or row["attempt"] >= events.get(key[:2], 0)]
    newest: dict[str, int] = {}
    for row in counted:
        newest[row["event_id"]] = max(row["epoch"], newest.get(row["event_id"], row["epoch"]))
    return [row for row in counted if row["epoch"] >= 0 or row["epoch"] == newest[row["event_id"]]]


def slot_of(time_ms: int) -> int:
    """The ten minutes that a time lies in, counted since 1970: the time divided by 600,000, rounded down."""
    return time_ms // SLOT_MS


def _cql(avro: Any) -> str:
    if isinstance(avro, list):
        return _cql(next(branch for branch in avro if branch != "null"))
    if isinstance(avro, dict) and isinstance(avro.get("items"), str):
        # Frozen: a list that is not frozen stores an empty list as null.
        return f"frozen<list<{_CQL[avro['items']]}>>"
    if isinstance(avro, dict):
        is_list = "items" in avro
        fields = ", ".join(_cql(field["type"]) for field in (avro["items"] if is_list else avro)["fields"])
        return f"frozen<list<tuple<{fields}>>>" if is_list else f"frozen<tuple<{fields}>>"
    return _CQL[avro]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _check_key(field: str, value: str) -> None:
    if len(value.encode()) > _MAX_KEY_BYTES:
        raise Undecodable(f"{field}: longer than the {_MAX_KEY_BYTES} bytes that a Cassandra key can have")
