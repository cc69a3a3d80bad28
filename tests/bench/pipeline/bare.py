"""The ceilings of the parts: bare clients. ``python -m tests.bench.pipeline.bare PART FILE SECONDS``.

- ``redis``: pipelines of SET with the vectors of feature records, decoded before.
- ``cassandra``: unlogged batches of the rows of feature records, decoded before.
- ``scorer``: consume, infer on Triton, produce the same bytes, in one transaction (:mod:`tests.bench.scoring.rivals`).
- ``drift``: consume features and predictions, and commit their offsets in transactions; nothing is decoded.

Each prints events per second as JSON; the first two count an event as done when all its vectors are written.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from cassandra.query import BatchStatement, BatchType, BoundStatement
from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.cassandra_client import connect_cassandra
from penstock.kafka.reading import read_topic
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.codec import Encoder
from sinks.cassandra_rows import Row
from sinks.cassandra_tables import history_table
from sinks.stores.cassandra import CassandraOptions, CassandraStore
from streams.plan.feature_records import view_schema
from streams.plan.project import Project, open_project

_EVENTS = 20_000
_BATCH = 2_000
_ROWS_PER_REQUEST = 12
_REQUESTS = 64


def redis(project: Project, settings: Settings, seconds: float) -> float:
    """Write the vectors of some events over and over."""
    encoders = {view.name: Encoder(view_schema(view)) for view in project.plan.views}
    decode = project.features_decoder().decode
    writes = [
        [(f"bare:{name}:{record[name]['entity']}", encoder.encode(record[name])) for name, encoder in encoders.items()]
        for record in (decode(value) for value in _features(project, settings))
    ]
    with connect_redis(settings.redis) as client:

        def write(batch: list[list[tuple[str, bytes]]]) -> None:
            pipe = client.pipeline(transaction=False)
            for key, value in itertools.chain.from_iterable(batch):
                pipe.set(key, value)
            pipe.execute()

        return _rate(write, writes, seconds)


def cassandra(project: Project, settings: Settings, seconds: float) -> float:
    """Write the rows of some events over and over."""
    store = CassandraStore(project, settings, CassandraOptions(), now_s=time.time)
    store.open()  # creates the tables
    decoded = store.decode(project.pipeline.features_topic, _features(project, settings))
    store.close()
    room, errors = threading.Semaphore(_REQUESTS), []

    def failed(error: Exception) -> None:
        errors.append(error)
        room.release()

    with connect_cassandra(settings.cassandra) as cluster, cluster.connect() as session:
        keyspace = settings.cassandra.keyspace
        tables = [history_table(project.plan, view, 1) for view in project.plan.views]
        inserts = {table.name: session.prepare(table.insert_statement(keyspace)) for table in tables}

        def write(batch: list[list[Row]]) -> None:
            rows = sorted(itertools.chain.from_iterable(batch), key=lambda row: (row.table, row.key))
            for begin in range(0, len(rows), _ROWS_PER_REQUEST):
                request = BatchStatement(BatchType.UNLOGGED)
                for row in rows[begin : begin + _ROWS_PER_REQUEST]:
                    statement = BoundStatement(inserts[row.table])
                    statement.values = row.values
                    request.add(statement)
                room.acquire()
                session.execute_async(request).add_callbacks(lambda _: room.release(), failed)

        rate = _rate(write, [rows for rows in decoded if isinstance(rows, list)], seconds)
    assert not errors, errors[0]
    return rate


def drift(project: Project, settings: Settings, seconds: float) -> float:
    """Consume and commit; events are counted as predictions."""
    kafka, topics = settings.kafka.access.client(), project.pipeline
    group = {"group.id": f"bare-{project.name}", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer({**kafka, **group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topics.features_topic, topics.predictions_topic])
    producer = Producer({**kafka, "transactional.id": f"bare-{project.name}", "retry.backoff.ms": 1})
    producer.init_transactions(30)
    done, begin, last = 0, 0.0, 0.0
    while not begin or (time.monotonic() < begin + seconds and time.monotonic() < last + 1):
        messages = [message for message in consumer.consume(1_024, 0.2) if message.error() is None]
        if not messages:
            continue
        begin, last = begin or time.monotonic(), time.monotonic()
        ends = {(message.topic(), message.partition()): message.offset() + 1 for message in messages}
        producer.begin_transaction()
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
        done += sum(message.topic() == topics.predictions_topic for message in messages)
        last = time.monotonic()
    consumer.close()
    return done / (last - begin)


def _features(project: Project, settings: Settings) -> list[bytes]:
    records = read_topic(settings.kafka.access, project.pipeline.features_topic)
    return [record.value for record in itertools.islice(records, _EVENTS) if record.value is not None]


def _rate(write: Callable[[list[Any]], None], events: list[Any], seconds: float) -> float:
    """Events per second of writing them batch by batch, after half the time for warming up."""
    batches = itertools.cycle([events[begin : begin + _BATCH] for begin in range(0, len(events), _BATCH)])
    for span in (seconds / 2, seconds):
        begin, done = time.monotonic(), 0
        while time.monotonic() < begin + span:
            batch = next(batches)
            write(batch)
            done += len(batch)
    return done / (time.monotonic() - begin)


if __name__ == "__main__":
    part, file, length = sys.argv[1:]
    run = {"redis": redis, "cassandra": cassandra, "drift": drift}[part]
    sys.stdout.write(json.dumps(round(run(open_project(file), Settings(), float(length)))))
