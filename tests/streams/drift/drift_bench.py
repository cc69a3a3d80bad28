"""Helpers of the drift tests on real Kafka: a small pipeline with a reference, drifting input, and the verifier."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.codec import Decoder, Encoder, Undecodable, UnknownSchema
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.drift.calibration import calibrate
from streams.drift.resampling import MonitorSeries
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.pipeline_topics import pipeline_topics
from tests.scoring.scorer_bench import manifest_of, wait_for
from verify.check_drift import DriftFindings, check_drift
from verify.published import Published

DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Monitors, Pipeline, Source, View, mean


class Sip(Contract, name="sip_{suffix}", version=1):
    sip_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="sips_{suffix}",
    source=Source(topic="events.sips_{suffix}", contract=Sip, key="card", partitions={partitions}),
    entities=(card,),
    views=(View(name="habit", version=1, entity=card, aggregates=(mean("amount", over="1h"),)),),
    model=Model(
        name="sips_{suffix}",
        inputs=("event.amount", "habit.amount_mean_1h"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
    monitors=Monitors(inputs=("event.amount", "habit.amount_mean_1h"), window=200, false_alarm_every=10_000),
)
"""
UNTIL_MS = 1_000_000
NULLS = 0.05


class Bench:
    """One pipeline on the stack, whose values change every ``phase`` events of a partition."""

    def __init__(self, folder: Path, suffix: str, settings: Settings, partitions: int, phase: int = 700) -> None:
        path = folder / f"sips_{suffix}.py"
        path.write_text(DEFINITION.format(suffix=suffix, partitions=partitions), encoding="utf-8")
        self.path, self.folder, self.settings = str(path), folder, settings
        self.pipeline: Pipeline = load_pipeline(self.path)
        self.sent = 0
        self._phase = phase
        self._rng = random.Random(5)
        self._next = [0] * partitions
        self._past: list[tuple[int, bytes]] = []
        self._producer = Producer({**settings.kafka.access.client(), "linger.ms": 5})
        self._features = Encoder(features_schema(compile_plan(self.pipeline)))
        self._predictions = Encoder(PREDICTION_SCHEMA)
        create_topics(pipeline_topics(self.pipeline), settings.kafka.access)
        self.repository = ModelRepository(settings.model_repository)
        self.repository.add(self.pipeline.model.name, *_trained(self.pipeline))

    def feed(self, events: int) -> None:
        """Send features and predictions of new events, and some features again, as after a failure."""
        rng = self._rng
        for _ in range(events):
            partition = rng.randrange(len(self._next))
            offset = self._next[partition]
            self._next[partition] += 1
            level = 10.0 + 4.0 * (offset // self._phase % 3)
            value = self._feature(partition, offset, level)
            self._produce(self.pipeline.features_topic, partition, value)
            self._past.append((partition, value))
            if rng.random() < 0.01:
                for again, old in self._past[-rng.randrange(1, 100) :]:
                    self._produce(self.pipeline.features_topic, again, old)
            self._produce(self.pipeline.predictions_topic, partition, self._prediction(partition, offset, level))
            self.sent += 1
        self._producer.flush(30)

    def garbage(self, topic: str, partition: int, value: bytes | None) -> None:
        self._produce(topic, partition, value)
        self._producer.flush(30)

    def compressed_garbage(self, topic: str, partition: int, length: int) -> None:
        """Write zeros, of any length: compressed, they are short."""
        config = {"message.max.bytes": 200_000_000, "compression.type": "zstd"}
        producer = Producer({**self.settings.kafka.access.client(), **config})
        producer.produce(topic, bytes(length), partition=partition)
        assert producer.flush(60) == 0

    def alerts(self) -> list[dict[str, Any]]:
        """All published alerts."""
        decoder = record_decoder("drift_alert")
        return [
            decoder.decode(r.value or b"") for r in read_topic(self.settings.kafka.access, self.pipeline.drift_topic)
        ]

    def verdict(self) -> DriftFindings:
        """The alerts of a replay."""
        features, predictions = (
            self._published(self.pipeline.features_topic, features_schema(compile_plan(self.pipeline))),
            self._published(self.pipeline.predictions_topic, PREDICTION_SCHEMA),
        )
        kafka = self.settings.kafka.access
        alerts, states = (
            read_topic(kafka, topic) for topic in (self.pipeline.drift_topic, self.pipeline.drift_state_topic)
        )
        return check_drift(self.pipeline, self.repository.root, features, predictions, alerts, states)

    def drained(self, timeout_s: float = 120) -> DriftFindings:
        """Wait until every record is followed and its state saved, then verify what was published."""
        group = group_of(self.pipeline.name, "drift")
        with Lag(self.settings.kafka.access) as lag:
            wait_for(
                lambda: (
                    not any(
                        behind
                        for topic in (self.pipeline.features_topic, self.pipeline.predictions_topic)
                        for behind in lag.of_group(group, topic).values()
                    )
                ),
                timeout_s,
                "the drift app to catch up",
            )
        return self.verdict()

    def start(self, instance: str = "0", *options: str) -> DriftProcess:
        return DriftProcess(self, instance, options)

    def _published(self, topic: str, schema: dict[str, Any]) -> list[Published]:
        decoder, found = Decoder(schema), []
        for record in read_topic(self.settings.kafka.access, topic):
            try:
                value = decoder.decode(record.value or b"")
            except (Undecodable, UnknownSchema):
                continue
            found.append(Published(record.partition, record.offset, record.key, value))
        return found

    def _produce(self, topic: str, partition: int, value: bytes | None) -> None:
        self._producer.produce(topic, value, key=b"card", partition=partition)
        self._producer.poll(0)

    def _event(self, partition: int, offset: int) -> dict[str, Any]:
        time_ms = UNTIL_MS - 100_000 + 1_000 * offset
        source = {"topic": self.pipeline.source.topic, "partition": partition, "offset": offset, "timestamp": time_ms}
        return {"event_id": f"{partition}-{offset}", "event_time": time_ms, "attempt": 0, "source": source}

    def _feature(self, partition: int, offset: int, level: float) -> bytes:
        rng, event = self._rng, self._event(partition, offset)
        view = {"entity": "c", "epoch": 1, "seq": offset + 1, "as_of": event["event_time"], "late": False}
        mean = None if rng.random() < NULLS else rng.gauss(level, 1.0)
        return self._features.encode(
            event
            | {"trigger": "event", "event": {"amount": rng.gauss(level, 2.0)}, "habit": view | {"amount_mean_1h": mean}}
        )

    def _prediction(self, partition: int, offset: int, level: float) -> bytes:
        score = min(max(self._rng.gauss(level / 40, 0.05), 0.0), 1.0)
        fixed = {"entity": None, "decision": "pass", "route": "primary", "policy_version": "1", "views": []}
        place = {
            "features_topic": "",
            "features_partition": 0,
            "features_offset": 0,
            "vector": b"",
            "scored_at": 0,
            "outputs": [],
            "reasons": [],
            "cascade": None,
            "rollout": None,
        }
        named = {"pipeline": self.pipeline.name, "model": self.pipeline.model.name, "model_version": "1"}
        return self._predictions.encode(self._event(partition, offset) | fixed | place | named | {"score": score})


class DriftProcess:
    """``penstock drift run`` as a process, with its log in a file."""

    def __init__(self, bench: Bench, instance: str, options: Sequence[str]) -> None:
        self._log = bench.folder / f"drift-{instance}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "penstock", "drift", "run", bench.path, "--instance", instance, *options]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=dict(os.environ))

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def logged(self, text: str, timeout_s: float = 60) -> None:
        wait_for(lambda: text in self.log() or self.process.poll() is not None, timeout_s, f"{text!r} in the log")
        assert text in self.log(), self.log()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log()


def _trained(pipeline: Pipeline) -> tuple[TrainedModel, Any]:
    monitors = pipeline.monitors
    assert monitors is not None
    rng, rows = np.random.default_rng(1), 4_000
    times, partitions = np.arange(rows) * 200, np.arange(rows) % pipeline.source.partitions
    habit = rng.normal(10, 1, rows)
    habit[rng.random(rows) < NULLS] = np.nan
    values = (rng.normal(10, 2, rows), habit, rng.normal(0.25, 0.05, rows).clip(0, 1))
    series = [
        MonitorSeries(name, times, partitions, value.astype(np.float32).astype(np.float64))
        for name, value in zip(monitors.names(), values, strict=True)
    ]
    name = pipeline.model.name
    reference = calibrate(pipeline.name, name, monitors, series, until_ms=UNTIL_MS, warm_up_ms=0, seed=0)
    return TrainedModel(b"not served here", None, manifest_of(pipeline)), reference.artifacts()
