"""Cassandra, the history: every emitted vector and every prediction, written by concurrent inserts.

Requests and bytes in flight are bounded. :mod:`sinks.cassandra_tables` defines the tables and their rows.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

from cassandra import DriverException, InvalidRequest
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage
from cassandra.query import (
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    BoundStatement,
    PreparedStatement,
)
from pydantic import AfterValidator, BeforeValidator, Field

from penstock.cassandra_client import connect_cassandra
from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from sinks.cassandra_tables import (
    Table,
    history_row,
    history_table,
    prediction_by_entity_table,
    prediction_row,
    prediction_table,
)
from sinks.emitted_vectors import emitted_vectors
from sinks.store_interface import (
    NO_MARKS,
    EnvironmentVariable,
    OffsetMark,
    StoreOptions,
    StoreType,
    StoreUnavailable,
    acknowledged,
    decode_each,
)
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import Duration, duration_ms, duration_text
from streams.plan.project import Project

# Enough to hide the round trip, few enough not to overload a small cluster.
_MAX_REQUESTS_IN_FLIGHT = 64
# The driver fails a request whose connection has more to send than its socket takes.
_MAX_BYTES_IN_FLIGHT = 4 * 2**20
# Rows with the same replicas share a request: fewer round trips than one request per row.
# The server warns of batches from 5 KiB on, and refuses them from 50 KiB on.
_MAX_BATCH_BYTES = 5_000
# A message of CQL, and so a row, has at most 16 MiB (native_transport_max_frame_size; commitlog_segment_size is twice
# that): Cassandra would refuse a longer row at every attempt. The rest is for the message around the row.
_MAX_ROW_BYTES = 16 * 2**20 - 64 * 1024
# A character has at most four bytes.
_LONGEST_CHARACTER = 4
# The size of a cell or a list element without its text: flags, lengths, and the value of a number.
_CELL_BYTES = 16
# Cassandra's limit; it counts in seconds.
_LONGEST_TTL_MS = 630_720_000_000
_DRIVER_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Insert:
    """A row for a table, and its approximate size in bytes."""

    table: str
    values: list[Any]
    size: int


class CassandraStore:
    """The store of ``penstock sink run cassandra``: feature history and prediction log of a pipeline.

    Args:
        project: The pipeline.
        settings: How to reach Cassandra, and the keyspace.
        options: For the keyspace and the tables, if they have to be created.
    """

    name = "cassandra"

    def __init__(self, project: Project, settings: Settings, options: CassandraOptions) -> None:
        plan = self._plan = project.plan
        self.topics = _topics(project.pipeline)
        self._reference = project.reference
        self._settings = settings.cassandra
        self._keyspace = self._settings.keyspace
        self._address = f"{','.join(self._settings.contact_points)}:{self._settings.port}"
        self._replication = options.replication
        history_ttl_s, prediction_ttl_s = options.history_ttl // 1000, options.prediction_ttl // 1000
        self._history = {view.id: history_table(plan, view, history_ttl_s) for view in plan.views}
        self._predictions = prediction_table(project.name, prediction_ttl_s)
        self._by_entity = prediction_by_entity_table(project.name, prediction_ttl_s)
        self._tables = (*self._history.values(), self._predictions, self._by_entity)
        self._decoders = dict(zip(self.topics, (project.features_decoder(), record_decoder("prediction")), strict=True))
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._statements: dict[str, PreparedStatement] = {}

    def open(self) -> None:
        """Connect, create the keyspace and tables that are missing, and prepare the statements.

        Raises:
            PenstockError: if a table holds the history of another definition of the same version, or has other keys.
        """
        self.close()
        self._cluster = connect_cassandra(self._settings)
        try:
            session = self._cluster.connect()
            self._create_missing(session)
            self._statements = {t.name: session.prepare(t.insert_statement(self._keyspace)) for t in self._tables}
            self._session = session
        except _DRIVER_ERRORS as error:
            self.close()
            raise self._unavailable(error) from error

    def decode(self, topic: str, values: Sequence[bytes]) -> list[list[Insert] | Undecodable | UnknownSchema]:
        """The rows of feature records or predictions."""
        return decode_each(partial(self._decode_one, topic), values)

    def _decode_one(self, topic: str, value: bytes) -> list[Insert]:
        record = self._decoders[topic].decode(value)
        if topic == self._plan.features_topic:
            return [
                _insert(self._history[vector.view.id], history_row(vector))
                for vector in emitted_vectors(self._plan, record)
            ]
        row = prediction_row(record)
        tables = [self._predictions] if row["entity"] is None else [self._predictions, self._by_entity]
        return [_insert(table, row) for table in tables]

    def write(
        self,
        records: Sequence[list[Insert]],
        marks: Mapping[Partition, OffsetMark] = NO_MARKS,  # noqa: ARG002 - Cassandra keeps what it acknowledged
    ) -> Future[Mapping[Partition, int]]:
        """Write all rows; a row that exists is overwritten with the same values."""
        if self._session is None:
            self.open()
        assert self._session is not None
        try:
            for part in split_by_size(itertools.chain.from_iterable(records), _MAX_BYTES_IN_FLIGHT):
                requests = [(request, None) for request in self._requests(self._session, part)]
                execute_concurrent(
                    self._session, requests, concurrency=_MAX_REQUESTS_IN_FLIGHT, raise_on_first_error=True
                )
        except _DRIVER_ERRORS as error:
            if isinstance(error, InvalidRequest):
                # Values were checked by `decode`, so the tables have changed meanwhile: the next attempt opens anew.
                self.close()
            raise self._unavailable(error) from error
        return acknowledged()

    def close(self) -> None:
        """Disconnect."""
        if self._cluster is not None:
            self._cluster.shutdown()
        self._cluster = self._session = None

    def _create_missing(self, session: Session) -> None:
        keyspace = self._keyspace
        cluster: Cluster = session.cluster
        if keyspace not in cluster.metadata.keyspaces:
            replication = json.dumps(self._replication).replace('"', "'")
            session.execute(f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = {replication}')
        for table in self._tables:
            session.execute(table.create_statement(keyspace))
        cluster.refresh_keyspace_metadata(keyspace)
        existing = cluster.metadata.keyspaces[keyspace].tables
        for table in self._tables:
            found = existing[table.name]
            keys = tuple(column.name for column in (*found.partition_key, *found.clustering_key))
            if keys != table.key:
                raise PenstockError(
                    f"the table has the keys of another release: {', '.join(keys)}, not {', '.join(table.key)}",
                    where=f"{keyspace}.{table.name}",
                    safe="nothing was written",
                    next=f"cqlsh -e \"COPY {keyspace}.{table.name} TO 'old.csv'\" if older rows than the topic's are "
                    f"needed; then DROP TABLE {keyspace}.{table.name}; and penstock sink rewind cassandra "
                    f"{self._reference}, which makes the next start write again what the topics hold",
                )
            if found.options["comment"] != table.comment:
                raise PenstockError(
                    f"the table holds another definition under the same version: {found.options['comment']!r}, "
                    f"not {table.comment!r}",
                    where=f"{keyspace}.{table.name}",
                    safe="nothing was written",
                    next=f"give the view a new version, or, if nobody needs it: DROP TABLE {keyspace}.{table.name}",
                )
            for name, kind in table.columns.items():
                if name not in found.columns:
                    session.execute(f'ALTER TABLE "{keyspace}"."{table.name}" ADD IF NOT EXISTS "{name}" {kind}')

    def _requests(self, session: Session, inserts: Iterable[Insert]) -> list[Any]:
        metadata = session.cluster.metadata
        rows = []
        for insert in inserts:
            bound = self._statements[insert.table].bind(insert.values)
            rows.append((frozenset(metadata.get_replicas(self._keyspace, bound.routing_key)), insert.size, bound))
        return [group[0] if len(group) == 1 else _batch(group) for group in group_into_batches(rows)]

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"Cassandra does not take writes: {type(error).__name__}: {error}",
            where=self._address,
            safe="features and predictions stay in their topics and are tried again",
            next="penstock status, or set PENSTOCK_CASSANDRA_CONTACT_POINTS and PENSTOCK_CASSANDRA_PORT",
        )


def split_by_size(inserts: Iterable[Insert], limit: int) -> Iterator[list[Insert]]:
    """The inserts in order, in lists of at most ``limit`` bytes; a larger insert gets a list of its own."""
    part: list[Insert] = []
    size = 0
    for insert in inserts:
        if part and size + insert.size > limit:
            yield part
            part, size = [], 0
        part.append(insert)
        size += insert.size
    if part:
        yield part


def group_into_batches(rows: Iterable[tuple[Hashable, int, Row]]) -> list[list[Row]]:
    """The rows of each key, in groups within the size limit of a batch; a larger row gets a group of its own.

    Args:
        rows: Key, size in bytes and the row itself.
    """
    groups: list[list[Row]] = []
    last: dict[Hashable, tuple[list[Row], int]] = {}
    for key, size, row in rows:
        group, total = last.get(key, ([], 0))
        if not group or total + size > _MAX_BATCH_BYTES:
            group, total = [], 0
            groups.append(group)
        group.append(row)
        last[key] = group, total + size
    return groups


def _batch(statements: Iterable[BoundStatement]) -> BatchStatement:
    batch = BatchStatement(BatchType.UNLOGGED)
    for statement in statements:
        batch.add(statement)
    return batch


def _insert(table: Table, row: Mapping[str, Any]) -> Insert:
    # A written null would be a tombstone; an unset column costs nothing. Rows never change, so no earlier value can
    # show through.
    values = [UNSET_VALUE if (value := row[name]) is None else value for name in table.columns]
    size = sum(map(_size, values))
    if size * _LONGEST_CHARACTER > _MAX_ROW_BYTES and sum(map(_encoded_size, values)) > _MAX_ROW_BYTES:
        raise Undecodable(f"a row of {table.name} is longer than the {_MAX_ROW_BYTES} bytes that Cassandra takes")
    return Insert(table.name, values, size)


def _encoded_size(value: Any) -> int:
    """The size in bytes; :func:`_size` counts characters, which is faster and enough to bound requests."""
    if isinstance(value, str):
        return _CELL_BYTES + len(value.encode())
    if isinstance(value, list | tuple):
        return _CELL_BYTES + sum(map(_encoded_size, value))
    return _size(value)


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return _CELL_BYTES + len(value)
    if isinstance(value, list | tuple):
        return _CELL_BYTES + sum(map(_size, value))
    return _CELL_BYTES


def _check_replication(value: object) -> object:
    # An apostrophe would end a text of the CQL statement.
    if not isinstance(value, dict) or "class" not in value or "'" in json.dumps(value):
        raise ValueError("a JSON object with a class, as Cassandra has it")
    return value


def _check_ttl(ms: int) -> int:
    if not 1_000 <= ms <= _LONGEST_TTL_MS:
        raise ValueError(f"{duration_text(ms)} is no time to live for Cassandra, which takes 1s to 7300d (20 years)")
    return ms


TimeToLive = Annotated[Duration, AfterValidator(_check_ttl)]


class CassandraOptions(StoreOptions):
    """The options of ``penstock sink run cassandra``."""

    replication: Annotated[
        dict[str, Any], BeforeValidator(_check_replication), EnvironmentVariable("PENSTOCK_CASSANDRA_REPLICATION")
    ] = Field(
        {"class": "SimpleStrategy", "replication_factor": 1},
        description="Replication of the keyspace as JSON, used if the keyspace has to be created.",
    )
    history_ttl: TimeToLive = Field(duration_ms("90d"), description="Life of feature rows, in tables it creates.")
    prediction_ttl: TimeToLive = Field(duration_ms("400d"), description="Life of predictions, likewise.")


def _topics(pipeline: Pipeline) -> tuple[str, ...]:
    return (pipeline.features_topic, pipeline.predictions_topic)


def _create(project: Project, settings: Settings, options: CassandraOptions) -> CassandraStore:
    # The driver logs every lost connection; the sink logs each outage once.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    return CassandraStore(project, settings, options)


STORE = StoreType(
    name=CassandraStore.name,
    summary="Keep the history of all vectors, and the log of all predictions, in Cassandra.",
    options=CassandraOptions,
    topics=_topics,
    create=_create,
)
