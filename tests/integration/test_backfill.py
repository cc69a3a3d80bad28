"""Backfills on real Kafka and Flink equal what was served, whatever is killed, and do not affect the live job."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cassandra.cluster import Session
from cassandra.query import dict_factory
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from rich.console import Console

from backfill import parts
from backfill.manifest import BackfillManifest, load_manifest
from backfill.parquet import read_backfill
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from backfill.run import BackfillRequest, run_backfill
from backfill.run_again import plan_again
from deploy.local.ports import Ports
from deploy.local.services.flink import TASK_SLOTS, taskmanager
from deploy.local.services.flink import environment as environment_of_flink
from deploy.local.services.service import Layout
from deploy.local.stack import Stack
from penstock.cassandra_client import connect_cassandra
from penstock.commands.options import EventTime
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from penstock.time import iso
from schemas.codec import Decoder, Encoder
from scoring.recipe import DataRecipe
from sinks.cassandra_tables import latest_attempts
from sinks.stores.cassandra import existing_store
from streams.flink import lifecycle
from streams.flink.rest import Flink
from streams.plan.feature_records import features_schema
from tests.backfills import run_quietly
from tests.published import published
from tests.streams.job_bench import KEY, PARTITIONS, START_MS, JobBench, define, payments, prepared
from verify.check_backfill import BackfillFindings, check_backfill
from verify.check_features import check_features
from verify.check_stores import StoreFindings, check_cassandra
from verify.check_timers import check_timers
from verify.judged_sources import judged_source
from verify.reading import _read_cassandra, read_backfill_data
from verify.store_formats import HISTORY_KEY

SPACING_MS = 4_000


@pytest.fixture
def environment(stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, suffix: str) -> Iterator[None]:
    """The stack's, with a key of personal data; jobs that the test leaves running are cancelled."""
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)
    yield
    with Flink(Settings().flink.rest) as flink:
        for job in flink._get("/jobs/overview")["jobs"]:
            if suffix in job["name"] and job["state"] in ("RUNNING", "RESTARTING", "CREATED"):
                flink.cancel(job["jid"])


@pytest.fixture
def bench(environment: None, suffix: str, tmp_path: Path) -> JobBench:
    return prepared(define(tmp_path, suffix), Settings())


@dataclass
class History:
    """Payments of several hours, each with the Kafka timestamp of its arrival, and some invalid records."""

    bench: JobBench
    count: int
    seed: int
    end_ms: int = field(init=False)

    def __post_init__(self) -> None:
        producer = Producer({"bootstrap.servers": self.bench.settings.kafka.bootstrap, "linger.ms": 50})
        newest = 0
        for number, event in enumerate(payments(self.count, self.seed)):
            arrival = START_MS + number * SPACING_MS
            # The delays of the payments, at another pace; one in fifty is sent twice, one in a hundred is garbage.
            event["time"] += number * (SPACING_MS - 700)
            newest = max(newest, event["time"])
            for _ in range(2 if number % 50 == 0 else 1):
                self._produce(producer, event["card"], json.dumps(event).encode(), arrival)
            if number % 100 == 0:
                self._produce(producer, event["card"], b"{garbage", arrival)
        assert producer.flush(60) == 0
        self.end_ms = newest + 1

    def _produce(self, producer: Producer, card: str, value: bytes, timestamp: int) -> None:
        partition = sum(card.encode()) % PARTITIONS
        producer.produce(self.bench.pipeline.source.topic, value, card.encode(), partition, timestamp=timestamp)
        producer.poll(0)


def backfill(bench: JobBench, wanted: BackfillRequest, folder: Path) -> BackfillManifest:
    return run_quietly(bench.project, bench.settings, wanted, folder)


def archived(bench: JobBench, folder: Path) -> None:
    """Archive the raw topic."""
    file = folder.parent / f"{bench.pipeline.name}.py"
    options = ("--out", str(folder), "--topics", "raw", "--until-caught-up")
    subprocess.run([sys.executable, "-m", "penstock", "archive", "run", str(file), *options], check=True, timeout=120)


