"""Measures `penstock drift run`: events per second and CPU time per event, as a process on a real broker.

    PENSTOCK_HOME=STACK python -m tests.bench.pipeline.drift [--tree CHECKOUT]... [--events N]

It fills the topics of a pipeline of three views with fourteen features each and ten monitors, starts the app, and
watches the offsets that the app commits until it has caught up. With several checkouts, it measures each on topics of
its own with the same records, one after the other: the first says "before", the last "after".
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer

from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.vectors import Vectorizer, pack_vector
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.drift.calibration import MonitorSeries, calibrate
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.pipeline_topics import pipeline_topics
from tests.bench.engine.process_cpu import seconds
from tests.scoring.scorer_bench import manifest_of

PARTITIONS = 4
VIEWS = ("card", "terminal", "customer")
DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Monitors, Pipeline, Source, View
from penstock import count, max_, mean, std, sum_

OVER = ("5m", "1h", "24h", "7d")


class Payment(Contract, name="payment_{suffix}", version=1):
    payment_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    terminal: Annotated[str, ENTITY]
    customer: Annotated[str, ENTITY]
    amount: float


entities = tuple(Entity(name=name, key=name) for name in ("card", "terminal", "customer"))
views = tuple(
    View(
        name=f"of_{{entity.name}}",
        version=1,
        entity=entity,
        aggregates=(
            count(over=OVER),
            sum_("amount", over=OVER),
            mean("amount", over=("24h", "7d")),
            max_("amount", over=("24h", "7d")),
            std("amount", over=("24h", "7d")),
        ),
    )
    for entity in entities
)
pipeline = Pipeline(
    name="payments_{suffix}",
    source=Source(topic="events.payments_{suffix}", contract=Payment, key="card", partitions={partitions}),
    entities=entities,
    views=views,
    model=Model(
        name="payments_{suffix}",
        inputs=("event.amount", *(name for view in views for name in view.inputs())),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
    monitors=Monitors(
        inputs=(
            "event.amount",
            "of_card.count_1h",
            "of_card.amount_mean_24h",
            "of_card.amount_std_7d",
            "of_terminal.count_24h",
            "of_terminal.amount_mean_24h",
            "of_terminal.amount_max_7d",
            "of_customer.amount_sum_24h",
            "of_customer.amount_mean_7d",
        ),
        window=500,
        false_alarm_every=100_000,
    ),
)
"""
UNTIL_MS = 1_000_000
NULLS = 0.05
# The level of all values changes once per this many events of a partition: each change gives some alerts.
PHASE = 4_000
_POLL_S = 0.2
_START_S = 90.0
_MEASURED_PART = 0.9


@dataclass(frozen=True)
class Measured:
    """What one run took, from the first committed offsets until nearly all were committed."""

    tree: str
    events: float
    wall_s: float
    cpu_s: float
    alerts: int

    def __str__(self) -> str:
        rate, cost = self.events / self.wall_s, self.cpu_s / self.events * 1e6
        return f"{self.tree:40} {rate:9,.0f} events/s {cost:8.1f} us of CPU per event {self.alerts:6} alerts"


class FilledPipeline:
    """A pipeline with its topics, their records and a drift reference."""

    def __init__(self, folder: Path, events: int) -> None:
        suffix = uuid.uuid4().hex[:8]
        self.path = folder / f"payments_{suffix}.py"
        self.path.write_text(DEFINITION.format(suffix=suffix, partitions=PARTITIONS), encoding="utf-8")
        self.settings = Settings()
        self.pipeline: Pipeline = load_pipeline(str(self.path))
        self.topics = (self.pipeline.features_topic, self.pipeline.predictions_topic)
        create_topics(pipeline_topics(self.pipeline), self.settings.kafka.access)
        repository = ModelRepository(self.settings.model_repository)
        repository.add(self.pipeline.model.name, *_trained(self.pipeline))
        self._fill(events)

    def _fill(self, events: int) -> None:
        plan, inputs = compile_plan(self.pipeline), self.pipeline.model.inputs
        encode_features, encode_prediction = Encoder(features_schema(plan)).encode, Encoder(PREDICTION_SCHEMA).encode
        vectorizer = Vectorizer(inputs)
        producer = Producer({**self.settings.kafka.access.client(), "compression.type": "lz4", "linger.ms": 20})
        for number, values in enumerate(_values(np.random.default_rng(1), events, len(inputs)).tolist()):
            partition, offset = number % PARTITIONS, number // PARTITIONS
            features = _features(self.pipeline, plan.views, partition, offset, dict(zip(inputs, values, strict=True)))
            vector = pack_vector(vectorizer.vectors([features])[0])
            prediction = _prediction(self.pipeline, features, vector, float(values[0]) / 40)
            while True:
                try:
                    for topic, value in zip(
                        self.topics, (encode_features(features), encode_prediction(prediction)), strict=True
                    ):
                        producer.produce(topic, value, key=b"4000123412341234", partition=partition)
                    break
                except BufferError:
                    producer.poll(1)
            producer.poll(0)
        producer.flush(60)

    def measure(self, tree: Path) -> Measured:
        """Run the app of a checkout until it has caught up."""
        log = self.path.with_suffix(".log")
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        command = [sys.executable, "-m", "penstock", "drift", "run", str(self.path)]
        with log.open("wb") as output, Lag(self.settings.kafka.access) as lag:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=tree, env=environment)
            try:
                measured = self._watch(process, lag)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        alerts = sum(1 for _ in read_topic(self.settings.kafka.access, self.pipeline.drift_topic))
        return Measured(str(tree), *measured, alerts)

    def _watch(self, process: subprocess.Popen[bytes], lag: Lag) -> tuple[float, float, float]:
        group, samples = group_of(self.pipeline.name, "drift"), []
        end = sum(sum(lag.end_offsets(topic).values()) for topic in self.topics)
        deadline = time.monotonic() + _START_S
        while not samples or samples[-1][0] < end:
            done = sum(sum(lag.committed_offsets(group, topic).values()) for topic in self.topics)
            if process.poll() is not None or (not samples and time.monotonic() > deadline):
                raise RuntimeError(self.path.with_suffix(".log").read_text(encoding="utf-8"))
            if done and (not samples or done > samples[-1][0]):
                samples.append((done, time.monotonic(), seconds(process.pid)))
            time.sleep(_POLL_S)
        # Not to the very end: a partition that is done waits for the next save.
        busy = [sample for sample in samples if sample[0] <= _MEASURED_PART * end]
        records, wall_s, cpu_s = (last - first for first, last in zip(busy[0], busy[-1], strict=True))
        return records / len(self.topics), wall_s, cpu_s


