"""The drift app as a process on real Kafka: it publishes every alert of a replay exactly once, whatever is killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from tests.scoring.scorer_bench import feeding, read
from tests.streams.drift.drift_bench import Bench

PARTITIONS = 3


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(tmp_path / "models"))
    return Bench(tmp_path, suffix, Settings(), PARTITIONS)


def assert_exactly_the_alerts_of_a_replay(bench: Bench) -> None:
    findings = bench.drained()
    assert findings.held, findings.examples
    # The values change level repeatedly, so every monitor must alert, else the test proves nothing.
    assert {alert["monitor"] for alert in bench.alerts()} == {"event.amount", "habit.amount_mean_1h", "score"}


def test_after_kills_at_any_moment_no_alert_is_lost_or_published_twice(bench):
    rng = random.Random(3)
    bench.feed(2_000)
    with feeding(bench, per_burst=10, pause_s=0.05):
        for _ in range(3):
            process = bench.start()
            process.logged("is followed from")
            time.sleep(rng.uniform(0.0, 2.0))
            process.kill()
    last = bench.start()
    bench.feed(2_000)
    try:
        assert_exactly_the_alerts_of_a_replay(bench)
    finally:
        last.stop()


def test_while_instances_join_and_leave_each_alert_is_published_once(bench):
    bench.feed(1_000)
    with feeding(bench, per_burst=10, pause_s=0.05):
        first = bench.start("a")
        first.logged("is followed from")
        second = bench.start("b")
        second.logged("is followed from")
        time.sleep(2)
        first.kill()
        time.sleep(1)
        third = bench.start("c")
        third.logged("is followed from")
        second.process.send_signal(signal.SIGSTOP)  # cut off for longer than the group waits for it
        time.sleep(13)
        second.process.send_signal(signal.SIGCONT)
        time.sleep(2)
    bench.feed(2_000)
    try:
        assert_exactly_the_alerts_of_a_replay(bench)
    finally:
        second.stop()
        third.stop()


def test_an_undecodable_record_becomes_a_dead_letter_and_the_others_are_processed(bench):
    features = bench.pipeline.features_topic
    bench.feed(300)
    for value in (b"garbage", None, b"\xc3\x01unknown!!"):
        bench.garbage(features, 0, value)
    bench.garbage(bench.pipeline.predictions_topic, 1, b"garbage")
    bench.compressed_garbage(features, 1, MAX_RECORD_BYTES + 1)
    bench.feed(6_000)
    process = bench.start()
    try:
        assert_exactly_the_alerts_of_a_replay(bench)
    finally:
        process.stop()
    kafka = bench.settings.kafka.access
    letters = [
        DeadLetter.read(m.key(), m.value(), m.headers())
        for topic in (features, bench.pipeline.predictions_topic)
        for m in read(kafka, dead_letters_of(topic), PARTITIONS, "read_committed")
    ]
    assert sorted((letter.partition, letter.value or b"", letter.component) for letter in letters) == [
        (0, b"", "penstock.drift"),
        (0, b"garbage", "penstock.drift"),
        (0, b"\xc3\x01unknown!!", "penstock.drift"),
        (1, b"\0" * 16 * 1024, "penstock.drift"),  # the whole is longer than Kafka's clients send
        (1, b"garbage", "penstock.drift"),
    ]