def checked(bench: JobBench, folder: Path) -> BackfillFindings:
    judged = judged_source(bench.project, 0, bench.settings)
    records = published(
        read_topic(bench.settings.kafka.access, bench.pipeline.features_topic), Decoder(features_schema(bench.plan))
    )
    timers = check_timers(bench.plan, judged.events, records)
    assert timers.mismatches == timers.unverifiable == 0, timers.examples
    assert (timers.checked > 0) == any(view.refresh_ms for view in bench.plan.views)
    arrivals = judged.arrivals()
    features = check_features(bench.plan, judged.events, records, arrivals=arrivals)
    assert features.mismatches == 0, features.examples
    return check_backfill(
        bench.plan,
        read_backfill_data(folder),
        judged.events,
        [record for record in records if not record.is_timer],
        judged.timestamps,
        arrivals=arrivals,
    )


def live_world(bench: JobBench) -> dict[str, Any]:
    """Everything of the live pipeline that a backfill must not change."""
    with Lag(bench.settings.kafka.access) as lag:
        committed = lag.committed_offsets(f"penstock-{bench.pipeline.name}-features", bench.pipeline.source.topic)
        ends = {
            topic: lag.end_offsets(topic)
            for topic in (
                bench.pipeline.source.topic,
                bench.pipeline.source.dead_letter_topic,
                bench.pipeline.features_topic,
            )
        }
    return {"committed": committed, "ends": ends, "job": lifecycle.status(bench.project, bench.settings).id}  # type: ignore[union-attr]


def scratch_topics(bench: JobBench) -> list[str]:
    topics = AdminClient({"bootstrap.servers": bench.settings.kafka.bootstrap}).list_topics(timeout=10).topics
    return [name for name in topics if name.startswith(f"backfill.{bench.pipeline.name}.")]


def test_a_backfilled_range_equals_what_was_served_bit_for_bit_and_changes_nothing_live(
    bench: JobBench, tmp_path: Path
) -> None:
    history = History(bench, 3_000, seed=1)
    lifecycle.start(bench.project, bench.settings)
    bench.features(3_000)
    bench.dead_letters(30)
    bench.await_committed(3_000)
    time.sleep(2.5)
    before = live_world(bench)
    wanted = BackfillRequest(START_MS + 2 * 3_600_000, START_MS + 3 * 3_600_000, ())

    manifest = backfill(bench, wanted, tmp_path / "out")

    assert live_world(bench) == before
    assert scratch_topics(bench) == []
    assert all(start > 0 for start in manifest.replay.start.values()), "it read more than the windows need"
    assert wanted.to_ms < history.end_ms
    findings = checked(bench, tmp_path / "out")
    assert findings.mismatches == 0, findings.examples
    assert findings.rows == manifest.rows > 800
    assert findings.checked > 800 * 8
    # Cards can be compared, because a card's events are in one partition. A shop's come from all, in any order.
    again = backfill(bench, wanted, tmp_path / "out")
    assert again == manifest
    # A version that was trained on it knows its offsets: what has come since then is not read.
    History(bench, 100, seed=4)
    data = DataRecipe(
        data_hash="",
        events=0,
        columns={},
        topics={},
        views=("by_card",),
        **manifest.replay.model_dump(include={"from_ms", "to_ms", "max_ahead_ms"}),
        offsets={
            bench.pipeline.source.topic: {
                partition: (begin, manifest.replay.end[partition]) for partition, begin in manifest.replay.start.items()
            }
        },
    )
    (tmp_path / "later").mkdir()
    later = backfill(bench, plan_again(bench.project, data, tmp_path / "later"), tmp_path / "later")
    assert (later.replay.start, later.replay.end) == (manifest.replay.start, manifest.replay.end)
    columns = read_backfill(tmp_path / "later").columns()
    assert read_backfill(tmp_path / "later").table().equals(read_backfill(tmp_path / "out").table(columns))
    # Kafka has deleted what the range needs, and an archive has it.
    archived(bench, tmp_path / "archive")
    topic, admin = bench.pipeline.source.topic, AdminClient(bench.settings.kafka.access.client())
    ends = [TopicPartition(topic, number, end) for number, end in manifest.replay.end.items()]
    for deleted in admin.delete_records(ends).values():
        deleted.result(30)
    with pytest.raises(PenstockError, match="the range ends after the newest event"):
        backfill(bench, wanted, tmp_path / "deleted")
    of_archive = dataclasses.replace(wanted, archive=str(tmp_path / "archive"))
    backfill(bench, of_archive, tmp_path / "from archive")
    assert read_backfill(tmp_path / "from archive").table().equals(read_backfill(tmp_path / "out").table())
    assert scratch_topics(bench) == []


