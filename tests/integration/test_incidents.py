"""Incidents on a real broker: alarms, causes and proposals by the commands, and writers in each other's way."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from loop.entries import Closed
from loop.incidents import incidents_of
from loop.store import extend, read_entries
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from streams.plan.pipeline_topics import pipeline_topics
from tests.loop.taps import Taps, define


class Bench:
    """A pipeline whose records the test writes, and the commands on it."""

    def __init__(self, folder: Path, suffix: str, settings: Settings) -> None:
        self.taps = Taps(define(folder, suffix))
        self.project, self.kafka = self.taps.project, settings.kafka.access
        create_topics(pipeline_topics(self.project.pipeline), self.kafka)

    def publish(self) -> None:
        """Send what was written since the last time."""
        producer = Producer(self.kafka.client())
        for topic, values in self.taps.topics.items():
            for value in values:
                producer.produce(topic, value, partition=0)
                producer.poll(0)
        assert producer.flush(60) == 0
        self.taps.topics.clear()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of Penstock."""
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def penstock(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        out, error = process.communicate(timeout=120)
        assert process.returncode == code, error
        return out

    def incidents(self) -> list[dict[str, Any]]:
        return json.loads(self.penstock("incidents", "list", self.project.reference, "--json"))


@pytest.fixture
def bench(tmp_path, suffix, settings) -> Bench:
    return Bench(tmp_path, suffix, settings)


def test_a_column_in_cents_is_named_and_proposes_nothing(bench: Bench) -> None:
    reference = bench.project.reference
    bench.taps.write(4_000)
    bench.taps.alarm()
    bench.taps.write(1_200, unit=100)
    bench.publish()
    assert "upstream-fault of amount" in bench.penstock("incidents", "watch", reference)
    (found,) = bench.incidents()
    assert "values are 100 times as large" in bench.penstock("incidents", "show", reference, found["incident"])
    assert json.loads(bench.penstock("retrain", "list", reference, "--json")) == []
    bench.penstock("retrain", "run", reference, code=99)
    closing = ("incidents", "close", reference, found["incident"], "--reason", "euros again")
    bench.penstock(*closing)
    assert "was closed before" in bench.penstock(*closing)
    story = json.loads(bench.penstock("audit", reference, found["incident"], "--json"))
    assert [line["what"] for line in story] == ["opened", "cause", "closed"]


def test_two_watches_at_once_propose_one_training_which_is_a_cloud_event(bench: Bench) -> None:
    reference = bench.project.reference
    bench.taps.write(4_000)
    bench.taps.alarm()
    bench.taps.write(1_600, meaning=0)
    bench.taps.publish_labels(mature=True)
    bench.publish()
    watches = [bench.start("incidents", "watch", reference) for _ in range(2)]
    for watch in watches:
        _, error = watch.communicate(timeout=120)
        assert watch.returncode == 0, error
    (found,) = bench.incidents()
    assert found["diagnosis"]["cause"] == "concept-drift"
    (proposal,) = found["proposals"]
    (record,) = read_topic(bench.kafka, bench.project.pipeline.retrain_topic)
    event = json.loads(record.value or b"")
    assert (event["type"], event["subject"]) == ("penstock.retrain.proposed", proposal["proposal"])
    refused = bench.start("retrain", "run", reference)
    assert "--auto does not name" in refused.communicate(timeout=60)[1]
    assert refused.returncode == 1
    assert "proposed" in bench.penstock("audit", reference, proposal["proposal"])


def test_a_watch_that_is_killed_at_any_moment_leaves_each_entry_whole_or_not_there(bench: Bench) -> None:
    bench.taps.write(4_000)
    bench.taps.alarm()
    bench.taps.write(1_200, unit=100)
    bench.publish()
    for seconds in (1.0, 2.0, 3.0):
        watch = bench.start("incidents", "watch", bench.project.reference)
        with contextlib.suppress(subprocess.TimeoutExpired):
            watch.wait(seconds)
        watch.kill()
        watch.communicate()
    bench.penstock("incidents", "watch", bench.project.reference)
    (incident,) = incidents_of(read_entries(bench.kafka, bench.project.pipeline)).values()
    assert len(incident.signals) == 1
    assert incident.diagnosis is not None


def test_a_writer_that_was_fenced_decides_again_on_what_the_other_has_written(bench: Bench) -> None:
    bench.taps.write(4_000)
    bench.taps.alarm()
    bench.publish()
    bench.penstock("incidents", "watch", bench.project.reference)
    kafka, pipeline = bench.kafka, bench.project.pipeline
    (incident,) = incidents_of(read_entries(kafka, pipeline)).values()
    asked = []

    def close(log):
        asked.append(len(log))
        if len(asked) == 1:  # another writer comes in between, and closes it
            extend(kafka, pipeline, lambda _: [Closed(incident=incident.id, time_ms=5, author="bob", reason="b")])
        closed = Closed(incident=incident.id, time_ms=6, author="ada", reason="a")
        return [closed] if incidents_of(log)[incident.id].is_open else []

    entries = extend(kafka, pipeline, close)
    assert [entry.author for entry in entries if isinstance(entry, Closed)] == ["bob"]
    assert asked == [1, 2]
