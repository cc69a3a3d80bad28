"""Cassandra, the history: every vector that was emitted and every prediction, written by bounded concurrent inserts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cassandra import ConsistencyLevel, DriverException, InvalidRequest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.protocol import ErrorMessage
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement
from cassandra.util import Date

from penstock.errors import PenstockError
from penstock.settings import Settings
from schemas.codec import Decoder
from schemas.records import PREDICTION_SCHEMA, features_schema
from sinks.cassandra_tables import (
    Table,
    history_row,
    history_table,
    prediction_by_entity_table,
    prediction_row,
    prediction_table,
)
from sinks.emissions import emissions
from sinks.runner import StoreUnavailable
from streams.definitions import Pipeline
from streams.plan import plan

# Requests under way at once: enough to hide the round trip, few enough not to overload a small cluster.
_CONCURRENCY = 64
# Rows of one partition go in one request; the server refuses requests of more than 16 MiB.
_BATCH_ROWS, _BATCH_BYTES = 64, 1024 * 1024
_REQUEST_TIMEOUT_S = 10.0
_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage)

Replication: TypeAlias = Mapping[str, str | int]
LOCAL_REPLICATION: Replication = {"class": "SimpleStrategy", "replication_factor": 1}


@dataclass(frozen=True, slots=True)
class Insert:
    """A row for a table; ``size`` is that of the record that it came from, in bytes."""

    table: str
    partition: tuple[Any, ...]
    values: tuple[Any, ...]
    size: int


class CassandraStore:
    """The store of ``penstock sink run cassandra``: feature history and prediction log of a pipeline.

    Args:
        pipeline: The pipeline.
        settings: Contact points, port and keyspace.
        replication: Of the keyspace, if it has to be created.
        history_ttl_s: How long feature rows live, in tables that have to be created.
        prediction_ttl_s: The same for predictions.
    """

    name = "cassandra"

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        *,
        replication: Replication,
        history_ttl_s: int,
        prediction_ttl_s: int,
    ) -> None:
        self.topics: tuple[str, ...] = (pipeline.features_topic, pipeline.predictions_topic)
        self._settings = settings
        self._replication = replication
        self._plan = plan(pipeline)
        self._history = {view.id: history_table(self._plan, view, history_ttl_s) for view in self._plan.views}
        self._predictions = prediction_table(pipeline.name, prediction_ttl_s)
        self._by_entity = prediction_by_entity_table(pipeline.name, prediction_ttl_s)
        self._decoders = dict(
            zip(self.topics, (Decoder(features_schema(self._plan)), Decoder(PREDICTION_SCHEMA)), strict=True)
        )
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._statements: dict[str, PreparedStatement] = {}

    def open(self) -> None:
        """Connect, create keyspace and tables that do not exist, prepare the statements.

        Raises:
            PenstockError: if a table holds the history of another definition under the same version.
        """
        self.close()
        self._cluster = connect(self._settings)
        try:
            session = self._cluster.connect()
            self._create(session)
            tables = (*self._history.values(), self._predictions, self._by_entity)
            self._statements = {t.name: session.prepare(t.insert(self._settings.cassandra_keyspace)) for t in tables}
            self._session = session
        except _ERRORS as error:
            self.close()
            raise self._unavailable(error) from error

    def read(self, topic: str, value: bytes) -> list[Insert]:
        """The rows of a feature record or a prediction."""
        record = self._decoders[topic].decode(value)
        if topic == self._plan.features_topic:
            return [
                _insert(self._history[emission.view.id], history_row(emission), len(value))
                for emission in emissions(self._plan, record)
            ]
        row = prediction_row(record)
        tables = [self._predictions] if row["entity"] is None else [self._predictions, self._by_entity]
        return [_insert(table, row, len(value)) for table in tables]

    def write(self, items: Sequence[list[Insert]]) -> None:
        """Write all rows; a row that is there already is written over with the same values."""
        if self._session is None:
            self.open()
        assert self._session is not None
        statements = [self._statement(group) for group in grouped(itertools.chain.from_iterable(items))]
        try:
            execute_concurrent(
                self._session, [(s, None) for s in statements], concurrency=_CONCURRENCY, raise_on_first_error=True
            )
        except _ERRORS as error:
            if isinstance(error, InvalidRequest):
                # No row is refused for its values (they were checked when read), so the tables have changed under us.
                self.close()
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Disconnect."""
        if self._cluster is not None:
            self._cluster.shutdown()
        self._cluster = self._session = None

    def _create(self, session: Session) -> None:
        keyspace = self._settings.cassandra_keyspace
        cluster: Cluster = session.cluster
        if keyspace not in cluster.metadata.keyspaces:
            replication = json.dumps(dict(self._replication)).replace('"', "'")
            session.execute(f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = {replication}')
        for table in (*self._history.values(), self._predictions, self._by_entity):
            session.execute(table.create(keyspace))
        cluster.refresh_keyspace_metadata(keyspace)
        existing = cluster.metadata.keyspaces[keyspace].tables
        for table in (*self._history.values(), self._predictions, self._by_entity):
            there = existing[table.name]
            if there.options["comment"] != table.comment:
                raise PenstockError(
                    f"the table holds another definition under the same version: {there.options['comment']!r}, "
                    f"not {table.comment!r}",
                    where=f"{keyspace}.{table.name}",
                    safe="nothing was written",
                    next=f"give the view a new version, or, if nobody needs it: DROP TABLE {keyspace}.{table.name}",
                )
            for name, kind in table.columns.items():
                if name not in there.columns:
                    session.execute(f'ALTER TABLE "{keyspace}"."{table.name}" ADD IF NOT EXISTS "{name}" {kind}')

    def _statement(self, group: list[Insert]) -> Any:
        bound = [self._statements[insert.table].bind(insert.values) for insert in group]
        if len(bound) == 1:
            return bound[0]
        batch = BatchStatement(BatchType.UNLOGGED)
        for statement in bound:
            batch.add(statement)
        return batch

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"Cassandra does not take writes: {type(error).__name__}: {error}",
            where=f"{','.join(self._settings.cassandra_contact_points)}:{self._settings.cassandra_port}",
            safe="features and predictions stay in their topics and are tried again",
            next="penstock status, or set PENSTOCK_CASSANDRA_CONTACT_POINTS and PENSTOCK_CASSANDRA_PORT",
        )