def test_with_a_source_in_order_of_event_time_all_entities_and_timer_records_equal_what_was_served(
    environment: None, suffix: str, tmp_path: Path
) -> None:
    # The payments arrive up to 400 s late; a partition that is silent for 10 s is idle.
    source = 'order="event_time", disorder="7m", idle_after="10s"'
    bench = prepared(define(tmp_path, suffix, source=source, refresh="1m"), Settings())
    history = History(bench, 1_500, seed=6)
    lifecycle.start(bench.project, bench.settings)
    deadline = time.monotonic() + 60
    while sum(record["trigger"] == "event" for record in bench.features(1_500)) < 1_500:
        assert time.monotonic() < deadline
    lifecycle.stop(bench.project, bench.settings)

    wanted = BackfillRequest(START_MS + 1_000_000, history.end_ms, ())
    backfill(bench, wanted, tmp_path / "out")
    backfill(bench, dataclasses.replace(wanted, parallelism=3), tmp_path / "wide")

    assert part_files(tmp_path / "wide") == part_files(tmp_path / "out")
    findings = checked(bench, tmp_path / "out")
    assert findings.mismatches == 0, findings.examples
    assert findings.order_differences == 0, "shops come from all partitions, and yet in one order"
    assert findings.checked > 1_000 * 8


