"""Reads everything that a run left: topics, stores, backfills. It changes nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import redis
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, ResultSet, Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.protocol import ErrorMessage
from cassandra.query import SimpleStatement, tuple_factory

from penstock.cassandra_client import connect_cassandra
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record, RecordsGoneError, read_topic
from penstock.kafka.topics import admin_client, partition_counts
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.history import record_decoder
from streams.plan.model import PipelinePlan
from streams.plan.project import Project, open_project
from verify import store_formats as formats
from verify.published import Published, readable
from verify.run_data import BackfillData, BuiltSet, OffsetRange, RunData, StoredTable

_log = logging.getLogger(__name__)

T = TypeVar("T")
_SCAN, _PAGE, _CONCURRENCY = 1_000, 5_000, 64


def read_run(
    project: Project,
    settings: Settings,
    backfills: Sequence[Path] = (),
    built_sets: Sequence[Path] = (),
    *,
    sample: int | None,
    seed: int,
) -> RunData:
    """Read a pipeline's run.

    Of each Cassandra table all keys are read, and all columns of ``sample`` rows that ``seed`` draws; None reads all.

    Raises:
        PenstockError: if Kafka, a store, a backfill or a training set cannot be read.
    """
    pipeline, plan, kafka = project.pipeline, project.plan, settings.kafka.access

    def records(topic: str) -> list[Record]:
        return list(read_topic(kafka, topic))

    def records_if_any(topic: str) -> list[Record]:
        return _records_if_any(kafka, topic)

    read_at_ms = time.time_ns() // 1_000_000
    points = ", ".join(settings.cassandra.contact_points)
    raw = [source.topic for source in plan.sources]
    # Cassandra answers page by page: it is read beside all else, which is decoded here.
    with ThreadPoolExecutor(1) as beside:
        tables = beside.submit(_read_store, "Cassandra", points, lambda: _read_cassandra(plan, settings, sample, seed))
        # Before the predictions that stand beside them, if the pipeline runs.
        shadows, no_shadows = readable(
            records_if_any(pipeline.shadow_topic), record_decoder("prediction"), "predictions.shadow", raw
        )
        corrections, no_corrections = readable(
            records_if_any(pipeline.corrections_topic), record_decoder("prediction"), "predictions.corrections", raw
        )
        features, no_features = readable(records(pipeline.features_topic), project.features_decoder(), "features", raw)
        predictions, no_predictions = readable(
            records(pipeline.predictions_topic), record_decoder("prediction"), "predictions", raw
        )
        vectors, unread = _read_store(
            "Redis", settings.redis.url, lambda: _read_redis(connect_redis(settings.redis), plan, features)
        )
        others = _read_others(project, records)
        has_monitors, labels = pipeline.monitors is not None, pipeline.labels
        has_data_quality = pipeline.monitors is not None and pipeline.monitors.data_quality is not None
        return RunData(
            sources=tuple(records(source.topic) for source in plan.sources),
            dead_letters=tuple(records(source.dead_letter_topic) for source in plan.sources),
            references={topic: records(topic) for topic in plan.reference_topics},
            features=features,
            predictions=predictions,
            unpublished=records(dead_letters_of(pipeline.features_topic)),
            unscored=records(dead_letters_of(pipeline.predictions_topic)),
            shadows=shadows,
            corrections=corrections,
            rollout=records_if_any(pipeline.rollout_topic),
            rollout_log=records_if_any(pipeline.rollout_log_topic),
            alerts=records(pipeline.drift_topic) if has_monitors else (),
            states=records(pipeline.drift_state_topic) if has_monitors else (),
            labels=() if labels is None else [records(topic) for topic in labels.topics],
            quality=() if labels is None else records_if_any(pipeline.quality_topic),
            incidents=records_if_any(pipeline.incidents_topic) if has_monitors else (),
            data_quality=records_if_any(pipeline.data_quality_topic) if has_data_quality else (),
            redis=vectors,
            backfills=[read_backfill_data(one) for one in backfills],
            built_sets=[read_built_set(one) for one in built_sets],
            others=others,
            models=settings.model_repository,
            unreadable=[*no_features, *no_predictions, *no_shadows, *no_corrections],
            unread=unread,
            read_at_ms=read_at_ms,
            keyspace=settings.cassandra.keyspace,
            cassandra=tables.result(),
        )


def _records_if_any(kafka: KafkaAccess, topic: str) -> list[Record]:
    """The records of a topic; none if the pipeline's topics were created before there were such topics."""
    try:
        return list(read_topic(kafka, topic))
    except RecordsGoneError:
        if topic in partition_counts(admin_client(kafka), kafka):
            raise
        return []


