"""Cassandra, the history: every emitted vector and every prediction, written by concurrent inserts.

:mod:`sinks.cassandra_tables` defines the tables and their rows, :mod:`sinks.cassandra_requests` what a request holds.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Annotated, Any

from cassandra import DriverException, InvalidRequest, Unauthorized
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement
from pydantic import AfterValidator, BeforeValidator, Field

from penstock.cassandra_client import connect_cassandra
from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from schemas.columns import Columns, Mask
from schemas.history import record_decoder
from sinks.cassandra_expiry import check_expiry, last_expiry_s
from sinks.cassandra_requests import InFlight, Write, group_into_batches
from sinks.cassandra_rows import HistoryFormat, Row, RowFormat
from sinks.cassandra_tables import (
    FEATURES,
    Table,
    history_row,
    history_table,
    prediction_by_entity_table,
    prediction_row,
    prediction_table,
)
from sinks.emitted_vectors import EmittedVector
from sinks.feature_batches import FeatureBatches
from sinks.store_interface import (
    NO_MARKS,
    EnvironmentVariable,
    OffsetMark,
    StoreOptions,
    StoreType,
    StoreUnavailable,
    decode_each,
)
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import Duration, duration_ms, duration_text
from streams.plan.model import ViewPlan
from streams.plan.project import Project

# Enough to keep a small cluster busy between a request's answer and the next request.
_MAX_REQUESTS_IN_FLIGHT = 64
# The driver fails a request whose connection has more to send than its socket takes.
_MAX_BYTES_IN_FLIGHT = 4 * 2**20
# Cassandra's limit; it counts in seconds.
_LONGEST_TTL_MS = 630_720_000_000
_DRIVER_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage)


class CassandraStore:
    """The store of ``penstock sink run cassandra``: feature history and prediction log of a pipeline.

    Args:
        project: The pipeline.
        settings: How to reach Cassandra, and the keyspace.
        options: For the keyspace and the tables, if they have to be created.
        now_s: Gives the wall clock, in epoch seconds.
        creates: Whether it creates what is missing; else it refuses to open.

    Attributes:
        place: Where the rows go: address and keyspace.
    """

    name = "cassandra"

    def __init__(
        self,
        project: Project,
        settings: Settings,
        options: CassandraOptions,
        *,
        now_s: Callable[[], float],
        creates: bool = True,
    ) -> None:
        plan = self._plan = project.plan
        self.topics = _topics(project.pipeline)
        self._reference = project.reference
        self._now_s = now_s
        self._creates = creates
        self._settings = settings.cassandra
        self._keyspace = self._settings.keyspace
        self._address = f"{','.join(self._settings.contact_points)}:{self._settings.port}"
        self.place = f"{self._address} {self._keyspace}"
        self._replication = options.replication
        history_ttl_s, prediction_ttl_s = options.history_ttl // 1000, options.prediction_ttl // 1000
        self._history = {view.id: history_table(plan, view, history_ttl_s) for view in plan.views}
        self._predictions = prediction_table(project.name, prediction_ttl_s)
        self._by_entity = prediction_by_entity_table(project.name, prediction_ttl_s)
        self._tables = (*self._history.values(), self._predictions, self._by_entity)
        self._formats = {view.id: HistoryFormat(self._history[view.id], view) for view in plan.views}
        self._features = FeatureBatches(plan, project.features_decoder(), self._of_columns, self.row_of)
        self._prediction_formats = RowFormat(self._predictions), RowFormat(self._by_entity)
        self._prediction_decoder = record_decoder("prediction")
        self._in_flight = InFlight(_MAX_REQUESTS_IN_FLIGHT, _MAX_BYTES_IN_FLIGHT)
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._statements: dict[str, PreparedStatement] = {}
        self._has_changed = False

    def open(self) -> None:
        """Connect, create the keyspace and tables that are missing, and prepare the statements.

        Raises:
            PenstockError: if a table is missing and this store creates none; if one holds the history of another
                definition of the same version, or was made by another release; or if its rows live for longer than
                Cassandra can count.
        """
        self.close()
        self._cluster = connect_cassandra(self._settings)
        try:
            session = self._cluster.connect()
            if not self._creates:
                self._require_tables(self._cluster)
            self._create_missing(session)
            self._statements = {t.name: session.prepare(t.insert_statement(self._keyspace)) for t in self._tables}
            self._session = session
        except _DRIVER_ERRORS as error:
            self.close()
            raise self._unavailable(error) from error

    def decode(self, topic: str, values: Sequence[bytes]) -> list[list[Row] | Undecodable | UnknownSchema]:
        """The rows of feature records or predictions."""
        if topic == self._plan.features_topic:
            return self._features.decode(values)
        return decode_each(self._of_prediction, values)

    def row_of(self, vector: EmittedVector) -> Row:
        """The row of a vector in the history of its view.

        Raises:
            Undecodable: if Cassandra cannot hold it.
        """
        return self._formats[vector.view.id].row(history_row(vector))

    def write(
        self,
        records: Sequence[Sequence[Row]],
        marks: Mapping[Partition, OffsetMark] = NO_MARKS,  # noqa: ARG002 - Cassandra keeps what it acknowledged
    ) -> Future[Mapping[Partition, int]]:
        """Write all rows; a row that exists is overwritten with the same values."""
        if self._session is None or self._has_changed:
            self.open()
        assert self._session is not None
        try:
            requests = self._requests(self._session, itertools.chain.from_iterable(records))
        except _DRIVER_ERRORS as error:
            raise self._unavailable(error) from error
        write = Write(self._failure)
        for request, size in requests:
            if write.has_failed:
                break
            self._in_flight.enter(size)
            write.begin()
            self._send(self._session, request, size, write)
        write.end()
        return write.done

    def close(self) -> None:
        """Disconnect."""
        if self._cluster is not None:
            self._cluster.shutdown()
        self._cluster = self._session = None
        self._has_changed = False

    def _of_columns(self, view: ViewPlan, columns: Columns) -> tuple[list[Row], Mask]:
        return self._formats[view.id].of_columns(columns)

    def _of_prediction(self, value: bytes) -> list[Row]:
        row = prediction_row(self._prediction_decoder.decode(value))
        full, by_entity = self._prediction_formats
        return [full.row(row)] if row["entity"] is None else [full.row(row), by_entity.row(row)]

    def _create_missing(self, session: Session) -> None:
        keyspace = self._keyspace
        cluster: Cluster = session.cluster
        if keyspace not in cluster.metadata.keyspaces:
            replication = json.dumps(self._replication).replace('"', "'")
            session.execute(f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = {replication}')
            cluster.refresh_keyspace_metadata(keyspace)
        self._check_times_to_live(session)
        histories = tuple(self._history.values())
        for table in histories:
            session.execute(table.create_type_statement(keyspace))
        cluster.refresh_keyspace_metadata(keyspace)
        types = cluster.metadata.keyspaces[keyspace].user_types
        for table in histories:
            fields = dict(zip(types[table.name].field_names, types[table.name].field_types, strict=True))
            if fields != table.features:
                raise self._of_another_definition(table, f"the type's fields are {fields}, not {dict(table.features)}")
        for table in self._tables:
            session.execute(table.create_statement(keyspace))
        cluster.refresh_keyspace_metadata(keyspace)
        existing = cluster.metadata.keyspaces[keyspace].tables
        for table in self._tables:
            found = existing[table.name]
            keys = tuple(column.name for column in (*found.partition_key, *found.clustering_key))
            if keys != table.key:
                raise self._of_another_release(table, f"the keys {', '.join(keys)}, not {', '.join(table.key)}")
            if table in histories and FEATURES not in found.columns:
                raise self._of_another_release(table, f"a column for each feature, not the column {FEATURES}")
            if found.options["comment"] != table.comment:
                comment = f"its comment is {found.options['comment']!r}, not {table.comment!r}"
                raise self._of_another_definition(table, comment)
            for name, kind in table.columns.items():
                if name not in found.columns:
                    session.execute(f'ALTER TABLE "{keyspace}"."{table.name}" ADD IF NOT EXISTS "{name}" {kind}')

    def _require_tables(self, cluster: Cluster) -> None:
        found = cluster.metadata.keyspaces.get(self._keyspace)
        for table in self._tables:
            if found is None or table.name not in found.tables:
                raise PenstockError(
                    f"Cassandra has no table {self._keyspace}.{table.name}",
                    where=self._address,
                    safe="nothing was written",
                    next=f"penstock sink run cassandra {self._reference}, which creates it with its time to live; then "
                    "the same command again",
                )

    def _of_another_release(self, table: Table, what: str) -> PenstockError:
        where = f"{self._keyspace}.{table.name}"
        return PenstockError(
            f"the table was made by another release: it has {what}",
            where=where,
            safe="nothing was written",
            next=f"cqlsh -e \"COPY {where} TO 'old.csv'\" if older rows than the topic's are needed; then "
            f"DROP TABLE {where}; and penstock sink rewind cassandra {self._reference}, which makes the next start "
            "write again what the topics hold",
        )

    def _of_another_definition(self, table: Table, what: str) -> PenstockError:
        where = f"{self._keyspace}.{table.name}"
        drop = f"DROP TABLE IF EXISTS {where}" + (f"; DROP TYPE {where}" if table.features else "")
        return PenstockError(
            f"the table holds another definition under the same version: {what}",
            where=where,
            safe="nothing was written",
            next=f'give the view a new version, or, if nobody needs it: cqlsh -e "{drop}"; and penstock sink rewind '
            f"cassandra {self._reference}, which makes the next start write what the topics still hold",
        )

    def _check_times_to_live(self, session: Session) -> None:
        """Check those of the tables as they are, or as they would be created."""
        last_s, now_s = last_expiry_s(_compatibility(session)), int(self._now_s())
        existing = session.cluster.metadata.keyspaces[self._keyspace].tables
        for table in self._tables:
            ttl_s, where = table.ttl_s, f"{self._keyspace}.{table.name}"
            option = "prediction" if table in (self._predictions, self._by_entity) else "history"
            remedy = f"penstock sink run cassandra {self._reference} --{option}-ttl {{days}}d"
            if table.name in existing:
                ttl_s = existing[table.name].options["default_time_to_live"]
                remedy = f'cqlsh -e "ALTER TABLE {where} WITH default_time_to_live = {{seconds}}"'
            check_expiry(ttl_s, last_s, now_s, where, remedy)

    def _requests(self, session: Session, rows: Iterable[Row]) -> list[tuple[Any, int]]:
        """The requests that write the rows, and the size of each."""

        def replicas_of(key: bytes) -> Hashable:
            return frozenset(session.cluster.metadata.get_replicas(self._keyspace, key))

        groups = group_into_batches(rows, replicas_of)
        return [(self._request(group), size) for group, size in groups]

    def _request(self, rows: list[Row]) -> Any:
        statements = [self._bound(row) for row in rows]
        if len(statements) == 1:
            return statements[0]
        batch = BatchStatement(BatchType.UNLOGGED)
        for statement in statements:
            batch.add(statement)
        return batch

    def _bound(self, row: Row) -> BoundStatement:
        # Not by `bind`, which would serialise the values.
        statement = BoundStatement(self._statements[row.table], routing_key=row.key)
        statement.values = row.values
        return statement

    def _send(self, session: Session, request: Any, size: int, write: Write) -> None:
        def done(error: Exception | None = None) -> None:
            self._in_flight.leave(size)
            write.end(error)

        try:
            session.execute_async(request).add_callbacks(lambda _: done(), done)
        except _DRIVER_ERRORS as error:
            done(error)

    def _failure(self, error: Exception) -> Exception:
        """What a write ends with, after this error of a request."""
        # Values were checked by `decode`, so the tables have changed meanwhile: the next attempt opens anew.
        self._has_changed |= isinstance(error, InvalidRequest)
        return self._unavailable(error) if isinstance(error, _DRIVER_ERRORS) else error

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"Cassandra does not take writes: {type(error).__name__}: {error}",
            where=self._address,
            safe="features and predictions stay in their topics and are tried again",
            next="penstock status, or set PENSTOCK_CASSANDRA_CONTACT_POINTS and PENSTOCK_CASSANDRA_PORT",
        )


def _compatibility(session: Session) -> str | None:
    """Cassandra's ``storage_compatibility_mode``; None if it has none (before 5.0) or does not tell it."""
    try:
        row = session.execute("SELECT value FROM system_views.settings WHERE name = 'storage_compatibility_mode'").one()
    except (InvalidRequest, Unauthorized):
        return None
    return None if row is None else str(row[0])


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


def existing_store(project: Project, settings: Settings) -> CassandraStore:
    """The store as a sink has created it: what is missing is an error, and never created with other options."""
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    return CassandraStore(project, settings, CassandraOptions(), now_s=time.time, creates=False)


def _create(project: Project, settings: Settings, options: CassandraOptions) -> CassandraStore:
    # The driver logs every lost connection; the sink logs each outage once.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    return CassandraStore(project, settings, options, now_s=time.time)


STORE = StoreType(
    name=CassandraStore.name,
    summary="Keep the history of all vectors, and the log of all predictions, in Cassandra.",
    options=CassandraOptions,
    topics=_topics,
    create=_create,
    # Nobody waits for the history, and an event costs Cassandra and Kafka less in a larger batch.
    wait_ms=100,
)
