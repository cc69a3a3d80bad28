"""Records that Kafka deletes before they are read: no consumer passes over them silently, and each goes on if told.

Every kind of consumer is stopped or killed, the records that wait for it are deleted as retention deletes them, and it
is started again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag, Partition
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from sinks.feature_reader import FeatureReader
from sinks.store_interface import NO_MARKS, OffsetMark, StoreUnavailable, acknowledged
from sinks.stores.redis import RedisStore, mark_key
from streams.definitions.pipeline import Pipeline
from streams.flink import lifecycle
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project
from tests.scoring.scorer_bench import ScorerBench, add_model, define, load_model, unload_model, wait_for
from tests.sinks.payments import T0, encoded_features, features, payments, spending
from tests.sinks.sink_helpers import committed, eventually, metric, produce, running
from tests.streams import job_bench
from tests.streams.drift.drift_bench import Bench as DriftBench

GRACE_MS = 86_400_000


def delete(kafka: KafkaAccess, topic: str, before: Mapping[int, int]) -> None:
    """Delete the records of each partition before an offset, as retention does."""
    admin = AdminClient(kafka.client())
    requests = [TopicPartition(topic, number, offset) for number, offset in before.items()]
    for future in admin.delete_records(requests).values():
        future.result(15)


def deleted(pipeline: str, part: str, topic: str) -> float:
    """The counter of deleted records in this process."""
    labels = {"pipeline": pipeline, "part": part, "topic": topic}
    return REGISTRY.get_sample_value("penstock_consumer_deleted_records_total", labels) or 0.0


# --- sinks


@pytest.fixture
def pipeline(settings: Settings, suffix: str) -> Iterator[Pipeline]:
    definition = payments(f"pay_{suffix}")
    create_topics(pipeline_topics(definition), settings.kafka.access)
    yield definition
    names = [topic.name for topic in pipeline_topics(definition)]
    AdminClient(settings.kafka.access.client()).delete_topics(names)


class MemoryStore:
    """A store that remembers what was written, and can be down."""

    name = "memory"

    def __init__(self, topic: str) -> None:
        self.topics = (topic,)
        self.written: list[bytes] = []
        self.down = False

    def open(self) -> None: ...

    def decode(self, _topic: str, values: Sequence[bytes]) -> list[bytes | Undecodable | UnknownSchema]:
        return list(values)

    def write(
        self, records: Sequence[bytes], _marks: Mapping[Partition, OffsetMark] = NO_MARKS
    ) -> Future[Mapping[Partition, int]]:
        if self.down:
            raise StoreUnavailable("down")
        self.written += records
        return acknowledged()

    def close(self) -> None: ...


@pytest.fixture
def send(pipeline: Pipeline, settings: Settings) -> Callable[[range], None]:
    return lambda numbers: produce(settings.kafka.access, pipeline.features_topic, [b"%d" % n for n in numbers])


def offset(settings: Settings, pipeline: Pipeline) -> int | None:
    return committed(settings.kafka.access, pipeline.name, "memory", pipeline.features_topic)[0]


def test_a_sink_stops_at_deleted_records_and_goes_on_only_if_told(
    pipeline: Pipeline, settings: Settings, send: Callable[[range], None]
) -> None:
    kafka, topic, store = settings.kafka.access, pipeline.features_topic, MemoryStore(pipeline.features_topic)
    send(range(10))
    with running(store, pipeline.name, kafka):
        eventually(lambda: offset(settings, pipeline) == 10)
    send(range(10, 100))
    delete(kafka, topic, {0: 60})
    for counted in (50, 100):  # a supervisor that starts it again changes nothing
        with pytest.raises(PenstockError) as stopped, running(store, pipeline.name, kafka):
            eventually(lambda n=counted: deleted(pipeline.name, "sink-memory", topic) == n)  # type: ignore[misc]
    text = str(stopped.value)
    assert f"deleted 50 records before they were read: {topic}[0]@10" in text
    assert "begins at 60" in text
    assert f"penstock sink run memory {pipeline.name} --skip-deleted" in text
    assert len(store.written) == 10
    with running(store, pipeline.name, kafka, skip_deleted=True):
        eventually(lambda: offset(settings, pipeline) == 100)
    assert store.written == [b"%d" % n for n in (*range(10), *range(60, 100))]


def test_a_gap_that_was_skipped_needs_no_flag_again(
    pipeline: Pipeline, settings: Settings, send: Callable[[range], None]
) -> None:
    kafka, store = settings.kafka.access, MemoryStore(pipeline.features_topic)
    send(range(10))
    with running(store, pipeline.name, kafka):
        eventually(lambda: offset(settings, pipeline) == 10)
    send(range(10, 20))
    delete(kafka, pipeline.features_topic, {0: 20})  # nothing is left that could be written and committed
    with running(store, pipeline.name, kafka, skip_deleted=True):
        eventually(lambda: offset(settings, pipeline) == 20)
    with running(store, pipeline.name, kafka):
        send(range(20, 21))
        eventually(lambda: offset(settings, pipeline) == 21)


def test_a_first_start_begins_at_what_the_topic_still_has(
    pipeline: Pipeline, settings: Settings, send: Callable[[range], None]
) -> None:
    store = MemoryStore(pipeline.features_topic)
    send(range(10))
    delete(settings.kafka.access, pipeline.features_topic, {0: 4})
    with running(store, pipeline.name, settings.kafka.access):
        eventually(lambda: offset(settings, pipeline) == 10)
    assert store.written == [b"%d" % n for n in range(4, 10)]


def test_records_that_are_deleted_while_the_store_is_down_are_not_skipped(
    pipeline: Pipeline, settings: Settings, send: Callable[[range], None]
) -> None:
    kafka, store = settings.kafka.access, MemoryStore(pipeline.features_topic)
    with pytest.raises(PenstockError, match="deleted 20 records"), running(store, pipeline.name, kafka):  # noqa: PT012
        send(range(10))
        eventually(lambda: offset(settings, pipeline) == 10)
        store.down = True
        send(range(10, 11))
        eventually(lambda: metric("penstock_sink_paused", pipeline.name, "memory") == 1)
        send(range(11, 50))
        delete(kafka, pipeline.features_topic, {0: 31})
        store.down = False
        eventually(lambda: deleted(pipeline.name, "sink-memory", pipeline.features_topic) == 20)
    assert store.written == [b"%d" % n for n in range(11)]


def test_a_redis_that_lost_its_data_is_filled_with_what_the_topic_still_has(
    pipeline: Pipeline, settings: Settings
) -> None:
    kafka, topic = settings.kafka.access, pipeline.features_topic
    project = Project.of(pipeline, Path("nothing is committed"))
    produce(kafka, topic, [encoded_features(pipeline.name, features(n, spending=spending(f"c{n}"))) for n in range(20)])

    def store() -> RedisStore:
        return RedisStore(project, connect_redis(settings.redis), GRACE_MS)

    def done() -> bool:
        return committed(kafka, pipeline.name, "redis", topic)[0] == 20

    with running(store(), pipeline.name, kafka):
        eventually(done)
    delete(kafka, topic, {0: 15})
    with connect_redis(settings.redis) as client:
        forget(client, project, topic)
        with running(store(), pipeline.name, kafka):
            reader = FeatureReader(project.plan, client)
            wanted = [("spending", f"c{n}") for n in range(20)]
            eventually(lambda: [v.seq for v in reader.get_many(wanted, T0)] == [None] * 15 + [1] * 5)
            eventually(done)
    assert deleted(pipeline.name, "sink-redis", topic) == 15
    with running(store(), pipeline.name, kafka):
        eventually(done)


def test_a_gap_that_was_skipped_does_not_pass_for_a_loss_of_redis(pipeline: Pipeline, settings: Settings) -> None:
    kafka, topic = settings.kafka.access, pipeline.features_topic
    project = Project.of(pipeline, Path("nothing is committed"))
    value = encoded_features(pipeline.name, features(spending=spending()))

    def offset() -> int | None:
        return committed(kafka, pipeline.name, "redis", topic)[0]

    def losses() -> float:
        return metric("penstock_sink_store_losses_total", pipeline.name, "redis")

    produce(kafka, topic, [value] * 10)
    with running(RedisStore(project, connect_redis(settings.redis), GRACE_MS), pipeline.name, kafka):
        eventually(lambda: offset() == 10)
    produce(kafka, topic, [value] * 10)
    delete(kafka, topic, {0: 20})
    store = RedisStore(project, connect_redis(settings.redis), GRACE_MS)
    with running(store, pipeline.name, kafka, skip_deleted=True):
        eventually(lambda: offset() == 20)
    with running(RedisStore(project, connect_redis(settings.redis), GRACE_MS), pipeline.name, kafka):
        produce(kafka, topic, [value])
        eventually(lambda: offset() == 21)
    assert losses() == 0
    assert deleted(pipeline.name, "sink-redis", topic) == 10


def forget(client: redis.Redis, project: Project, topic: str) -> None:
    client.delete(*client.keys(f"penstock:{project.name}:*"))  # type: ignore[misc]
    assert client.get(mark_key(project.plan, (topic, 0))) is None


# --- a reader that takes a range


def test_a_reader_of_a_range_is_told_that_its_records_are_gone(
    pipeline: Pipeline, settings: Settings, send: Callable[[range], None]
) -> None:
    kafka, topic = settings.kafka.access, pipeline.features_topic
    send(range(10))
    delete(kafka, topic, {0: 4})
    assert [record.offset for record in read_topic(kafka, topic)] == list(range(4, 10))
    assert [record.offset for record in read_topic(kafka, topic, start={0: 4})] == list(range(4, 10))
    with pytest.raises(PenstockError, match="deleted records before they were read") as told:
        list(read_topic(kafka, topic, start={0: 2}))
    assert f"{topic}[0]@2" in str(told.value)


# --- the scorer


@pytest.fixture
def scorer(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ScorerBench]:
    reference, definition = define(tmp_path, suffix, 1)
    bench = ScorerBench(reference, definition, settings, tmp_path)
    bench.create_topics()
    add_model(definition, settings)
    load_model(definition, settings)
    yield bench
    unload_model(definition, settings)


def test_a_killed_scorer_stops_at_deleted_records_and_goes_on_only_if_told(scorer: ScorerBench) -> None:
    topic = scorer.pipeline.features_topic
    scorer.feed(10)
    process = scorer.start()
    scorer.wait_until_drained()
    process.kill()
    scorer.feed(90)
    scorer.flush()
    delete(scorer.settings.kafka.access, topic, {0: 60})
    for _ in range(2):
        text = scorer.start().wait_for_error()
        assert f"deleted 50 records before they were read: {topic}[0]@10" in text
        assert f"penstock scorer run {scorer.reference} --instance 0 --skip-deleted" in text
    with scorer.scoring("0", "--skip-deleted"):
        scorer.wait_until_drained()
    assert scorer.scored_events() == [(0, n) for n in (*range(10), *range(60, 100))]


# --- the drift app


def caught_up(bench: DriftBench) -> bool:
    topics = (bench.pipeline.features_topic, bench.pipeline.predictions_topic)
    with Lag(bench.settings.kafka.access) as lag:
        group = f"penstock-{bench.pipeline.name}-drift"
        return not any(behind for topic in topics for behind in lag.of_group(group, topic).values())


def test_a_killed_drift_app_stops_at_deleted_records_and_goes_on_only_if_told(
    settings: Settings, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(tmp_path / "models"))
    bench = DriftBench(tmp_path, suffix, Settings(), 1)
    kafka, topic = settings.kafka.access, bench.pipeline.features_topic

    bench.feed(500)
    process = bench.start()
    wait_for(lambda: caught_up(bench), 60, "the drift app")
    process.kill()
    with Lag(kafka) as lag:
        end = lag.end_offsets(topic)[0]
    bench.feed(500)
    delete(kafka, topic, {0: end + 100})
    for _ in range(2):
        process = bench.start()
        assert process.process.wait(60) == 1, process.log()
        assert f"deleted 100 records before they were read: {topic}[0]@{end}" in process.log()
        assert f"penstock drift run {bench.path} --instance 0 --skip-deleted" in process.log()
    process = bench.start("0", "--skip-deleted")
    try:
        wait_for(lambda: caught_up(bench), 60, "the drift app")
    finally:
        process.stop()
    process = bench.start()
    process.logged("is followed from")
    process.stop()


def test_records_that_are_deleted_while_the_drift_app_reads_them_end_it(
    settings: Settings, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(tmp_path / "models"))
    bench = DriftBench(tmp_path, suffix, Settings(), 1)
    kafka, topic = settings.kafka.access, bench.pipeline.features_topic
    bench.feed(300)
    delete(kafka, topic, {0: 100})  # a first start is not affected
    process = bench.start()
    process.logged(f"{topic}[0] is followed from 100")
    wait_for(lambda: caught_up(bench), 60, "the drift app")
    os.kill(process.process.pid, signal.SIGSTOP)
    try:
        bench.feed(60_000)
        with Lag(kafka) as lag:
            delete(kafka, topic, {0: lag.end_offsets(topic)[0] - 10})
    finally:
        os.kill(process.process.pid, signal.SIGCONT)
    assert process.process.wait(60) == 1, process.log()
    assert "before they were read" in process.log()


# --- the feature job


@pytest.fixture
def job(
    stack_environment: dict[str, str], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[job_bench.JobBench]:
    monkeypatch.setenv("PENSTOCK_PII_KEY", job_bench.KEY)
    bench = job_bench.prepared(job_bench.define(tmp_path, suffix), Settings())
    yield bench
    lifecycle.cancel(bench.project, bench.settings)


def ends(bench: job_bench.JobBench) -> dict[int, int]:
    with Lag(bench.settings.kafka.access) as lag:
        return lag.end_offsets(bench.pipeline.source.topic)


def test_a_job_is_not_started_behind_deleted_records_unless_told(job: job_bench.JobBench) -> None:
    kafka, topic = job.settings.kafka.access, job.pipeline.source.topic
    job.send(job_bench.payments(100, seed=1))
    delete(kafka, topic, dict.fromkeys(range(job_bench.PARTITIONS), 1))  # a first start is not affected
    lifecycle.start(job.project, job.settings)
    job.features(1)
    job.await_committed(100)
    lifecycle.stop(job.project, job.settings)
    before = ends(job)
    job.send(job_bench.payments(200, seed=2))
    delete(kafka, topic, {0: before[0] + 5})
    with pytest.raises(PenstockError) as refused:
        lifecycle.start(job.project, job.settings, savepoint=lifecycle.LATEST)
    text = str(refused.value)
    assert f"deleted 5 records before they were read: {topic}[0]@{before[0]}" in text
    assert f"penstock job start {job.project.reference} --from-savepoint latest --skip-deleted" in text
    assert not lifecycle.status(job.project, job.settings).is_active  # type: ignore[union-attr]
    lifecycle.start(job.project, job.settings, savepoint=lifecycle.LATEST, skip_deleted=True)
    job.await_committed(300)
    assert lifecycle.status(job.project, job.settings).restarts == 0  # type: ignore[union-attr]


def test_a_job_that_is_restored_from_behind_deleted_records_fails_clearly_and_goes_on_only_if_told(
    job: job_bench.JobBench,
) -> None:
    kafka, topic = job.settings.kafka.access, job.pipeline.source.topic
    job.send(job_bench.payments(100, seed=1))
    lifecycle.start(job.project, job.settings)
    job.await_committed(100)
    old = lifecycle.stop(job.project, job.settings)
    behind = ends(job)
    job.send(job_bench.payments(200, seed=2))
    lifecycle.start(job.project, job.settings, savepoint=old)
    job.await_committed(300)
    lifecycle.stop(job.project, job.settings)
    delete(kafka, topic, {0: behind[0] + 5})
    with pytest.raises(PenstockError) as failed:  # the group's committed offsets show no gap; the savepoint has one
        lifecycle.start(job.project, job.settings, savepoint=old)
    text = str(failed.value)
    assert f"deleted 5 records before they were read: {topic}[0]@{behind[0]}" in text
    assert f"penstock job start {job.project.reference} --from-savepoint {old} --skip-deleted" in text
    count = sum(1 for _ in read_topic(kafka, job.pipeline.features_topic))
    lifecycle.start(job.project, job.settings, savepoint=old, skip_deleted=True)
    eventually(lambda: sum(1 for _ in read_topic(kafka, job.pipeline.features_topic)) >= count + 150)
    assert lifecycle.status(job.project, job.settings).restarts == 0  # type: ignore[union-attr]
