"""Random pipelines and hostile records on the real job: it never restarts, and every record is accounted for.

A seed gives one pipeline and its records. By default a few seeds run. ``PENSTOCK_FUZZ_SECONDS`` makes them run for that
long, from ``PENSTOCK_FUZZ_SEED`` on (`make fuzz`). A failure names its seed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record, read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from streams.flink import lifecycle
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project
from tests.fuzz_pipelines import PARTITIONS, define, records
from tests.streams.job_bench import KEY
from verify.check_events import check_dead_letters, judge_source
from verify.check_features import check_features
from verify.check_timers import check_timers
from verify.published import readable
from verify.unpublished import check_unpublished

RECORDS = 600
FIRST_SEED = int(os.environ.get("PENSTOCK_FUZZ_SEED", "1"))
SECONDS = float(os.environ.get("PENSTOCK_FUZZ_SECONDS", "45"))


@pytest.fixture(autouse=True)
def personal_key(stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key of personal data in the environment."""
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)


@pytest.mark.timeout(int(SECONDS) + 300)
def test_no_record_stops_the_job_of_any_pipeline_and_each_is_accounted_for(suffix: str, tmp_path: Path) -> None:
    until = time.monotonic() + SECONDS
    seed = FIRST_SEED
    totals: Counter[str] = Counter()
    while seed == FIRST_SEED or time.monotonic() < until:
        folder = tmp_path / str(seed)
        folder.mkdir()
        rng = random.Random(seed)
        project = define(folder, f"fuzz_{suffix}_{seed}", rng)
        try:
            totals.update(run(project, rng))
        except BaseException as failure:
            text = f"seed {seed} (PENSTOCK_FUZZ_SEED={seed} PENSTOCK_FUZZ_SECONDS=1), {project.reference}"
            failure.add_note(text)
            raise
        finally:
            lifecycle.cancel(project, Settings())
        seed += 1
    print(f"seeds {FIRST_SEED} to {seed - 1}: {dict(totals)}")
    assert totals["valid"] > 100
    assert totals["invalid"] > 100
    assert totals["values"] > 1_000


def run(project: Project, rng: random.Random) -> Counter[str]:
    """Run a pipeline's job over its records and judge what it published; returns what was counted."""
    settings, plan = Settings(), project.plan
    kafka = settings.kafka.access
    create_topics(pipeline_topics(project.pipeline), kafka)
    options = {
        "parallelism": rng.choice([1, 2]),
        "state_backend": rng.choice(["heap", "rocksdb"]),
        "python_mode": rng.choice(["thread", "thread", "process"]),
        "exactly_once": rng.random() < 0.3,
        "checkpoint_interval_ms": 500,
    }
    lifecycle.start(project, settings, **options)
    produce(project, rng)
    await_consumed(project)

    job = lifecycle.status(project, settings)
    assert job is not None
    assert (job.state, job.restarts) == ("RUNNING", 0), options
    raw = list(read_topic(kafka, plan.source.topic))
    letters = list(read_topic(kafka, plan.source.dead_letter_topic))
    judged = judge_source(project, 0, raw, KEY.encode(), letters=letters)
    features, unpublished = await_published(project, set(judged.events))
    emitted, unreadable = readable(features, project.features_decoder(), "features")
    assert unreadable == []
    found, wrong, examples = check_dead_letters(judged, plan.pipeline, plan.source.topic, letters)
    assert (found, wrong, examples) == (len(judged.rejections), 0, [])
    withheld = check_unpublished(plan, judged.events, unpublished, project.features_decoder())
    assert withheld.examples == []
    everything = [*emitted, *withheld.records]
    checked = check_features(plan, judged.events, everything, arrivals=judged.arrivals())
    assert (checked.examples, checked.missing, checked.unexpected, checked.unverifiable) == ([], 0, 0, 0), options
    assert checked.checked == checked.total
    assert check_timers(plan, judged.events, everything).examples == []
    return Counter(
        valid=len(judged.events),
        invalid=len(judged.rejections),
        duplicates=len(judged.duplicates),
        too_large=len(withheld.records),
        values=checked.checked,
    )


def produce(project: Project, rng: random.Random) -> None:
    """Produce the records, some of them longer than most topics take."""
    producer = Producer(
        {**Settings().kafka.access.client(), "message.max.bytes": 50_000_000, "compression.type": "lz4"}
    )
    for record in records(project, RECORDS, rng, time.time_ns() // 1_000_000):
        producer.produce(
            project.plan.source.topic,
            record.value,
            record.key,
            record.partition,
            headers=record.headers,
            timestamp=0 if record.timestamp is None else record.timestamp,
        )
        producer.poll(0)
    assert producer.flush(30) == 0


def await_consumed(project: Project) -> None:
    """Wait until a checkpoint covers all records; fails at once if the job restarts."""
    kafka, topic = Settings().kafka.access, project.plan.source.topic
    consumer = Consumer({**kafka.client(), "group.id": f"penstock-{project.name}-features"})
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    ends = [consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions]
    deadline = time.monotonic() + 60
    try:
        while [found.offset for found in consumer.committed(partitions, timeout=10)] != ends:
            job = lifecycle.status(project, Settings())
            assert job is not None
            assert job.restarts == 0, "the job restarted"
            assert time.monotonic() < deadline, "the job does not read its records"
            time.sleep(0.2)
    finally:
        consumer.close()


def await_published(project: Project, wanted: set[tuple[int, int]]) -> tuple[list[Record], list[Record]]:
    """Feature records and their dead letters, once there are as many as valid events, or no more come."""
    kafka, topic = Settings().kafka.access, project.plan.features_topic
    deadline, count = time.monotonic() + 20, -1
    while True:
        found = list(read_topic(kafka, topic)), list(read_topic(kafka, dead_letters_of(topic)))
        number = len(found[0]) + len(found[1])
        if (number >= len(wanted) and number == count) or time.monotonic() > deadline:
            return found
        count = number
        time.sleep(1.0)
