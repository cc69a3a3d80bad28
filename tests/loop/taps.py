"""A small pipeline whose predictions, labels and alarms tests write themselves: payments that a model scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penstock.kafka.names import PRODUCER_VERSION_HEADER
from penstock.kafka.reading import Record
from schemas.avro import contract_schema
from schemas.codec import Encoder
from schemas.records import DRIFT_SCHEMA, PREDICTION_SCHEMA
from streams.definitions.loading import load_pipeline
from streams.plan.project import Project

DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, Model, Monitors, Pipeline, Source, View
from penstock import count, mean


class Tap(Contract, name="tap_{suffix}", version=1):
    tap_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: int
    amount: float


class Verdict(Contract, name="verdict_{suffix}", version=1):
    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: float | None


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="taps_{suffix}",
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="card", partitions=1),
    entities=(card,),
    views=(View(name="activity", version=1, entity=card, aggregates=(mean("amount", over="1h"), count(over="1h"))),),
    model=Model(
        name="taps_{suffix}", inputs=({inputs}"activity.amount_mean_1h", "event.shop", "event.amount"), threshold=0.5,
        positive="block", negative="pass",
    ),
    labels=Labels(topic="labels.taps_{suffix}", contract=Verdict, value="fraud", {labels}),
    monitors=Monitors(inputs=("event.amount",), false_alarm_every=1_000_000),
)
"""
BEGIN_MS, STEP_MS = 1_760_000_000_000, 60_000
HORIZON_MS = 86_400_000


_LABELS = 'horizon="1d", absent="negative"'


def define(folder: Path, suffix: str = "x", inputs: str = "", labels: str = _LABELS) -> Project:
    """Write the definition, perhaps with more inputs of the model or another declaration of labels, and open it."""
    path = folder / f"taps_{suffix}.py"
    path.write_text(DEFINITION.format(suffix=suffix, inputs=inputs, labels=labels), encoding="utf-8")
    return Project.of(load_pipeline(str(path)), folder / "schemas", str(path))


def time_of(number: int) -> int:
    """The time of an event."""
    return BEGIN_MS + number * STEP_MS