def command(bench: JobBench, wanted: BackfillRequest, folder: Path, *also: str) -> subprocess.Popen[str]:
    file = folder.parent / f"{bench.pipeline.name}.py"
    arguments = [str(file), "--from", str(wanted.from_ms), "--to", str(wanted.to_ms), "--out", str(folder)]
    arguments += [part for view in wanted.views for part in ("--view", view)]
    arguments += ["--parallelism", str(wanted.parallelism)]
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "backfill", "run", *arguments, *also],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def await_checkpoint(process: subprocess.Popen[str], folder: Path, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        manifest = load_manifest(folder)
        if manifest is not None and manifest.checkpoint is not None:
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, manifest
        time.sleep(0.05)


@pytest.mark.timeout(400)
def test_a_backfill_with_killed_client_and_task_manager_and_cancelled_job_gives_the_same_rows(
    environment: None, stack: Stack, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = prepared(define(tmp_path, suffix, python=True), Settings())
    history = History(bench, 6_000, seed=2)
    wanted = BackfillRequest(START_MS + 2 * 3_600_000, history.end_ms, ("by_shop",))
    unharmed, folder = tmp_path / "unharmed", tmp_path / "harmed"
    backfill(bench, wanted, unharmed)

    # Thirty seconds of work, so that there is something to kill.
    (tmp_path / "gate").touch()
    first = command(bench, wanted, folder)
    await_checkpoint(first, folder)
    first.kill()
    first.communicate()
    os.kill(stack.pid("taskmanager"), signal.SIGKILL)
    second = command(bench, wanted, folder)
    assert second.stdout is not None
    assert "attached to job" in second.stdout.readline()
    second.send_signal(signal.SIGINT)
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 130, said
    assert "the same command continues" in said
    (tmp_path / "gate").unlink()
    # Stopped once more, with whole parts in the folder.
    monkeypatch.setattr(parts, "ROWS_PER_PART", 300)
    monkeypatch.setattr(parts, "_ROWS_PER_GROUP", 300)
    stop, save = threading.Event(), BackfillManifest.save
    monkeypatch.setattr(BackfillManifest, "save", lambda self, path: save(self, path) or (self.parts and stop.set()))
    third = StringIO()
    with ProgressBar(Console(file=third)) as progress, pytest.raises(StoppedError):
        run_backfill(bench.project, bench.settings, wanted, folder, progress, stop)
    monkeypatch.setattr(BackfillManifest, "save", save)
    before = load_manifest(folder)
    assert before is not None
    assert before.parts
    backfill(bench, wanted, folder)

    assert "the job continues from its checkpoint" in third.getvalue()
    assert set(before.parts) <= set(read_backfill(folder).manifest.parts)
    assert read_backfill(folder).table().equals(read_backfill(unharmed).table())
    assert read_backfill(folder).manifest.rows > 3_000
    assert scratch_topics(bench) == []


@pytest.fixture
def session(environment: None) -> Iterator[Session]:
    """Cassandra; rows are dictionaries."""
    with connect_cassandra(Settings().cassandra, dict_factory) as cluster:
        yield cluster.connect()


def history_rows(session: Session, bench: JobBench, view: str) -> list[dict[str, Any]]:
    """All rows of a view's history."""
    table = f"{bench.settings.cassandra.keyspace}.features_{bench.pipeline.name}_{view}_v1"
    return list(session.execute(f"SELECT * FROM {table}", timeout=60))


def test_a_backfill_killed_on_its_way_into_cassandra_is_there_once_and_the_verifier_finds_a_row_that_is_changed(
    session: Session, tmp_path: Path, suffix: str
) -> None:
    bench = prepared(define(tmp_path, suffix), Settings())
    history = History(bench, 2_000, seed=5)
    wanted, folder = BackfillRequest(START_MS + 3_600_000, history.end_ms, ("by_card",)), tmp_path / "out"
    into = ("--into", "cassandra")
    refused = command(bench, wanted, folder, *into)
    said, _ = refused.communicate(timeout=120)
    assert refused.returncode == 1
    assert f"penstock sink run cassandra {bench.project.reference}" in said
    assert not folder.exists(), "it was begun before the tables were missed"
    # The live job has served what came last, and its sink has written it.
    decoder, store = Decoder(features_schema(bench.plan)), existing_store(bench.project, bench.settings)
    store._creates = True
    store.open()
    lifecycle.start(bench.project, bench.settings)
    bench.features(2_000)
    records = published(read_topic(bench.settings.kafka.access, bench.pipeline.features_topic), decoder)
    served = sorted(records, key=lambda record: record.value["event_time"])[-400:]
    encoder = Encoder(features_schema(bench.plan))
    store.write(store.decode(bench.pipeline.features_topic, [encoder.encode(one.value) for one in served])).result()  # type: ignore[arg-type]
    store.close()
    live = history_rows(session, bench, "by_card")

    first = command(bench, wanted, folder, *into, "--max-rate", "500")
    deadline = time.monotonic() + 120
    while len(history_rows(session, bench, "by_card")) == len(live):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.kill()
    first.communicate()
    partly = len(history_rows(session, bench, "by_card")) - len(live)
    second = command(bench, wanted, folder, *into)
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    manifest = read_backfill(folder).manifest
    assert 0 < partly < manifest.rows
    assert f"vectors brought to cassandra, under epoch {manifest.epoch}" in said
    rows = history_rows(session, bench, "by_card")
    assert len(rows) == len(live) + manifest.rows
    again = command(bench, wanted, folder, *into)
    said, _ = again.communicate(timeout=120)
    assert "0 vectors brought to cassandra" in said
    assert history_rows(session, bench, "by_card") == rows
    # Of an event that was served, what was served counts; of one from before, the row of the backfill.
    of_live = {row["event_id"] for row in live}
    assert 0 < len(of_live) < manifest.rows
    for card in {row["entity"] for row in rows}:
        counted = latest_attempts(row for row in rows if row["entity"] == card)
        assert len({row["event_id"] for row in counted}) == len(counted)
        assert all((row["epoch"] > 0) == (row["event_id"] in of_live) for row in counted)

    def verified() -> StoreFindings:
        tables = _read_cassandra(bench.plan, bench.settings, None, 0)
        backfills = [read_backfill_data(folder)]
        keyspace = bench.settings.cassandra.keyspace
        return check_cassandra(bench.plan, served, [], tables, backfills=backfills, keyspace=keyspace)

    assert verified().examples == []
    assert verified().compared > manifest.rows
    broken = next(row for row in rows if row["epoch"] == manifest.epoch)
    table = f"{bench.settings.cassandra.keyspace}.features_{bench.pipeline.name}_by_card_v1"
    key = " AND ".join(f"{name} = %({name})s" for name in HISTORY_KEY)
    session.execute(f"UPDATE {table} SET event_id = 'another' WHERE {key}", broken)
    assert [text for text in verified().examples if "differs in event_id" in text]
    session.execute(f"DELETE FROM {table} WHERE {key}", broken)
    assert [text for text in verified().examples if "is missing" in text]


@contextmanager
def second_task_manager(stack: Stack) -> Iterator[None]:
    """A TaskManager with as many slots beside the stack's, which is killed at the end."""
    layout = Layout(stack.home, Ports.free(), "second")
    with Flink(Settings().flink.rest) as flink, (stack.home / "second-taskmanager.log").open("w") as log:
        before = flink.free_slots()
        # Its configuration is the stack's, its port of metrics its own.
        variables = {**environment_of_flink(layout), "FLINK_PID_DIR": str(layout.data("flink") / "second")}
        process = subprocess.Popen(taskmanager(layout), env=variables, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 90
            while flink.free_slots() < before + TASK_SLOTS:
                assert process.poll() is None, log.name
                assert time.monotonic() < deadline, log.name
                time.sleep(0.2)
            yield
        finally:
            process.kill()
            process.wait()


def part_files(folder: Path) -> dict[str, str]:
    """The digest of each part of a complete backfill."""
    parts = [part.file for part in read_backfill(folder).manifest.parts]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in parts}


@pytest.mark.timeout(600)
def test_every_parallelism_on_one_or_two_task_managers_gives_the_same_bytes(
    environment: None, stack: Stack, suffix: str, tmp_path: Path
) -> None:
    bench = prepared(define(tmp_path, suffix, python=True), Settings())
    history = History(bench, 4_000, seed=7)
    wanted = BackfillRequest(START_MS + 3_600_000, history.end_ms, ())
    with Flink(bench.settings.flink.rest) as flink:
        more_than_one_has = flink.free_slots() + 1
    for parallelism in (1, 2, 4):
        backfill(bench, dataclasses.replace(wanted, parallelism=parallelism), tmp_path / str(parallelism))
    on_two = dataclasses.replace(wanted, parallelism=more_than_one_has)
    with pytest.raises(PenstockError, match=f"Flink has .* not {more_than_one_has}"):
        backfill(bench, on_two, tmp_path / "refused")
    harmed = tmp_path / "harmed"
    with second_task_manager(stack):
        backfill(bench, on_two, tmp_path / "on two")
        # Slow enough to be killed in the middle.
        (tmp_path / "gate").touch()
        process = command(bench, on_two, harmed)
        await_checkpoint(process, harmed)
    # The second TaskManager is gone for good: the job goes on with what is left.
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    (tmp_path / "gate").unlink()
    process = command(bench, dataclasses.replace(wanted, parallelism=2), harmed)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "the job continues from its checkpoint" in said

    rows = part_files(tmp_path / "1")
    assert read_backfill(tmp_path / "1").manifest.rows > 3_000
    assert {name: part_files(tmp_path / name) for name in ("2", "4", "on two", "harmed")} == dict.fromkeys(
        ("2", "4", "on two", "harmed"), rows
    )


def test_an_impossible_backfill_is_refused_before_anything_starts(bench: JobBench, tmp_path: Path) -> None:
    history = History(bench, 3_000, seed=3)
    folder = tmp_path / "out"

    def refusal(from_ms: int, to_ms: int, *views: str) -> PenstockError:
        with pytest.raises(PenstockError) as refused:
            backfill(bench, BackfillRequest(from_ms, to_ms, views), folder)
        assert not folder.exists()
        assert scratch_topics(bench) == []
        return refused.value

    middle = START_MS + 2 * 3_600_000
    unknown = refusal(middle, history.end_ms, "by_shop", "by_country")
    assert "no view 'by_country'; it has by_card, by_shop" in unknown.what
    assert unknown.next == f"penstock features describe {bench.project.reference}"
    assert "the range is empty" in str(refusal(middle, middle))
    assert f"--to {iso(history.end_ms)}" in str(refusal(middle, history.end_ms + 1))

    topic = bench.pipeline.source.topic
    deleted = [TopicPartition(topic, 1, 500)]
    admin = AdminClient({"bootstrap.servers": bench.settings.kafka.bootstrap})
    admin.delete_records(deleted)[deleted[0]].result(15)
    gone = refusal(START_MS, history.end_ms)
    assert "retention has deleted records" in gone.what
    assert gone.next is not None
    possible = re.search(r"--from (\S+) --to (\S+),", gone.next)
    assert possible is not None
    earliest = EventTime().convert(possible[1], None, None)
    assert START_MS < earliest < history.end_ms
    assert "retention has deleted" in str(refusal(earliest - 1, history.end_ms))
