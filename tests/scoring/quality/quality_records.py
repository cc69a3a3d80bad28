"""The records of a small pipeline whose labels have a horizon, and what is to be counted of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from schemas.avro import contract_schema
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from streams.definitions.loading import load_pipeline
from streams.plan.project import Project

DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, LabelSource, Model, Monitors, Pipeline
from penstock import Source, View, count


class Tap(Contract, name="tap_{suffix}", version=1):
    tap_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: int


class Verdict(Contract, name="verdict_{suffix}", version=1):
    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: float | None


class Opinion(Contract, name="opinion_{suffix}", version=1):
    tap: Annotated[str, EVENT_ID]
    seen_at: Annotated[int, EVENT_TIME]
    bad: bool | None


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="taps_{suffix}",
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="card", partitions={partitions}),
    {also}entities=(card,),
    views=(View(name="activity", version=1, entity=card, aggregates=(count(over="1h"),)),),
    model=Model(
        name="taps_{suffix}",
        inputs=("activity.count_1h", "event.shop"),
        threshold={threshold},
        positive="block",
        negative="pass",
        groups=("event.shop",),
    ),
    labels=Labels(topic="labels.taps_{suffix}", contract=Verdict, value="fraud", {labels}),
    monitors=Monitors(false_alarm_every=10_000, labels=True),
)
"""
LABELS = 'horizon="1h", absent="negative", hidden_by="block"'
ALSO = 'additional_sources=(Source(topic="events.app_{suffix}", contract=Tap, key="card", partitions={partitions}),),'
OTHERWISE = ', otherwise=(LabelSource(topic="labels.opinions_{suffix}", contract=Opinion, value="bad"),)'
BEGIN_MS = 1_760_000_000_000
STEP_MS, HORIZON_MS = 20_000, 3_600_000


def define_quality(
    folder: Path, suffix: str, partitions: int = 2, labels: str = LABELS, threshold: float = 0.5, also: str = ""
) -> Project:
    """Write the definition, and open it; ``also`` are further arguments of the pipeline."""
    path = folder / f"taps_{suffix}.py"
    labels = labels.format(suffix=suffix)
    also = also.format(suffix=suffix, partitions=partitions)
    content = DEFINITION.format(suffix=suffix, partitions=partitions, labels=labels, threshold=threshold, also=also)
    path.write_text(content, encoding="utf-8")
    return Project.of(load_pipeline(str(path)), folder / "schemas", str(path))


class QualityRecords:
    """The records of numbered events, of which there is one every 20 seconds; every fourth has a fraud.

    The topics whose events are scored have those of a partition in turn.
    """

    def __init__(self, project: Project, partitions: int = 2) -> None:
        self._project, self._partitions = project, partitions
        assert project.pipeline.labels is not None
        self._prediction = Encoder(PREDICTION_SCHEMA)
        self._label, *others = (Encoder(contract_schema(of.contract)) for of in project.pipeline.labels.sources)
        self._others = others

    def partition(self, number: int) -> int:
        return number % self._partitions

    def prediction(self, number: int, **changes: Any) -> dict[str, Any]:
        partition, offset, at = self.partition(number), number // self._partitions, time_of(number)
        topics = self._project.plan.triggering_topics
        score = (number * 37 % 100) / 100
        explored = score >= 0.5 and number % 5 == 0
        rollout = {
            "policy": "policy",
            "arm": "present",
            "probability": 1.0,
            "explored": explored,
            "propensity": 0.2 if explored else 0.8,
            "infer_ms": 1.0,
        }
        record = {
            "event_id": event_of(number),
            "pipeline": self._project.name,
            "event_time": at,
            "entity": f"card-{number}",
            "score": score,
            "decision": "block" if score >= 0.5 and not explored else "pass",
            "model": self._project.pipeline.model.name,
            "model_version": "1",
            "route": "fallback" if number % 7 == 0 else "primary",
            "policy_version": policy_of(self._project),
            "views": [],
            "scored_at": at,
            "attempt": 0,
            "source": {
                "topic": topics[offset % len(topics)],
                "partition": partition,
                "offset": offset // len(topics),
                "timestamp": at,
            },
            "features_topic": self._project.pipeline.features_topic,
            "features_partition": partition,
            "features_offset": offset,
            "vector": np.array([1, number % 3], "<f4").tobytes(),
            "rollout": rollout,
        }
        return {**record, **changes}

    def live(self, number: int, **changes: Any) -> bytes:
        return self._prediction.encode(self.prediction(number, **changes))

    def shadow(self, number: int) -> bytes:
        """What version 2 says in shadow."""
        record = self.prediction(number)
        rollout = {**record["rollout"], "arm": "shadow", "explored": False, "propensity": 1.0}
        score = 1 - record["score"]
        decision = "block" if score >= 0.5 else "pass"
        return self._prediction.encode(
            {**record, "model_version": "2", "score": score, "decision": decision, "rollout": rollout}
        )

    def label(self, number: int, value: float | None = 1.0, *, age_ms: int = 600_000) -> bytes:
        return self._label.encode({"id": event_of(number), "known_at": time_of(number) + age_ms, "fraud": value})

    def opinion(self, number: int, value: bool | None, *, age_ms: int = 600_000) -> bytes:
        """What the second source says."""
        return self._others[0].encode({"tap": event_of(number), "seen_at": time_of(number) + age_ms, "bad": value})


def policy_of(project: Project) -> str:
    from scoring.decision import Policy  # noqa: PLC0415

    return Policy.of(project.pipeline.model).version


def event_of(number: int) -> str:
    return f"event-{number}"


def time_of(number: int) -> int:
    return BEGIN_MS + STEP_MS * number


def naive_counts(
    predictions: Iterable[Mapping[str, Any]], labels: Mapping[str, list[tuple[int, int, float | None]]], mature_ms: int
) -> dict[str, int]:
    """How many live predictions are of each outcome, one by one.

    Args:
        predictions: What was served, decoded.
        labels: Of each event, when each label became known, its place among all labels, and its value.
        mature_ms: What the labels have reached.
    """
    counts = dict.fromkeys(("scored", "positive", "negative", "unknown"), 0)
    for one in predictions:
        counts["scored"] += 1
        until = one["event_time"] + HORIZON_MS
        if until > mature_ms:
            continue
        known = [label for label in labels.get(one["event_id"], ()) if label[0] <= until]
        value = max(known)[2] if known else None
        hidden = one["decision"] == "block"
        counts["unknown" if value is None and hidden else "positive" if value == 1 else "negative"] += 1
    return counts
