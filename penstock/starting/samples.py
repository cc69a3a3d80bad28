"""Reads what there is of events: a bounded number of rows of a file or a topic, or a schema of them."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any

import fastavro
from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.topics import admin_client, partition_counts
from penstock.playing.files import Row, has_lines, read_rows
from penstock.starting.columns import Table
from penstock.starting.enveloped import Opening, note_of
from penstock.starting.findings import Findings, Origin, findings_of
from penstock.starting.of_schema import findings_of_document, findings_of_file, findings_of_protobuf
from penstock.starting.strays import MOST_STRAYS, usual_of
from schemas.envelopes import CloudEvents, Debezium
from schemas.registry import compiled_file, registry_client

_ORIGINS: Mapping[str, Origin] = {".csv": "csv", ".parquet": "parquet", ".avro": "avro"}
_KEPT_ROWS = 1_000
_TIMEOUT_S = 10.0
_TOMBSTONE = "a tombstone"


@dataclass(frozen=True)
class Sample:
    """What there is of events.

    Attributes:
        findings: The columns.
        rows: The first rows, with their numbers.
        source: Where they are from, as a person names it.
        partitions: How many partitions the topic has, if it is one.
        unreadable: Why rows could not be read.
        strays: Why rows lack what nearly all others have; the columns are without them.
        unit: What the numbers of rows count.
    """

    findings: Findings
    source: str
    rows: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    partitions: int | None = None
    unreadable: tuple[str, ...] = ()
    unit: str = "row"
    strays: tuple[str, ...] = ()


def sample_of_file(path: Path, most: int, time: str | None = None) -> Sample:
    """The first rows of a file.

    Args:
        path: The file.
        most: How many rows at most.
        time: The column that is to be the event time, if one is named.

    Raises:
        PenstockError: if it cannot be read, or has no row.
    """
    origin = _ORIGINS.get(path.suffix.lower(), "json")
    unit = "line" if has_lines(path) else "row"
    try:
        return _sample(islice(read_rows(path), most), origin, path.name, str(path), unit, time=time)
    except PenstockError as error:
        error.safe = "nothing was written"
        raise


def sample_of_topic(
    topic: str, kafka: KafkaAccess, registry_url: str | None, most: int, time: str | None = None
) -> Sample:
    """The newest records of a topic: JSON, or Avro with a schema of the registry.

    Args:
        topic: The topic.
        kafka: How to reach Kafka.
        registry_url: The registry, if there is one.
        most: How many records at most.
        time: The column that is to be the event time, if one is named.

    Raises:
        PenstockError: if there is no such topic, it cannot be read, or has no record.
    """
    existing = partition_counts(admin_client(kafka), kafka)
    if topic not in existing:
        raise PenstockError(
            f"there is no topic {topic}",
            where=str(kafka),
            safe="nothing was written",
            next="name one that exists; or begin with a file (--file) or a schema (--schema)",
        )
    start = _newest(topic, kafka, existing[topic], most)
    read = _Values(registry_url, topic)
    rows = (read.row(number, record) for number, record in enumerate(read_topic(kafka, topic, start=start), 1))
    sample = _sample(rows, "json", f"topic {topic}", f"{topic} at {kafka}", "record", read, time=time)
    return replace(sample, partitions=existing[topic])


def sample_of_schema(path: Path, message: str | None = None) -> Sample:
    """A schema in a file, by :func:`penstock.starting.of_schema.findings_of_file`."""
    return Sample(findings_of_file(path, message), path.name)


def sample_of_subject(subject: str, registry_url: str | None, message: str | None = None) -> Sample:
    """The newest schema of a subject of the registry.

    Raises:
        PenstockError: if no registry is configured or answers, there is no such subject, or its schema cannot be read.
    """
    if registry_url is None:
        raise PenstockError(
            "no schema registry is configured",
            where="PENSTOCK_SCHEMA_REGISTRY_URL",
            safe="nothing was written",
            next="export PENSTOCK_SCHEMA_REGISTRY_URL=http://HOST:PORT, then the same command",
        )
    client = registry_client(registry_url)
    try:
        registered = client.get_latest_version(subject)
        schema = registered.schema
    except Exception as error:
        raise PenstockError(
            f"the registry gives no schema of subject {subject} ({type(error).__name__}: {error})",
            where=registry_url,
            safe="nothing was written",
            next="name a subject that it has, such as TOPIC-value",
        ) from error
    if schema.schema_type == "PROTOBUF":
        content = compiled_file(registry_url, registered.schema_id)
        return Sample(findings_of_protobuf(content, message, subject), f"subject {subject}")
    if schema.schema_type not in ("AVRO", "JSON") or schema.references:
        what = "refers to other schemas" if schema.references else f"is {schema.schema_type}"
        raise PenstockError(
            f"the schema of subject {subject} {what}, which is not read",
            where=registry_url,
            safe="nothing was written",
            next="begin with the topic (--topic) or a file of events (--file)",
        )
    return Sample(findings_of_document(json.loads(schema.schema_str), subject), f"subject {subject}")


def _sample(
    rows: Iterable[Row],
    origin: Origin,
    source: str,
    where: str,
    unit: str,
    values: _Values | None = None,
    *,
    time: str | None,
) -> Sample:
    place_of = None if values is None else values.place
    unreadable: list[str] = []
    with tempfile.TemporaryFile() as kept:  # rows of any number and size, for a second look
        seen = _Seen(origin, unit, place_of)
        for row in rows:
            if row.problem is not None:
                unreadable.append(f"{seen.table.place(row.number)}: {row.problem}")
                continue
            seen.add(row.number, row.fields)
            _keep(row, kept)
        if not seen.table.rows:
            raise PenstockError(
                f"there is no {unit} with an event" + (f": {unreadable[0]}" if unreadable else ""),
                where=where,
                safe="nothing was written",
                next="name a file or a topic with events; or begin with their Avro schema (--schema, --subject)",
            )
        seen, strays = _without_strays(seen, kept, time)
    if values is not None and values.is_avro:
        origin = "avro"
    if (envelope := seen.envelope) is None:
        return Sample(findings_of(seen.table, origin), source, seen.kept(), None, tuple(unreadable), unit, strays)
    findings = findings_of(seen.opened, origin)
    findings = replace(findings, notes=(*findings.notes, note_of(envelope)), envelope=envelope)
    if isinstance(envelope, Debezium):
        unreadable = [problem for problem in unreadable if not problem.endswith(_TOMBSTONE)]
    return Sample(findings, source, seen.kept(), None, tuple(unreadable), unit, strays)


def _keep(row: Row, rows: IO[bytes]) -> None:
    try:
        pickle.dump((row.number, row.fields), rows, pickle.HIGHEST_PROTOCOL)
    except OSError as error:
        raise PenstockError(
            f"the sample cannot be kept in a temporary file: {error}",
            where=tempfile.gettempdir(),
            safe="nothing was written",
            next="make room there, name another folder in TMPDIR, or look at fewer rows (--sample)",
        ) from error


class _Seen:
    """What was seen of rows, as they are and out of their envelopes."""

    def __init__(self, origin: Origin, unit: str, place_of: Callable[[int], str] | None) -> None:
        self.table = Table(is_text=origin == "csv", unit=unit, place_of=place_of)
        self.opened = Table(unit=unit, place_of=place_of)
        self.opening = Opening()
        self._given = origin, unit, place_of
        self._rows: list[tuple[int, Mapping[str, Any]]] = []
        self._events: list[tuple[int, Mapping[str, Any]]] = []

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        self.table.add(fields, number)
        if len(self._rows) < _KEPT_ROWS:
            self._rows.append((number, fields))
        if (event := self.opening.event(fields)) is not None:
            self.opened.add(event, number)
            if len(self._events) < _KEPT_ROWS:
                self._events.append((number, event))

    @property
    def envelope(self) -> Debezium | CloudEvents | None:
        return None if self.table.is_text else self.opening.envelope

    def kept(self) -> tuple[tuple[int, Mapping[str, Any]], ...]:
        """The first events."""
        return tuple(self._rows if self.envelope is None else self._events)

    def again(self) -> _Seen:
        """Nothing seen yet, of the same kind."""
        return _Seen(*self._given)


def _without_strays(seen: _Seen, rows: IO[bytes], time: str | None) -> tuple[_Seen, tuple[str, ...]]:
    """What was seen without the few rows that lack what nearly all others have, and why each is one of them."""
    kind = None if seen.envelope is None else seen.opening.usual
    usual = usual_of(seen.table if kind is None else seen.opened, time)
    if usual is None and (kind is None or seen.opening.others == 0):
        return seen, ()
    rest, strays = seen.again(), list[str]()
    rows.seek(0)
    for _ in range(seen.table.rows):
        number, fields = pickle.load(rows)  # noqa: S301 - written above
        opening = Opening()
        event = opening.event(fields)
        if kind is not None and opening.kind != kind:
            reason: str | None = "it is not in the envelope of nearly all others"
        else:
            event = fields if kind is None else event
            reason = None if usual is None or event is None else usual.lacks(event)
        if reason is None:
            rest.add(number, fields)
        else:
            strays.append(f"{seen.table.place(number)}: {reason}")
    few = len(strays) <= MOST_STRAYS * seen.table.rows
    return (rest, tuple(strays)) if few else (seen, ())


class _Values:
    """Reads the values of records."""

    def __init__(self, registry_url: str | None, topic: str = "") -> None:
        self.is_avro = False
        self._topic = topic
        self._places: dict[int, tuple[int, int]] = {}
        self._url = registry_url
        self._schemas: dict[int, Any] = {}

    def row(self, number: int, record: Record) -> Row:
        """A record's fields; those of a CloudEvent in binary mode as structured mode has them."""
        self._places[number] = record.partition, record.offset
        headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
        if "ce_specversion" not in headers:
            return self._row(number, record.value)
        attributes = {name[3:]: text for name, text in headers.items() if name.startswith("ce_")}
        row = Row(number, {}) if record.value is None else self._row(number, record.value)
        return row if row.problem else Row(number, {**attributes, "data": row.fields})

    def place(self, number: int) -> str:
        """Where a record is."""
        partition, offset = self._places[number]
        return f"{self._topic}[{partition}]@{offset}"

    def _row(self, number: int, value: bytes | None) -> Row:
        if value is None:
            return Row(number, {}, _TOMBSTONE)
        if value[:2] == b"\xc3\x01":
            return Row(number, {}, "Avro with the fingerprint of its schema: begin with the schema (--schema)")
        if value[:1] == b"\0":
            return self._avro(number, value)
        return self._json(number, value)

    @staticmethod
    def _json(number: int, value: bytes) -> Row:
        try:
            fields = json.loads(value)
        except (ValueError, RecursionError):
            return Row(number, {}, "neither JSON nor Avro")
        return Row(number, fields) if isinstance(fields, dict) else Row(number, {}, "not a JSON object")

    def _avro(self, number: int, value: bytes) -> Row:
        if self._url is None:
            return Row(number, {}, "Avro of a registry: set PENSTOCK_SCHEMA_REGISTRY_URL")
        id_ = int.from_bytes(value[1:5], "big")
        try:
            if id_ not in self._schemas:
                schema = registry_client(self._url).get_schema(id_)
                is_json = schema.schema_type == "JSON"
                self._schemas[id_] = None if is_json else fastavro.parse_schema(json.loads(schema.schema_str))
            if self._schemas[id_] is None:
                return self._json(number, value[5:])
            fields = fastavro.schemaless_reader(BytesIO(value[5:]), self._schemas[id_], None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not read
            return Row(number, {}, f"Avro that cannot be read ({type(error).__name__})")
        self.is_avro = True
        return Row(number, fields) if isinstance(fields, dict) else Row(number, {}, "not an Avro record")


def _newest(topic: str, kafka: KafkaAccess, partitions: int, most: int) -> dict[int, int]:
    """The offsets from which each partition has its share of the newest records."""
    consumer = Consumer({**kafka.client(), "group.id": "penstock-init", "enable.auto.commit": False})
    found = {}
    try:
        for partition in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
            found[partition] = max(low, high - max(1, most // partitions))
    except KafkaException as error:
        raise PenstockError(f"topic {topic} cannot be read: {error.args[0].str()}", where=str(kafka)) from error
    finally:
        consumer.close()
    return found


def unreadable_note(sample: Sample) -> str | None:
    """What to say of rows that could not be read."""
    if not sample.unreadable:
        return None
    return f"{counted(len(sample.unreadable), 'row')} could not be read and would be refused: {sample.unreadable[0]}"


def strays_note(sample: Sample) -> str | None:
    """What to say of rows that lack what nearly all others have."""
    if not sample.strays:
        return None
    return (
        f"{counted(len(sample.strays), 'row')} unlike nearly all others left out of what is inferred, and would be "
        f"refused: {sample.strays[0]}"
    )
