"""A pipeline with labels, its topics as lists of records, and a naive training set in plain Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from backfill.parquet import Backfill, read_backfill
from backfill.training_sets.build import Inputs, build_training_set
from backfill.training_sets.folder import TrainingSetFolder, open_training_set
from backfill.training_sets.manifest import Request
from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    Contract,
    Entity,
    Labels,
    LabelSource,
    Model,
    Pipeline,
    Source,
    View,
    count,
    mean,
)
from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from scoring.decision import Policy
from streams.plan.project import Project
from tests.backfills import write_backfill


class Tap(Contract, name="tap_for_sets", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME, Field(ge=0)]
    card: Annotated[str, ENTITY]
    amount: float | None


class Verdict(Contract, name="verdict_for_sets", version=1):
    """What a tap was."""

    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=0)]
    fraud: bool | None
    loss: float | None = None
    kind: str | None = None


class Opinion(Contract, name="opinion_for_sets", version=1):
    """What somebody thinks of a tap: another contract than that of verdicts, with a number."""

    tap: Annotated[str, EVENT_ID]
    seen_at: Annotated[int, EVENT_TIME, Field(ge=0)]
    bad: int | None


OPINIONS = LabelSource(topic="labels.opinions", contract=Opinion, value="bad")
CARD = Entity(name="card", key="card")
INPUTS = ("event.amount", "taps.count_1h", "taps.amount_mean_1h")
TO_MS = 1_000
"""The end of the range of backfills."""


def pipeline(**labels: Any) -> Pipeline:
    taps = View(name="taps", version=1, entity=CARD, aggregates=(count(over="1h"), mean("amount", over="1h")))
    return Pipeline(
        name="taps",
        source=Source(topic="events.taps", contract=Tap, key="card", max_future=1),
        entities=(CARD,),
        views=(taps,),
        model=Model(name="taps", inputs=INPUTS, threshold=0.5, positive="block", negative="pass"),
        labels=Labels(**{"topic": "labels.taps", "contract": Verdict, "value": "fraud"} | labels),
    )


@dataclass
class Event:
    """An event as it was served: its vector is as of ``as_of``; ``score`` None means that it has no prediction."""

    id: str
    time: int
    as_of: int
    vector: tuple[float | None, ...] = (1.0, 2.0, 3.0)
    card: str = "c"
    timestamp: int = 0
    score: float | None = 0.1
    explored: bool = False
    propensity: float = 1.0
    scored_at: int = 10**6
    policy: str | None = None


@dataclass
class Label:
    """A label as it is on the topic of its source; ``timestamp`` is Kafka's."""

    id: str
    known_at: int
    value: Any
    timestamp: int = 10**6
    source: int = 0


