"""Upserts scores into a table of Cassandra: a row for each event, version and policy.

The history of predictions is no place for them: its key has no version. To write a row again changes nothing, so the
parts that were written are noted only to be quicker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage
from cassandra.query import UNSET_VALUE

from backfill.resumable import StoppedError
from backfill.scores.delivered import scores_in
from backfill.scores.manifest import ScoresManifest
from penstock.errors import PenstockError
from penstock.sections import CassandraSettings
from sinks.cassandra_tables import Table

_CONCURRENCY = 64
_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage)


def scores_table(pipeline: str, *, has_topic: bool = False) -> Table:
    """The table of a pipeline's scores; its rows do not expire.

    Where the events of several topics are scored (``has_topic``), it is another one, whose key names the topic: the key
    of a table that is there cannot be changed.
    """
    place = [*(["source_topic"] if has_topic else []), "source_partition", "source_offset"]
    return Table(
        name=f"scores_{pipeline}__topics" if has_topic else f"scores_{pipeline}",
        columns={
            "event_id": "text",
            "model": "text",
            "model_version": "text",
            "policy": "text",
            **({"source_topic": "text"} if has_topic else {}),
            "source_partition": "int",
            "source_offset": "bigint",
            "event_time": "bigint",
            "entity": "text",
            "score": "double",
            "decision": "text",
            "error": "text",
            "defaulted": "boolean",
            "arm": "text",
            "explored": "boolean",
            "outputs": "frozen<list<tuple<text, double>>>",
        },
        partition=("event_id",),
        clustering=tuple((name, "ASC") for name in ("model", "model_version", "policy", *place)),
        ttl_s=0,
        comment=f"penstock {pipeline} scores of past events",
        features={},
    )


def upsert(
    folder: Path,
    manifest: ScoresManifest,
    settings: CassandraSettings,
    connect: Callable[[CassandraSettings], Cluster],
    is_stopping: Callable[[], bool],
) -> int:
    """Write the parts that were not written yet; returns how many rows these have.

    Args:
        folder: Has the scores.
        manifest: Theirs, which is complete; it is saved after each part.
        settings: Where Cassandra is, and the keyspace.
        connect: Connects to it.
        is_stopping: Whether to stop after the present part.

    Raises:
        StoppedError: if it was to stop; what was written stays.
        PenstockError: if Cassandra does not take the rows, there is no keyspace, or a part is damaged.
    """
    table, keyspace = scores_table(manifest.pipeline, has_topic=bool(manifest.topics)), settings.keyspace
    place = f"cassandra {','.join(settings.contact_points)}:{settings.port} {keyspace}.{table.name}"
    parts = [part for part in manifest.parts if part.file not in manifest.delivered.get(place, ())]
    if not parts:
        return 0
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # it logs every lost connection
    cluster = connect(settings)
    try:
        session = cluster.connect()
        if keyspace not in cluster.metadata.keyspaces:
            raise PenstockError(
                f"Cassandra has no keyspace {keyspace}",
                where=place,
                safe=f"the scores are in {folder}",
                next="penstock sink run cassandra PIPELINE, which creates it; or set PENSTOCK_CASSANDRA_KEYSPACE",
            )
        session.execute(table.create_statement(keyspace))
        insert = session.prepare(table.insert_statement(keyspace))
        for part in parts:
            if is_stopping():
                raise StoppedError
            rows = (_row(table, score) for score in scores_in(folder, manifest, part))
            execute_concurrent_with_args(session, insert, rows, concurrency=_CONCURRENCY)
            manifest.delivered.setdefault(place, []).append(part.file)
            manifest.save(folder)
    except _ERRORS as error:
        raise PenstockError(
            f"Cassandra does not take the scores: {type(error).__name__}: {error}",
            where=place,
            safe=f"the scores are in {folder}; what was written is written again with the same values",
            next="penstock status; then the same command again",
        ) from error
    finally:
        cluster.shutdown()
    return sum(part.rows for part in parts)


def _row(table: Table, score: dict[str, Any]) -> list[Any]:
    """The values of the table's columns; a written null would be a tombstone."""
    values = score | {
        "policy": score["policy"] or "",
        "outputs": [(one["name"], one["value"]) for one in score["outputs"]],
    }
    return [UNSET_VALUE if values[name] is None else values[name] for name in table.columns]
