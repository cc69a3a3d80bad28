"""Cassandra, the history: every vector that was emitted and every prediction, written by bounded concurrent inserts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from cassandra import ConsistencyLevel, DriverException, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.protocol import ErrorMessage
from cassandra.query import (
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    BoundStatement,
    PreparedStatement,
    named_tuple_factory,
)

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.sections import CassandraSettings
from penstock.settings import Settings
from schemas.history import record_decoder
from sinks.cassandra_tables import (
    Table,
    history_row,
    history_table,
    prediction_by_entity_table,
    prediction_row,
    prediction_table,
)
from sinks.emissions import emissions
from sinks.store import NO_REACH, Reach, StoreUnavailable
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_decoder

# Requests under way at once: enough to hide the round trip, few enough not to overload a small cluster.
_CONCURRENCY = 64
# Bytes under way at once: the driver fails a request whose connection has more to send than its socket takes.
_BYTES_UNDER_WAY = 4 * 2**20
# Rows of the same replicas share a request: fewer round trips than one request per row.
# The server warns of such batches from 5 KiB on, and refuses them from 50 KiB on.
_BATCH_BYTES = 5_000
# What a cell, or an element of a list, takes beside its text: its value if it is a number, flags, lengths.
_CELL_BYTES = 16
_REQUEST_TIMEOUT_S = 10.0
_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage)

Replication: TypeAlias = Mapping[str, str | int]
Row = TypeVar("Row")
LOCAL_REPLICATION: Replication = {"class": "SimpleStrategy", "replication_factor": 1}


@dataclass(frozen=True, slots=True)
class Insert:
    """A row for a table, and about how many bytes it takes."""

    table: str
    values: list[Any]
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
        self._settings = settings.cassandra
        self._replication = replication
        self._plan = compile_plan(pipeline)
        self._history = {view.id: history_table(self._plan, view, history_ttl_s) for view in self._plan.views}
        self._predictions = prediction_table(pipeline.name, prediction_ttl_s)
        self._by_entity = prediction_by_entity_table(pipeline.name, prediction_ttl_s)
        features = features_decoder(self._plan, settings.schemas)
        self._decoders = dict(zip(self.topics, (features, record_decoder("prediction")), strict=True))
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
            self._statements = {t.name: session.prepare(t.insert(self._settings.keyspace)) for t in tables}
            self._session = session
        except _ERRORS as error:
            self.close()
            raise self._unavailable(error) from error

    def read(self, topic: str, value: bytes) -> list[Insert]:
        """The rows of a feature record or a prediction."""
        record = self._decoders[topic].decode(value)
        if topic == self._plan.features_topic:
            return [
                _insert(self._history[emission.view.id], history_row(emission))
                for emission in emissions(self._plan, record)
            ]
        row = prediction_row(record)
        tables = [self._predictions] if row["entity"] is None else [self._predictions, self._by_entity]
        return [_insert(table, row) for table in tables]

    def write(
        self,
        items: Sequence[list[Insert]],
        reach: Mapping[Partition, Reach] = NO_REACH,  # noqa: ARG002 - what it acknowledges, it keeps
    ) -> Mapping[Partition, int]:
        """Write all rows; a row that is there already is written over with the same values."""
        if self._session is None:
            self.open()
        assert self._session is not None
        try:
            for part in parts(itertools.chain.from_iterable(items), _BYTES_UNDER_WAY):
                requests = [(request, None) for request in self._requests(self._session, part)]
                execute_concurrent(self._session, requests, concurrency=_CONCURRENCY, raise_on_first_error=True)
        except _ERRORS as error:
            if isinstance(error, InvalidRequest):
                # No row is refused for its values (they were checked when read), so the tables have changed under us.
                self.close()
            raise self._unavailable(error) from error
        return {}

    def close(self) -> None:
        """Disconnect."""
        if self._cluster is not None:
            self._cluster.shutdown()
        self._cluster = self._session = None

    def _create(self, session: Session) -> None:
        keyspace = self._settings.keyspace
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

    def _requests(self, session: Session, inserts: Iterable[Insert]) -> list[Any]:
        metadata, keyspace = session.cluster.metadata, self._settings.keyspace
        rows = []
        for insert in inserts:
            bound = self._statements[insert.table].bind(insert.values)
            rows.append((frozenset(metadata.get_replicas(keyspace, bound.routing_key)), insert.size, bound))
        return [group[0] if len(group) == 1 else _batch(group) for group in grouped(rows)]

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"Cassandra does not take writes: {type(error).__name__}: {error}",
            where=f"{','.join(self._settings.contact_points)}:{self._settings.port}",
            safe="features and predictions stay in their topics and are tried again",
            next="penstock status, or set PENSTOCK_CASSANDRA_CONTACT_POINTS and PENSTOCK_CASSANDRA_PORT",
        )


def connect(settings: CassandraSettings, row_factory: Callable[..., Any] = named_tuple_factory) -> Cluster:
    """A cluster object, not connected yet: token-aware, LOCAL_QUORUM, and back within seconds after an outage.

    Raises:
        PenstockError: if a file with the password or of TLS cannot be read.
    """
    password, tls = settings.secret("password"), settings.encryption
    login = password and PlainTextAuthProvider(settings.username, password.get_secret_value())
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy()),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=_REQUEST_TIMEOUT_S,
        row_factory=row_factory,
    )
    return Cluster(
        settings.contact_points,
        port=settings.port,
        auth_provider=login,
        ssl_context=None if tls is None else tls.context(),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connect_timeout=5,
        reconnection_policy=ExponentialReconnectionPolicy(base_delay=0.5, max_delay=5),
    )


def parts(inserts: Iterable[Insert], limit: int) -> Iterator[list[Insert]]:
    """The inserts in order, in lists of at most ``limit`` bytes; one that is larger by itself is alone."""
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


def grouped(rows: Iterable[tuple[Hashable, int, Row]]) -> list[list[Row]]:
    """The rows of each key, in groups that are within the limit of a batch; a row beyond it is alone.

    Args:
        rows: Key, size in bytes and the row itself.
    """
    groups: list[list[Row]] = []
    last: dict[Hashable, tuple[list[Row], int]] = {}
    for key, size, row in rows:
        group, total = last.get(key, ([], 0))
        if not group or total + size > _BATCH_BYTES:
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
    # A null that is left unset costs nothing; one that is written would be a tombstone. Rows are never changed, so
    # there is no earlier value that would shine through.
    values = [UNSET_VALUE if (value := row[name]) is None else value for name in table.columns]
    return Insert(table.name, values, sum(map(_size, values)))


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return _CELL_BYTES + len(value)
    if isinstance(value, list | tuple):
        return _CELL_BYTES + sum(map(_size, value))
    return _CELL_BYTES