def _read_others(project: Project, records: Callable[[str], list[Record]]) -> dict[str, list[Published]]:
    """The features topics of the pipelines from which the model takes inputs, but for those that cannot be read."""
    found = {}
    for name in dict.fromkeys(other.plan.pipeline for other in project.other_views):
        other = open_project(name)
        try:
            found[name], _ = readable(records(other.plan.features_topic), other.features_decoder(), "features")
        except PenstockError as error:
            _log.warning("views of pipeline %s are not checked: %s", name, error.what)
    return found


def _read_store(name: str, where: str, read: Callable[[], T]) -> T:
    """Read a store; its errors, and what is missing in it, become a :class:`PenstockError`."""
    try:
        return read()
    except (redis.RedisError, DriverException, NoHostAvailable, ErrorMessage) as error:
        raise PenstockError(
            f"{name} cannot be read: {error}",
            where=where,
            safe="nothing was changed",
            next=f"penstock status; if the sink has never run: penstock sink run {name.lower()} PIPELINE",
        ) from error


def read_backfill_data(folder: Path) -> BackfillData:
    """Read a complete backfill from its manifest and part files.

    Raises:
        PenstockError: if it is not complete, or a file is missing.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["state"] != "complete":
            raise PenstockError(
                "the backfill is not complete", where=str(folder), next="run the same `penstock backfill run` again"
            )
        tables = [pq.read_table(folder / part["file"]) for part in manifest["parts"]]
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise PenstockError(f"the backfill cannot be read: {error}", where=str(folder)) from error
    replay = manifest["replay"]
    return BackfillData(
        from_ms=replay["from_ms"],
        to_ms=replay["to_ms"],
        views=tuple(manifest["views"]),
        sources=tuple(
            OffsetRange(_by_partition(offsets["start"]), _by_partition(offsets["end"]))
            for offsets in (replay, *replay["additional_sources"])
        ),
        announced_rows=sum(part["rows"] for part in manifest["parts"]),
        rows=pa.concat_tables(tables),
        epoch=formats.backfill_epoch(manifest["run"]),
        keyspaces=tuple(
            place.rpartition(" ")[2]
            for place, files in manifest.get("delivered", {}).items()
            if set(files) == {part["file"] for part in manifest["parts"]}
        ),
        identity=_identity(manifest),
    )


def _identity(manifest: Mapping[str, Any]) -> str:
    """What docs/reference/records.md calls the identity of a backfill."""
    replay = manifest["replay"]
    content = {name: manifest[name] for name in ("pipeline", "views", "plan")}
    content["range"] = [replay["from_ms"], replay["to_ms"]]
    content["offsets"] = [
        {number: [begin, of["end"][number]] for number, begin in of["start"].items()}
        for of in (replay, *replay["additional_sources"], *replay.get("lookups", ()))
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_built_set(folder: Path) -> BuiltSet:
    """Read a training set from its manifest and the files that this names.

    Raises:
        PenstockError: if there is none, or a file is missing or damaged.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        tables = [pq.read_table(folder / part["file"]) for part in manifest["parts"]]
        return BuiltSet(folder.name, manifest, pa.concat_tables(tables))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise PenstockError(
            f"the training set cannot be read: {error}",
            where=str(folder),
            safe="nothing was changed",
            next="build it again in another folder: the same inputs give the same bytes",
        ) from error


