"""The quality of a pipeline on real Kafka: killed anywhere, the process shows what a naive computation finds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.history import record_decoder
from streams.plan.pipeline_topics import pipeline_topics
from tests.scoring.quality.quality_records import (
    LABELS,
    OTHERWISE,
    QualityRecords,
    define_quality,
    event_of,
    naive_counts,
    time_of,
)
from tests.scoring.rollout.crashing_controller import POINTS
from tests.scoring.scorer_bench import wait_for
from verify.check_quality import QualityFindings, check_quality
from verify.labels import label_history
from verify.published import readable
from verify.run_data import RunData


class QualityBench:
    """One pipeline on the stack, whose records the test writes, and its processes."""

    def __init__(self, folder: Path, suffix: str, settings: Settings) -> None:
        self.folder, self.kafka = folder, settings.kafka.access
        self.project = define_quality(folder, suffix, labels=LABELS + OTHERWISE)
        self.pipeline = self.project.pipeline
        self.records = QualityRecords(self.project)
        self.labels: dict[str, list[tuple[int, int, float | None]]] = defaultdict(list)
        create_topics(pipeline_topics(self.pipeline), self.kafka)

    def write(self, numbers: range, *, labels: bool = True) -> None:
        """What scorers write of these events, live and in shadow; and the label of every fourth, ten minutes later."""
        producer = Producer({**self.kafka.client(), "linger.ms": 5})
        for number in numbers:
            partition = self.records.partition(number)
            producer.produce(self.pipeline.predictions_topic, self.records.live(number), partition=partition)
            producer.produce(self.pipeline.shadow_topic, self.records.shadow(number), partition=partition)
            # Of a stretch all events are positive, which is more than scores say.
            if labels and (number % 4 == 0 or 100 < number <= 140):
                self._label(producer, number, 1.0, 600_000)
        assert producer.flush(30) == 0

    def label(self, number: int, value: float | None, age_ms: int) -> None:
        producer = Producer(self.kafka.client())
        self._label(producer, number, value, age_ms)
        assert producer.flush(30) == 0

    def _label(self, producer: Producer, number: int, value: float | None, age_ms: int) -> None:
        of = self.labels[event_of(number)]
        of.append((time_of(number) + age_ms, len(of), value))
        assert self.pipeline.labels is not None
        content = self.records.label(number, value, age_ms=age_ms)
        producer.produce(self.pipeline.labels.topic, content, partition=self.records.partition(number))

    def opine(self, number: int, value: bool | None, age_ms: int, *, counts: bool) -> None:
        """What the second source says of an event; whether it counts there."""
        assert self.pipeline.labels is not None
        if counts:
            self.labels[event_of(number)] = [(time_of(number) + age_ms, 0, value)]
        producer = Producer(self.kafka.client())
        content = self.records.opinion(number, value, age_ms=age_ms)
        producer.produce(self.pipeline.labels.topics[1], content, partition=self.records.partition(number))
        assert producer.flush(30) == 0

    def start(self, *crash: str) -> subprocess.Popen[bytes]:
        module = ("tests.scoring.rollout.crashing_controller", *crash) if crash else ("penstock",)
        command = [sys.executable, "-m", *module, "quality", "run", self.project.reference]
        with (self.folder / "quality.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=dict(os.environ))

    def log(self) -> str:
        return (self.folder / "quality.log").read_text(encoding="utf-8", errors="replace")

    def kill_at(self, point: str) -> None:
        """A process that is killed (SIGKILL) at that point of its first transaction."""
        process = self.start("save", point, "1")
        try:
            assert process.wait(90) == -signal.SIGKILL, self.log()
        finally:
            process.kill()

    @contextmanager
    def counting(self) -> Iterator[None]:
        process = self.start()
        try:
            yield
        except BaseException:
            print(self.log())
            process.kill()
            raise
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, self.log()

    def is_drained(self) -> bool:
        """Whether all is committed that it reads."""
        group = group_of(self.pipeline.name, "quality")
        assert self.pipeline.labels is not None
        topics = self.pipeline.predictions_topic, self.pipeline.shadow_topic, *self.pipeline.labels.topics
        with Lag(self.kafka) as lag:
            return all(lag.committed_offsets(group, topic) == lag.end_offsets(topic) for topic in topics)

    def show(self, *options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "penstock", "quality", "show", self.project.reference, "--json", *options]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, env=dict(os.environ), check=True)
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    def verified(self) -> QualityFindings:
        pipeline, decoder = self.pipeline, record_decoder("prediction")
        labels = pipeline.labels
        assert labels is not None
        live, shadows = (
            readable(read_topic(self.kafka, topic), decoder, topic)[0]
            for topic in (pipeline.predictions_topic, pipeline.shadow_topic)
        )
        topics = *labels.topics, pipeline.quality_topic, pipeline.drift_topic
        *known, quality, alerts = (list(read_topic(self.kafka, topic)) for topic in topics)
        run = RunData((), (), (), live, shadows=shadows, labels=known, quality=quality, alerts=alerts)
        return check_quality(self.project, run, lambda of: label_history(labels, of, self.project.schemas))

    def incidents(self) -> list[dict[str, Any]]:
        """Those that a watch has opened."""
        for command in (["watch", self.project.reference], ["list", self.project.reference, "--json"]):
            words = [sys.executable, "-m", "penstock", "incidents", *command]
            done = subprocess.run(words, capture_output=True, cwd=ROOT, env=dict(os.environ), check=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def served(self) -> list[dict[str, Any]]:
        decoder = record_decoder("prediction")
        return [decoder.decode(r.value or b"") for r in read_topic(self.kafka, self.pipeline.predictions_topic)]


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> QualityBench:
    return QualityBench(tmp_path, suffix, settings)


def test_killed_at_any_point_it_shows_what_a_naive_computation_finds(bench: QualityBench) -> None:
    bench.write(range(400))
    for number, point in enumerate(POINTS):
        bench.kill_at(point)
        bench.write(range(400 + 100 * number, 500 + 100 * number))
    with bench.counting():
        wait_for(bench.is_drained, 90, "everything to be counted")
        # Corrections of what has matured: a withdrawal, a fraud that was none, and one that came too late to count.
        bench.label(400, None, 700_000)
        bench.label(404, 0.0, 800_000)
        bench.label(408, 0.0, 3_600_001)
        # Another source: of the event whose label was withdrawn, of one that has a label, and of one that has none.
        bench.opine(400, True, 600_000, counts=True)
        bench.opine(412, False, 700_000, counts=False)
        bench.opine(413, True, 600_000, counts=True)
        bench.write(range(700, 720), labels=False)
        wait_for(bench.is_drained, 60, "corrections to be counted")

    shown = bench.show()
    mature_ms = max(known_at for of in bench.labels.values() for known_at, *_ in of)
    served = bench.served()
    assert shown["reached"]["mature_ms"] == mature_ms
    (live,) = (row for row in shown["rows"] if row["of"] == {"version": "1", "arm": "present"})
    expected = naive_counts(served, bench.labels, mature_ms)
    assert {name: live["counts"][name] for name in expected} == expected
    assert expected["positive"] > 50 < expected["unknown"]
    assert (shown["late"], shown["unmatched"]) == (0, 0)
    by_route = bench.show("--by", "route")["rows"]
    assert sum(row["counts"]["scored"] for row in by_route) == 2 * len(served)

    # The verifier counts by its own code, and finds the same.
    found = bench.verified()
    assert (found.mismatches, found.unchecked) == (0, []), found.examples
    assert found.histograms > 10

    # Labels that do not agree with scores were one alarm, which opens an incident.
    (alert,) = read_topic(bench.kafka, bench.pipeline.drift_topic)
    (incident,) = bench.incidents()
    (signal_,) = incident["signals"]
    assert (alert.key, signal_["what"], signal_["model_version"]) == (b"labels", "labels", "1")
    assert "labels do not agree with scores" in signal_["text"]


def test_a_second_process_takes_the_place_of_the_first_which_says_so(bench: QualityBench) -> None:
    bench.write(range(300))
    first = bench.start()
    try:
        wait_for(lambda: "events wait for their labels" in bench.log(), 60, "the first process")
        with bench.counting():
            assert first.wait(60) == 1, bench.log()
            bench.write(range(300, 400))
            wait_for(bench.is_drained, 60, "everything to be counted")
    finally:
        first.kill()
    assert "another process counts the quality of this pipeline" in bench.log()
    assert sum(row["counts"]["scored"] for row in bench.show()["rows"]) == 800
