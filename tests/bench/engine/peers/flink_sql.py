"""Flink SQL: one OVER window in event time, and a bare job that decodes and forwards. Results are CSV.

All OVER aggregates of one query must share their window, so five windows are five OVER operators with a state of
every row each. The form given here is the easiest: the shortest window alone, no disorder to wait for.
"""

from __future__ import annotations

import sys

from pyflink.table import StreamTableEnvironment

from tests.bench.engine.peers.flink_client import environment, source_table
from tests.bench.engine.peers.peer_settings import PeerSettings, peer_settings

_CALLS = ("COUNT(*)", "SUM(amount)", "AVG(amount)", "MIN(amount)", "MAX(amount)", "STDDEV_SAMP(amount)")


def over(peer: PeerSettings) -> tuple[list[str], str]:
    """The tables and the query of the first window, chained over the entities."""
    length_ms = peer.spans_ms[0][0]
    query, kept = "payments", "event_id, ts, card, merchant, terminal, amount"
    columns: list[str] = []
    for entity in peer.keyed_by:
        new = [f"{entity}_{place}" for place in range(len(_CALLS))]
        aggregates = ", ".join(f"{call} OVER w AS {name}" for call, name in zip(_CALLS, new, strict=True))
        inner = ", ".join([kept, *columns])
        query = (
            f"(SELECT {inner}, {aggregates} FROM {query} WINDOW w AS (PARTITION BY {entity} ORDER BY ts "
            f"RANGE BETWEEN INTERVAL '{length_ms // 60_000}' MINUTE PRECEDING AND CURRENT ROW))"
        )
        columns += new
    time = ", ts AS TO_TIMESTAMP_LTZ(event_time, 3), WATERMARK FOR ts AS ts"
    names = ", ".join(f"{name} {'BIGINT' if name.endswith('_0') else 'DOUBLE'}" for name in columns)
    target = _target(peer, f"event_id STRING, {names}")
    return [source_table(peer, time), target], f"INSERT INTO results SELECT event_id, {', '.join(columns)} FROM {query}"


def bare(peer: PeerSettings) -> tuple[list[str], str]:
    """The tables and the query that decodes every event and forwards what was decoded."""
    columns = "event_id STRING, event_time BIGINT, card STRING, merchant STRING, terminal STRING, amount DOUBLE"
    return [source_table(peer), _target(peer, columns)], "INSERT INTO results SELECT * FROM payments"


def _target(peer: PeerSettings, columns: str) -> str:
    return f"""CREATE TABLE results ({columns}) WITH ('connector' = 'kafka', 'topic' = '{peer.target}',
        'properties.bootstrap.servers' = '{peer.bootstrap}', 'format' = 'csv', 'sink.delivery-guarantee' = 'none')"""


def main() -> None:
    """Submit the query that the command line names, and say the job's id."""
    peer = peer_settings()
    tables = StreamTableEnvironment.create(environment(peer))
    ddl, query = {"over": over, "bare": bare}[sys.argv[1]](peer)
    for statement in ddl:
        tables.execute_sql(statement)
    client = tables.execute_sql(query).get_job_client()
    assert client is not None
    sys.stdout.write(f"{client.get_job_id()}\n")


if __name__ == "__main__":
    main()