@dataclass
class Taps:
    """Writes the records of events in turn; ``topics`` has them."""

    project: Project
    topics: dict[str, list[bytes]] = field(default_factory=dict)
    written: int = 0
    held: list[bytes] = field(default_factory=list)
    producers: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        pipeline = self.project.pipeline
        assert pipeline.labels is not None
        self._label = Encoder(contract_schema(pipeline.labels.contract))
        self._prediction, self._alert = Encoder(PREDICTION_SCHEMA), Encoder(DRIFT_SCHEMA)

    def write(
        self,
        events: int,
        *,
        unit: float = 1.0,
        meaning: float = 1.0,
        version: str = "1",
        producer: str | None = None,
    ) -> None:
        """Events of a world.

        Args:
            events: How many.
            unit: What amounts are multiplied with, after they were scored as if they were not.
            meaning: How much of a score is true: 1, all of it; 0, nothing.
            version: Who scores.
            producer: What the raw events say their producer's version is, if they do.
        """
        pipeline, rng = self.project.pipeline, np.random.default_rng(self.written)
        assert pipeline.labels is not None
        amounts = np.exp(rng.normal(3, 1, events))
        shops = rng.integers(0, 9, events)
        scores = 1 / (1 + np.exp(-(1.5 * (np.log(amounts) - 3) - 2)))
        chances = meaning * scores + (1 - meaning) * scores.mean()
        frauds = rng.random(events) < chances
        delays = rng.uniform(1_000, HORIZON_MS * 0.9, events).astype(int)
        for row in range(events):
            number, at = self.written + row, time_of(self.written + row)
            vector = np.array([amounts[row] * unit, shops[row], amounts[row] * unit], "<f4")
            self._add(pipeline.predictions_topic, self._scored(number, float(scores[row]), vector, version))
            if frauds[row]:  # no label is a negative
                label = {"id": f"tap-{number}", "known_at": at + int(delays[row]), "fraud": 1.0}
                self.held.append(self._label.encode(label))
        self.written += events
        self.producers += [producer] * events

    def publish_labels(self, *, mature: bool = False) -> None:
        """The labels of what was written; perhaps also one of much later, with which all of these are mature."""
        pipeline = self.project.pipeline
        assert pipeline.labels is not None
        if mature:
            late = {"id": "another", "known_at": time_of(self.written) + 2 * HORIZON_MS, "fraud": 1.0}
            self.held.append(self._label.encode(late))
        for label in self.held:
            self._add(pipeline.labels.topic, label)
        self.held.clear()

    def alarm(self, number: int | None = None, version: str = "1") -> None:
        """An alarm at an event; by default, at the next one."""
        at = self.written if number is None else number
        alert = {
            "alert_id": f"features-0-{at}:event.amount:psi",
            "pipeline": self.project.name,
            "monitor": "event.amount",
            "detector": "psi",
            "statistic": 1.0,
            "threshold": 0.2,
            "reference": 3.0,
            "current": 300.0,
            "event_time": time_of(at),
            "topic": self.project.pipeline.features_topic,
            "partition": 0,
            "offset": at,
            "model": self.project.name,
            "model_version": version,
            "message": "event.amount has another distribution",
        }
        self._add(self.project.pipeline.drift_topic, self._alert.encode(alert))

    def quality_alarm(self, detector: str, monitor: str = "amount", current: float = 1.0) -> None:
        """An alarm of data quality at the next event."""
        alert = {
            "alert_id": f"raw-0-{self.written}:{monitor}:{detector}:4.2",
            "pipeline": self.project.name,
            "monitor": monitor,
            "detector": detector,
            "statistic": current,
            "threshold": 0.02,
            "reference": 0.0,
            "current": current,
            "event_time": time_of(self.written),
            "topic": self.project.pipeline.source.topic,
            "partition": 0,
            "offset": self.written,
            "model": self.project.name,
            "model_version": "1",
            "message": f"{monitor}: {detector}",
        }
        self._add(self.project.pipeline.drift_topic, self._alert.encode(alert))

    def _add(self, topic: str, value: bytes) -> None:
        self.topics.setdefault(topic, []).append(value)

    def _scored(self, number: int, score: float, vector: Any, version: str) -> bytes:
        at, pipeline = time_of(number), self.project.pipeline
        record = {
            "event_id": f"tap-{number}",
            "pipeline": pipeline.name,
            "event_time": at,
            "entity": f"card-{number % 50}",
            "score": score,
            "decision": "block" if score >= 0.5 else "pass",
            "model": pipeline.model.name,
            "model_version": version,
            "route": "primary",
            "policy_version": "threshold",
            "views": [],
            "scored_at": at,
            "attempt": 0,
            "source": {"topic": pipeline.source.topic, "partition": 0, "offset": number, "timestamp": at},
            "features_topic": pipeline.features_topic,
            "features_partition": 0,
            "features_offset": number,
            "vector": vector.tobytes(),
        }
        return self._prediction.encode(record)


class FakeTopics:
    """The topics in memory."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self.read_records: dict[str, int] = {}

    def starts(self, _topic: str, _time_ms: int) -> dict[int, int]:
        return {0: 0}

    def ranges(self, topic: str) -> dict[int, tuple[int, int]]:
        is_raw = topic == self._taps.project.pipeline.source.topic
        return {0: (0, len(self._taps.producers if is_raw else self._taps.topics.get(topic, [])))}

    def read(
        self, topic: str, start: dict[int, int] | None = None, end: dict[int, int] | None = None
    ) -> Iterator[Record]:
        if topic == self._taps.project.pipeline.source.topic:
            assert start is not None
            assert end is not None
            for offset in range(start[0], end[0]):
                said = self._taps.producers[offset]
                headers = () if said is None else ((PRODUCER_VERSION_HEADER, said.encode()),)
                yield Record(0, offset, -1, None, b"", headers)
            return
        values = self._taps.topics.get(topic, [])
        for offset in range((start or {}).get(0, 0), (end or {}).get(0, len(values))):
            self.read_records[topic] = self.read_records.get(topic, 0) + 1
            yield Record(0, offset, -1, None, values[offset], ())