@dataclass
class World:
    """Events in the order of their offsets in one partition, and labels."""

    events: Sequence[Event]
    labels: Sequence[Label]
    declared: dict[str, Any] = field(default_factory=dict)

    def project(self) -> Project:
        return Project.of(pipeline(**self.declared), Path("nothing is committed"))

    def build(self, folder: Path, *, served: bool = False, **request: Any) -> TrainingSetFolder:
        """Build the set, of a backfill beside the folder unless it is that of the log."""
        inputs = self.inputs(folder.with_name(f"{folder.name}-backfill"), served=served)
        build_training_set(self.project(), inputs, self.request(served=served, **request), folder, "512MB")
        return open_training_set(folder)

    def request(self, *, served: bool, **changes: Any) -> Request:
        given = {
            "from_ms": 0,
            "to_ms": TO_MS,
            "until_ms": None,
            "features": "served" if served else "recomputed",
            "split": ("0.5", "0.25", "0.25"),
            "embargo": False,
            "seed": 0,
            "probe": False,
        }
        return Request(**given | changes)

    def inputs(self, folder: Path, *, served: bool = False) -> Inputs:
        return Inputs(self.records, None if served else self.backfill(folder))

    def backfill(self, folder: Path) -> Backfill:
        if not folder.exists():
            return self._write(folder)
        return read_backfill(folder)

    def _write(self, folder: Path) -> Backfill:
        return write_backfill(pipeline(**self.declared), folder, list(self._features()))

    def _features(self) -> Iterator[dict[str, Any]]:
        for offset, event in enumerate(self.events):
            amount, number, average = event.vector
            yield {
                "event_id": event.id,
                "event_time": event.time,
                "trigger": "event",
                "attempt": 0,
                "source": {"topic": "events.taps", "partition": 0, "offset": offset, "timestamp": event.timestamp},
                "event": {"amount": amount},
                "taps": {
                    "entity": event.card,
                    "epoch": 1,
                    "seq": offset,
                    "as_of": event.as_of,
                    "late": False,
                    "count_1h": int(number or 0),
                    "amount_mean_1h": average,
                },
            }

    def records(self, topic: str) -> Iterator[Record]:
        if topic == "labels.taps":
            names = {"fraud": "fraud"} | {"fraud": self.declared.get("value", "fraud")}
            for offset, label in self.of_source(0):
                says = {"id": label.id, "known_at": label.known_at, "fraud": None, names["fraud"]: label.value}
                yield Record(0, offset, label.timestamp, None, json.dumps(says).encode(), ())
            return
        if topic == OPINIONS.topic:
            for offset, label in self.of_source(1):
                thinks = {
                    "tap": label.id,
                    "seen_at": label.known_at,
                    "bad": None if label.value is None else int(label.value),
                }
                yield Record(0, offset, label.timestamp, None, json.dumps(thinks).encode(), ())
            return
        assert topic == "predictions.taps"
        encoder = Encoder(PREDICTION_SCHEMA)
        for offset, event in enumerate(self.events):
            if event.score is not None:
                yield Record(0, offset, 0, None, encoder.encode(self._prediction(event, offset)), ())

    def of_source(self, source: int) -> Iterator[tuple[int, Label]]:
        """The labels of a source with their offsets; none of one that is not declared."""
        declared = 1 + len(self.declared.get("otherwise", ()))
        return enumerate(label for label in self.labels if label.source == source < declared)

    def _prediction(self, event: Event, offset: int) -> dict[str, Any]:
        project = self.project()
        vector = np.array([np.nan if value is None else value for value in event.vector], "<f4")
        decides = "block" if event.score is not None and event.score >= 0.5 and not event.explored else "pass"
        view = {"view": project.plan.views[0].id, "entity": event.card, "epoch": 1, "seq": 1, "as_of": event.as_of}
        return {
            "event_id": event.id,
            "pipeline": "taps",
            "event_time": event.time,
            "entity": event.card,
            "score": event.score,
            "decision": decides,
            "model": "taps",
            "model_version": "1",
            "route": "primary",
            "policy_version": event.policy or Policy.of(project.pipeline.model).version,
            "views": [view],
            "scored_at": event.scored_at,
            "attempt": 0,
            "source": {"topic": "events.taps", "partition": 0, "offset": offset, "timestamp": event.timestamp},
            "features_topic": "features.taps",
            "features_partition": 0,
            "features_offset": offset,
            "vector": vector.tobytes(),
            "outputs": [],
            "reasons": [],
            "defaulted": [],
            "cascade": None,
            "rollout": {
                "policy": "p",
                "arm": "a",
                "probability": 1.0,
                "explored": event.explored,
                "propensity": event.propensity,
                "infer_ms": 1.0,
            },
        }


def naive(world: World, from_ms: int, to_ms: int, until_ms: int | None) -> list[tuple[Any, ...]]:
    """The rows of the set, straight from the text of the guide.

    Of each its id, time, known_at, label, when that was known, and its source.
    """
    horizon, absent = pipeline(**world.declared).labels.horizon, world.declared.get("absent")  # type: ignore[union-attr]
    end = 2**62 if until_ms is None else until_ms
    of_sources = [list(world.of_source(source)) for source in range(2)]
    if horizon is not None and any(of_sources):
        end = min(end, max(min(label.known_at, label.timestamp) for of in of_sources for _, label in of))
    rows = []
    seen: set[str] = set()
    for _, event in sorted(enumerate(world.events), key=lambda pair: (pair[1].timestamp, pair[0])):
        if event.id in seen:
            continue
        seen.add(event.id)
        if not from_ms <= event.time < to_ms or event.time > end or event.as_of > end:
            continue
        if horizon is not None and event.time + horizon > end:
            continue
        final = end if horizon is None else event.time + horizon
        value = known = said_by = None
        for source, of_source in reversed([*enumerate(of_sources)]):
            best = None
            for offset, label in of_source:
                rank = (label.known_at, label.timestamp, offset)
                if label.id == event.id and label.known_at <= final and (best is None or rank > best[0]):
                    best = rank, label
            if best is not None and best[1].value is not None:
                value, known, said_by = best[1].value, best[1].known_at, source
        if value is None and absent == "negative":
            value = 0
        if value is not None:
            rows.append((event.id, event.time, event.as_of, value, known, said_by))
    return sorted(rows, key=lambda row: (row[1], row[0]))