def connect(settings: Settings) -> Cluster:
    """A cluster object, not connected yet: token-aware, LOCAL_QUORUM, and back within seconds after an outage."""
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy()),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=_REQUEST_TIMEOUT_S,
    )
    return Cluster(
        settings.cassandra_contact_points,
        port=settings.cassandra_port,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connect_timeout=5,
        reconnection_policy=ExponentialReconnectionPolicy(base_delay=0.5, max_delay=5),
    )


def grouped(inserts: Iterator[Insert]) -> list[list[Insert]]:
    """The rows of each partition together, in groups that fit one request."""
    groups: list[list[Insert]] = []
    last: dict[tuple[Any, ...], tuple[list[Insert], int]] = {}
    for insert in inserts:
        key = insert.table, *insert.partition
        group, size = last.get(key, ([], 0))
        if not group or len(group) == _BATCH_ROWS or size + insert.size > _BATCH_BYTES:
            group, size = [], 0
            groups.append(group)
        group.append(insert)
        last[key] = group, size + insert.size
    return groups


def _insert(table: Table, row: Mapping[str, Any], size: int) -> Insert:
    # A null that is left unset costs nothing; one that is written would be a tombstone. Rows are never changed, so
    # there is no earlier value that would shine through.
    return Insert(
        table=table.name,
        partition=tuple(row[name] for name in table.partition),
        values=tuple(_value(name, row[name]) for name in table.columns),
        size=size,
    )


def _value(column: str, value: Any) -> Any:
    if value is None:
        return UNSET_VALUE
    return Date(value) if column == "day" else value
