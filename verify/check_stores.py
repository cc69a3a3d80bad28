"""Checks the stores against the topics: Redis (latest vectors) and Cassandra (all vectors and predictions)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import redis
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import SimpleStatement
from cassandra.util import Date

from sinks.cassandra_tables import day_of, history_table, prediction_table
from sinks.stores.redis import redis_key
from sinks.vector_format import VectorFormat
from streams.plan.model import PipelinePlan, ViewPlan
from verify.findings import Findings
from verify.published import Published

_MGET = 1_000
_PAGE = 5_000
_CONCURRENCY = 64

T = TypeVar("T")
Order = tuple[int, int, int, int]


@dataclass
class StoreFindings(Findings):
    """Result of the check of one store."""

    checked: int = 0


def check_redis(plan: PipelinePlan, records: Sequence[Published], client: redis.Redis) -> StoreFindings:
    """Compare the stored vector of every entity of every view with the newest one on the topic."""
    findings = StoreFindings()
    for view in plan.views:
        layout = VectorFormat(view)
        for some in _chunks(_latest(view, records).items(), _MGET):
            blobs = client.mget([redis_key(plan, view, entity) for entity, _ in some])
            assert isinstance(blobs, list)
            for (entity, (order, part)), blob in zip(some, blobs, strict=True):
                findings.checked += 1
                # Read at the vector's own as_of, no window expires after the emission: values must be equal.
                found = layout.read(entity, blob, part["as_of"])
                stored = (found.epoch, found.seq, found.attempt, found.as_of, found.values)
                if stored != (*order, {feature.name: part[feature.name] for feature in view.outputs}):
                    findings.mismatch(f"Redis {view.id} {entity}: has {stored[:4]}, the latest is {order}")
    return findings


def check_cassandra(
    plan: PipelinePlan,
    records: Sequence[Published],
    predictions: Sequence[Published],
    session: Session,
    keyspace: str,
    *,
    sample: int,
    seed: int,
) -> StoreFindings:
    """Compare the keys of all rows with the published records, and all columns of ``sample`` rows of each table.

    ``session`` must return rows as tuples.
    """
    findings = StoreFindings()
    for view in plan.views:
        _check_history(plan, view, records, session, keyspace, findings, sample, random.Random(f"{seed}/{view.id}"))  # noqa: S311
    _check_prediction_log(plan, predictions, session, keyspace, findings)
    return findings


def _latest(view: ViewPlan, records: Iterable[Published]) -> dict[str, tuple[Order, Mapping[str, Any]]]:
    latest: dict[str, tuple[Order, Mapping[str, Any]]] = {}
    for record in records:
        part = record.value[view.name]
        if part is None:
            continue
        order = (part["epoch"], part["seq"], record.value["attempt"], part["as_of"])
        if part["entity"] not in latest or order > latest[part["entity"]][0]:
            latest[part["entity"]] = order, part
    return latest


def _check_history(
    plan: PipelinePlan,
    view: ViewPlan,
    records: Iterable[Published],
    session: Session,
    keyspace: str,
    findings: StoreFindings,
    sample: int,
    rng: random.Random,
) -> None:
    table = history_table(plan, view, 0)
    published: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for record in records:
        part = record.value[view.name]
        if part is not None:
            key = (part["entity"], part["as_of"], part["epoch"], part["seq"], record.value["attempt"])
            published[key] = {**part, "attempt": record.value["attempt"], "event_id": record.value["event_id"]}
    stored = set(_scan(session, f"SELECT entity, as_of, epoch, seq, attempt FROM {keyspace}.{table.name}"))  # noqa: S608
    findings.checked += len(stored)
    for key in published.keys() ^ stored:
        why = "was never published" if key in stored else "is missing"
        findings.mismatch(f"Cassandra {table.name}: {key} {why}")
    columns = [name for name in table.columns if name != "day"]
    quoted = ", ".join(f'"{name}"' for name in columns)
    statement = session.prepare(
        f"SELECT {quoted} FROM {keyspace}.{table.name} "  # noqa: S608 - names come from the plan
        "WHERE entity = ? AND day = ? AND as_of = ? AND epoch = ? AND seq = ? AND attempt = ?"
    )
    both = sorted(published.keys() & stored)
    chosen = rng.sample(both, min(sample, len(both)))
    arguments = [(key[0], Date(day_of(key[1])), *key[1:]) for key in chosen]
    answers = execute_concurrent_with_args(session, statement, arguments, concurrency=_CONCURRENCY)
    for key, (_, rows) in zip(chosen, answers, strict=True):
        row = dict(zip(columns, rows.one(), strict=True))
        wrong = [name for name in columns if row[name] != published[key][name]]
        if wrong:
            findings.mismatch(f"Cassandra {table.name}: {key} differs in {', '.join(wrong)}")


def _check_prediction_log(
    plan: PipelinePlan,
    predictions: Iterable[Published],
    session: Session,
    keyspace: str,
    findings: StoreFindings,
) -> None:
    table = prediction_table(plan.pipeline, 0).name
    columns = "event_id, source_partition, source_offset, score, decision, model_version, features_offset, scored_at"
    stored = set(_scan(session, f"SELECT {columns} FROM {keyspace}.{table}"))  # noqa: S608 - names come from the plan
    findings.checked += len(stored)
    published = set()
    for prediction in predictions:
        value = prediction.value
        position = (value["source"]["partition"], value["source"]["offset"])
        rest = tuple(value[name] for name in ("score", "decision", "model_version", "features_offset", "scored_at"))
        published.add((value["event_id"], *position, *rest))
    for row in published ^ stored:
        why = "was never published" if row in stored else "is missing or differs"
        findings.mismatch(f"Cassandra {table}: event {row[0]} at {row[1:3]} {why}")


def _scan(session: Session, query: str) -> Iterator[tuple[Any, ...]]:
    yield from session.execute(SimpleStatement(query, fetch_size=_PAGE), timeout=60)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