def _by_partition(offsets: Mapping[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in offsets.items()}


def _read_redis(
    client: redis.Redis, plan: PipelinePlan, features: Iterable[Published]
) -> tuple[dict[str, bytes], list[str]]:
    """Every vector of the pipeline, and what could not be read.

    Without the right to SCAN, only the vectors of the entities on the features topic.
    """
    unread = []
    try:
        # Marks of the sink have no @ in their keys.
        keys = list(client.scan_iter(f"{formats.vector_prefix(plan.pipeline)}*@*", _SCAN))
    except redis.exceptions.NoPermissionError:
        unread.append("whether Redis has vectors of entities that were never emitted: the user may not SCAN")
        records = [record.value for record in features]
        named = {
            formats.vector_key(plan, view, value[view.name]["entity"])
            for view in plan.views
            for value in records
            if value[view.name] is not None
        }
        keys = [name.encode() for name in sorted(named)]
    found: dict[str, bytes] = {}
    for begin in range(0, len(keys), _SCAN):
        some = keys[begin : begin + _SCAN]
        values = client.mget(some)
        assert isinstance(values, list)
        names = [key.decode(errors="backslashreplace") for key in some]
        found |= {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return found, unread


def _read_cassandra(plan: PipelinePlan, settings: Settings, sample: int | None, seed: int) -> dict[str, StoredTable]:
    by_event, by_entity = formats.prediction_tables(plan.pipeline)
    tables: dict[str, tuple[str, ...]] = {formats.history_table(plan, view): formats.HISTORY_KEY for view in plan.views}
    tables |= {by_event: formats.PREDICTION_KEY, by_entity: formats.PREDICTION_BY_ENTITY_KEY}
    with connect_cassandra(settings.cassandra, tuple_factory) as cluster, cluster.connect() as session:
        return {
            name: _read_table(session, settings.cassandra.keyspace, name, key, sample, random.Random(f"{seed}/{name}"))  # noqa: S311 - a sample
            for name, key in tables.items()
        }


def _read_table(
    session: Session, keyspace: str, name: str, key: tuple[str, ...], sample: int | None, rng: random.Random
) -> StoredTable:
    table = f'"{keyspace}"."{name}"'
    keys = list(_select(session, f"SELECT {', '.join(key)} FROM {table}"))  # noqa: S608 - names come from the plan
    features = _feature_names(session, keyspace, name)
    if sample is None or sample >= len(keys):
        result = _select(session, f"SELECT * FROM {table}")  # noqa: S608
        return StoredTable(key, keys, [_values(result.column_names, row, features) for row in result])
    chosen = rng.sample(keys, sample)
    where = " AND ".join(f"{column} = ?" for column in key)
    statement = session.prepare(f"SELECT * FROM {table} WHERE {where}")  # noqa: S608
    answers = execute_concurrent_with_args(session, statement, chosen, concurrency=_CONCURRENCY)
    rows = [_values(result.column_names, row, features) for _, result in answers for row in result]
    return StoredTable(key, keys, rows)


def _select(session: Session, query: str) -> ResultSet:
    return session.execute(SimpleStatement(query, fetch_size=_PAGE), timeout=60)


def _feature_names(session: Session, keyspace: str, table: str) -> Sequence[str]:
    """The names of the fields of the column ``features``; empty for a table without it."""
    found = session.cluster.metadata.keyspaces[keyspace].user_types.get(table)
    return () if found is None else found.field_names


def _values(columns: Sequence[str], row: tuple[Any, ...], features: Sequence[str]) -> dict[str, Any]:
    """A row by column; its features by name."""
    values = dict(zip(columns, row, strict=True))
    for name in ("outputs", "reasons", "defaulted"):
        if name in values and values[name] is None:
            values[name] = []  # a prediction of a release that had no such column
    if values.get("features") is not None:
        values["features"] = dict(zip(features, values["features"], strict=True))
    return values
