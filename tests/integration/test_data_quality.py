"""Data quality on real Kafka: killed anywhere, it counts each raw record once, and an incident names the fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from penstock.cli import cli
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.history import record_decoder
from streams.definitions.loading import load_pipeline
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import open_project
from tests.scoring.scorer_bench import wait_for
from tests.streams.drift.data_quality.parcels import DEFINITION, parcel
from verify.check_data_quality import check_data_quality
from verify.run_data import RunData

LEARNT, STEP_MS = 4_000, 30_000


class QualityOfParcels:
    """One pipeline on the stack, whose records the test writes, and its processes."""

    def __init__(self, folder: Path, suffix: str, settings: Settings) -> None:
        self.folder, self.kafka = folder, settings.kafka.access
        self.path = folder / f"parcels_{suffix}.py"
        self.path.write_text(DEFINITION.format(suffix=suffix), encoding="utf-8")
        self.pipeline = load_pipeline(str(self.path))
        create_topics(pipeline_topics(self.pipeline), self.kafka)
        self._begin_ms = time.time_ns() // 1_000_000 - 6_000 * STEP_MS

    def write(self, numbers: range, *, faulty: bool = False) -> None:
        """Parcels; with a fault, those of producer 4.2 have no weight."""
        producer = Producer({**self.kafka.client(), "linger.ms": 5})
        for number in numbers:
            at, version = self._begin_ms + number * STEP_MS, "4.2" if number % 4 < 2 else "4.1"
            event = parcel(number, at, is_null=faulty and version == "4.2")
            producer.produce(
                self.pipeline.source.topic,
                event,
                partition=number % 2,
                timestamp=at + 100,
                headers={"version": version},
            )
        assert producer.flush(30) == 0

    def command(self, *arguments: str) -> str:
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def start(self, *crash: str) -> subprocess.Popen[bytes]:
        module = ("tests.scoring.rollout.crashing_controller", *crash) if crash else ("penstock",)
        command = [sys.executable, "-m", *module, "data-quality", "run", str(self.path)]
        with (self.folder / "run.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=dict(os.environ))

    def log(self) -> str:
        return (self.folder / "run.log").read_text(encoding="utf-8", errors="replace")

    def is_drained(self) -> bool:
        topic = self.pipeline.source.topic
        with Lag(self.kafka) as lag:
            return lag.committed_offsets(group_of(self.pipeline.name, "data-quality"), topic) == lag.end_offsets(topic)

    def run_data(self) -> RunData:
        """What the verifier reads of it."""
        pipeline = self.pipeline
        raw, alerts, counts = (
            list(read_topic(self.kafka, topic))
            for topic in (pipeline.source.topic, pipeline.drift_topic, pipeline.data_quality_topic)
        )
        now_ms = time.time_ns() // 1_000_000
        return RunData((raw,), (), (), (), alerts=alerts, data_quality=counts, read_at_ms=now_ms)

    def alerts(self) -> list[dict[str, Any]]:
        decoder = record_decoder("drift_alert")
        return [decoder.decode(one.value or b"") for one in read_topic(self.kafka, self.pipeline.drift_topic)]


@pytest.fixture
def parcels(settings: Settings, suffix: str, tmp_path: Path) -> QualityOfParcels:
    return QualityOfParcels(tmp_path, suffix, settings)


def test_killed_at_any_point_it_counts_each_record_once_and_an_incident_names_the_fault(
    parcels: QualityOfParcels,
) -> None:
    name = str(parcels.path)
    parcels.write(range(LEARNT))
    parcels.command("data-quality", "profile", name)
    end = LEARNT
    for point in ("before_commit", "after_commit"):
        parcels.write(range(end, end + 100), faulty=True)
        end += 100
        process = parcels.start("save", point, "1")
        try:
            assert process.wait(90) == -signal.SIGKILL, parcels.log()
        finally:
            process.kill()
    parcels.write(range(end, end + 100), faulty=True)
    end += 100
    process = parcels.start()
    try:
        wait_for(parcels.is_drained, 120, "all records to be committed")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, parcels.log()
    finally:
        process.kill()
    shown = json.loads(parcels.command("data-quality", "show", name, "--json"))
    topic = shown["topics"][parcels.pipeline.source.topic]
    assert (topic["events"], topic["unusual"]) == (end - LEARNT, ["weight by null (4.2)"])
    (alert,) = parcels.alerts()
    assert alert["message"] == "weight: null in 100 % of the records of producer 4.2, usually 0 %"
    counted = check_data_quality(open_project(name), parcels.run_data())
    assert (counted.mismatches, counted.unchecked) == (0, []), counted.examples
    assert (counted.records, counted.alerts) == (end - LEARNT, 1)
    parcels.command("incidents", "watch", name)
    (incident,) = json.loads(parcels.command("incidents", "list", name, "--json"))
    diagnosis = incident["diagnosis"]
    where = f"{parcels.pipeline.source.topic}[{alert['partition']}]@{LEARNT // 2}"
    assert (diagnosis["cause"], diagnosis["column"], diagnosis["first"]) == ("upstream-fault", "weight", where)
    assert diagnosis["why"] == [f"{alert['message']}, since {where}"]
