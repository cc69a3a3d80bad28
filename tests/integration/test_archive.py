"""The archive on a real Kafka: killed twice while records arrive, it has every committed record once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from sinks.archive.reading import Archive
from streams.definitions.pipeline import Pipeline
from streams.plan.pipeline_topics import pipeline_topics
from tests.scoring.scorer_bench import define
from tests.sinks.payments import T0, prediction
from tests.sinks.sink_helpers import eventually

EVENTS = 30_000


@pytest.fixture
def defined(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[tuple[str, Pipeline]]:
    reference, pipeline = define(tmp_path, suffix, 2)
    create_topics(pipeline_topics(pipeline), settings.kafka.access)
    yield reference, pipeline
    AdminClient(settings.kafka.access.client()).delete_topics([topic.name for topic in pipeline_topics(pipeline)])


def archive(reference: str, folder: Path, *options: str) -> list[str]:
    """The command line."""
    command = [sys.executable, "-m", "penstock", "archive", "run", reference, "--out", str(folder)]
    return [*command, "--topics", "raw,predictions", *options]


def produce(kafka: KafkaAccess, pipeline: Pipeline) -> None:
    """Events, some of them garbage, and predictions in transactions, every third of which is aborted."""
    events = Producer({**kafka.client(), "enable.idempotence": True, "linger.ms": 50})
    for number in range(EVENTS):
        tap = {"tap_id": f"t{number}", "event_time": T0, "card": f"c{number % 9}", "amount": 1.5}
        value = b"garbage" if number % 100 == 99 else json.dumps(tap).encode()
        events.produce(
            pipeline.source.topic,
            key=b"k%d" % number,
            value=value,
            partition=number % 2,
            headers=[("n", b"%d" % number)],
        )
        events.poll(0)
    assert events.flush(60) == 0
    encoder = Encoder(PREDICTION_SCHEMA)
    predictions = Producer({**kafka.client(), "transactional.id": pipeline.name})
    predictions.init_transactions(30)
    for number in range(30):
        predictions.begin_transaction()
        for row in range(20):
            predictions.produce(pipeline.predictions_topic, encoder.encode(prediction(20 * number + row)), partition=0)
        assert predictions.flush(30) == 0
        if number % 3 == 2:
            predictions.abort_transaction(30)
        else:
            predictions.commit_transaction(30)


def in_kafka(settings: Settings, topic: str) -> list[Record]:
    return sorted(read_topic(settings.kafka.access, topic), key=lambda found: (found.partition, found.offset))


def test_killed_twice_it_has_every_committed_record_once(
    defined: tuple[str, Pipeline], settings: Settings, tmp_path: Path
) -> None:
    (reference, pipeline), folder = defined, tmp_path / "archive"
    kafka = settings.kafka.access
    producing = threading.Thread(target=produce, args=(kafka, pipeline))
    producing.start()
    for _ in range(2):
        seen = set(folder.rglob("*.json"))
        with subprocess.Popen(archive(reference, folder, "--every", "1s"), stderr=subprocess.DEVNULL) as process:
            # Right after a commit record, when Kafka knows nothing of it.
            eventually(lambda seen=seen: set(folder.rglob("*.json")) - seen, 90)  # type: ignore[misc]
            os.kill(process.pid, signal.SIGKILL)
    producing.join()
    done = subprocess.run(archive(reference, folder, "--until-caught-up"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = subprocess.run(archive(reference, folder, "--until-caught-up"), capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (99, "0 records archived\n"), again.stderr

    opened = Archive(str(folder))
    for topic in (pipeline.source.topic, pipeline.predictions_topic):
        wanted = in_kafka(settings, topic)
        assert list(opened.records(topic)) == wanted
        pattern = f"{folder}/topic={topic}/**/*.parquet"
        counted = f"SELECT count(*), count(DISTINCT (_partition, _offset)) FROM read_parquet('{pattern}')"
        assert duckdb.sql(counted).fetchone() == (len(wanted), len(wanted))
    garbage = duckdb.sql(
        f"SELECT count(*) FROM read_parquet('{folder}/topic={pipeline.source.topic}/**/*.parquet') "
        "WHERE _error LIKE 'penstock.Undecodable%' AND tap_id IS NULL"
    )
    assert garbage.fetchone() == (EVENTS // 100,)
    assert len(in_kafka(settings, pipeline.predictions_topic)) == 400
    assert {commit.topic_id for commit in opened.commits(pipeline.source.topic)[0]} != {None}
    # The markers of transactions are covered, and so the archive reaches the end of the topic.
    assert opened.ranges(pipeline.predictions_topic)[0] == [(0, 30 * 21)]
    verified = [sys.executable, "-m", "penstock", "archive", "verify", str(folder), "--json"]
    report = json.loads(subprocess.run(verified, capture_output=True, text=True, check=True).stdout)
    assert report["right"]

    # What Kafka deletes before it is archived stops the archive, and a topic made anew always does.
    admin = AdminClient(kafka.client())
    late = Producer(kafka.client())
    late.produce(pipeline.source.topic, b"late", partition=0)
    late.produce(pipeline.source.topic, b"later", partition=0)
    assert late.flush(30) == 0
    end = EVENTS // 2
    admin.delete_records([TopicPartition(pipeline.source.topic, 0, end + 1)])[
        TopicPartition(pipeline.source.topic, 0, end + 1)
    ].result(15)
    stopped = subprocess.run(
        archive(reference, folder, "--until-caught-up"), capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 1
    assert "Kafka deleted 1 records before they were read" in stopped.stderr
    skipping = archive(reference, folder, "--until-caught-up", "--skip-deleted")
    assert subprocess.run(skipping, capture_output=True, check=False).returncode == 0
    assert opened.ranges(pipeline.source.topic)[0] == [(0, end), (end + 1, end + 2)]