def _values(rng: np.random.Generator, events: int, inputs: int) -> npt.NDArray[np.float64]:
    levels = 10.0 + (np.arange(events) // PARTITIONS // PHASE % 3)
    values = rng.normal(levels[:, None], 2.0, (events, inputs))
    values[:, 1:][rng.random((events, inputs - 1)) < NULLS] = np.nan
    return values


def _features(pipeline: Pipeline, views: Any, partition: int, offset: int, values: dict[str, float]) -> dict[str, Any]:
    time_ms = UNTIL_MS + 1 + offset
    source = {"topic": pipeline.source.topic, "partition": partition, "offset": offset, "timestamp": time_ms}
    record: dict[str, Any] = {"event_id": f"payment-{partition}-{offset:09}", "event_time": time_ms, "attempt": 1}
    record |= {"trigger": "event", "source": source, "event": {"amount": values["event.amount"]}}
    for view in views:
        record[view.name] = {"entity": f"{view.name}-{offset % 5000:07}", "epoch": 1, "seq": offset + 1}
        record[view.name] |= {"as_of": time_ms, "late": False}
        for feature in view.outputs:
            value = values[f"{view.name}.{feature.name}"]
            if feature.type == "long":
                record[view.name][feature.name] = 0 if np.isnan(value) else int(value)
            else:
                record[view.name][feature.name] = None if np.isnan(value) else value
    return record


def _prediction(pipeline: Pipeline, features: dict[str, Any], vector: bytes, score: float) -> dict[str, Any]:
    emissions = [
        {"view": f"{name}@1", **{key: part[key] for key in ("entity", "epoch", "seq", "as_of")}}
        for name, part in features.items()
        if name.startswith("of_")
    ]
    prediction = {key: features[key] for key in ("event_id", "event_time", "attempt", "source")}
    prediction |= {"pipeline": pipeline.name, "entity": features["of_card"]["entity"], "score": score}
    prediction |= {"decision": "pass", "model": pipeline.model.name, "model_version": "1", "route": "primary"}
    prediction |= {"policy_version": "0123456789abcdef", "views": emissions, "scored_at": features["event_time"]}
    prediction |= {"features_topic": pipeline.features_topic, "features_partition": 0, "features_offset": 0}
    return prediction | {"vector": vector}


def _trained(pipeline: Pipeline) -> tuple[TrainedModel, Any]:
    monitors, model = pipeline.monitors, pipeline.model.name
    assert monitors is not None
    rng, rows = np.random.default_rng(2), 4_000
    times, partitions = np.arange(rows) * 200, np.arange(rows) % PARTITIONS
    values = _values(rng, rows, len(monitors.names())).astype(np.float32).astype(np.float64)
    values[:, -1] = values[:, 0] / 40
    values[:, [1, 4]] = np.nan_to_num(np.trunc(values[:, [1, 4]]))
    series = [MonitorSeries(name, times, partitions, values[:, column]) for column, name in enumerate(monitors.names())]
    reference = calibrate(pipeline.name, model, monitors, series, until_ms=UNTIL_MS, warm_up_ms=0, seed=0)
    return TrainedModel(b"not served here", None, manifest_of(pipeline)), reference.artifacts()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pipeline.drift", description="Measure the drift app.")
    parser.add_argument("--tree", type=Path, action="append", help="a checkout whose app is measured (this one)")
    parser.add_argument("--events", type=int, action="append", help="events to process, one number for each checkout")
    options = parser.parse_args()
    trees = options.tree or [ROOT]
    events = options.events or [100_000] * len(trees)
    folder = Path(tempfile.mkdtemp(prefix="drift-bench-"))
    os.environ["PENSTOCK_MODEL_REPOSITORY"] = str(folder / "models")
    try:
        for tree, count in zip(trees, events, strict=True):
            print(FilledPipeline(folder, count).measure(tree), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
