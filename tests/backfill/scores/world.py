"""A small world for the tests of scores: a pipeline, two versions of its model, its topics in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from backfill.scores.run import ModelVersion, Outcome, ScoreRequest, score
from backfill.topic_reading import Range, Topics
from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, Model, Pipeline, Source, View, count, sum_
from penstock.kafka.reading import ReadTopic, Record
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from scoring.onnx_session import open_session, scores_of
from scoring.repository import ModelRepository
from scoring.rollout.policy import Exploration, PublishedPolicy
from scoring.trained_model import TrainedModel
from streams.plan.feature_records import features_schema
from streams.plan.project import Project
from tests.scoring.line_ups import ab
from tests.scoring.scorer_bench import manifest_of, onnx_bytes

PARTITIONS = 2
FROM = 1_000_000_000_000
TO = FROM + 1_000_000
COUNTRIES = ("DE", "FR", None)
WEIGHTS = {1: (0.5, 0.25, -0.125), 2: (0.5, -0.25, 0.125)}
PREDICTIONS, FEATURES = "predictions.taps", "features.taps"
PREDICTION = Encoder(PREDICTION_SCHEMA)
EXPLORATION = Exploration(share=0.01, decision="pass", salt="taps/exploration")


class Tap(Contract, name="tap_for_scores", version=1):
    """A tap."""

    tap_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float
    country: str | None


class Verdict(Contract, name="verdict_for_scores", version=1):
    """What became of a tap."""

    tap_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    is_fraud: bool


CARD = Entity(name="card", key="card")
PIPELINE = Pipeline(
    name="taps",
    source=Source(topic="events.taps", contract=Tap, key="card", partitions=PARTITIONS),
    entities=(CARD,),
    views=(View(name="activity", version=1, entity=CARD, aggregates=(count(over="1h"), sum_("amount", over="1h"))),),
    model=Model(
        name="taps",
        inputs=("event.amount", "activity.amount_sum_1h", "activity.count_1h"),
        threshold=0.5,
        positive="block",
        negative="pass",
        groups=("event.country",),
    ),
    labels=Labels(topic="labels.taps", contract=Verdict, value="is_fraud"),
    passthrough=("country",),
)


def repository_in(folder: Path, pipeline: Pipeline = PIPELINE) -> ModelRepository:
    """Two versions with different weights."""
    repository = ModelRepository(folder)
    for weights in WEIGHTS.values():
        content = onnx_bytes(weights=np.array(weights, np.float32).reshape(3, 1))
        repository.add("taps", TrainedModel(content, None, manifest_of(pipeline)))
    return repository


class FakeTopics:
    """Topics in memory; only what scores take from them."""

    def __init__(self, read: ReadTopic, ranges: Callable[[str], dict[int, Range]]) -> None:
        self.read, self.ranges = read, ranges

    def runs(self, topic: str) -> dict[int, list[Range]]:
        return {number: [of] for number, of in self.ranges(topic).items()}

    def names(self) -> set[str]:
        raise NotImplementedError

    def starts(self, topic: str, time_ms: int) -> dict[int, int]:
        raise NotImplementedError


@dataclass
class World:
    """Events with feature records and predictions, in the topics of the pipeline.

    Args:
        folder: Of the repository, and of what is written.
        size: How many events there are, over all partitions in turn.
        policy: Serves them.
        pipeline: Its topics whose events are scored get the events of a partition in turn.
    """

    folder: Path
    size: int = 40
    policy: PublishedPolicy = field(default_factory=lambda: ab(0.5, 0.5))
    topics: dict[str, list[Record]] = field(default_factory=dict)
    features: list[dict[str, Any]] = field(default_factory=list)
    served: list[dict[str, Any]] = field(default_factory=list)
    pipeline: Pipeline = PIPELINE

    def __post_init__(self) -> None:
        self.repository = repository_in(self.folder / "models", self.pipeline)
        self.project = Project.of(self.pipeline, Path("nothing is committed"))
        self._features = Encoder(features_schema(self.project.plan))
        self._sessions = {number: open_session(self.repository.model_file("taps", number)) for number in WEIGHTS}
        self.topics = {PREDICTIONS: [], FEATURES: []}
        rng = np.random.default_rng(7)
        for number in range(self.size):
            self.add(number, float(rng.integers(-40, 40) / 8), float(rng.integers(0, 9)), int(rng.integers(0, 20)))

    def add(self, number: int, amount: float, total: float, often: int) -> None:
        """Add an event, served by the version that its entity has under the policy."""
        partition, turn = number % PARTITIONS, number // PARTITIONS
        topics = self.project.plan.triggering_topics
        topic, offset = topics[turn % len(topics)], turn // len(topics)
        entity = f"card-{number % 17}" if number % 5 else None
        time_ms = FROM + 1_000 * number - (10_000 if number == 3 else 0)  # one is before the range
        source = {"topic": topic, "partition": partition, "offset": offset, "timestamp": time_ms}
        emission = {"entity": entity, "epoch": 1, "seq": number, "as_of": time_ms}
        features = {
            "event_id": f"tap-{number}",
            "event_time": time_ms,
            "trigger": "event",
            "attempt": 0,
            "source": source,
            "event": {"amount": abs(amount), "country": COUNTRIES[number % 3]},
            "activity": None
            if entity is None
            else emission | {"late": False, "count_1h": often, "amount_sum_1h": total},
        }
        self.features.append(features)
        place = self._append(FEATURES, partition, self._features.encode(features))
        numbers = (np.nan, np.nan) if entity is None else (total, often)
        vector = np.array([abs(amount), *numbers], np.float32)
        served = self.naive(vector, entity, f"tap-{number}")
        prediction = {
            "event_id": f"tap-{number}",
            "pipeline": "taps",
            "event_time": time_ms,
            "entity": entity,
            "score": served[1],
            "decision": served[2],
            "model": "taps",
            "model_version": str(served[0]),
            "route": "primary",
            "policy_version": "0" * 12,
            "views": [] if entity is None else [{"view": "activity@1", **emission}],
            "scored_at": time_ms,
            "attempt": 0,
            "source": source,
            "features_topic": FEATURES,
            "features_partition": partition,
            "features_offset": place,
            "vector": vector.astype("<f4").tobytes(),
            "rollout": {
                "policy": self.policy.version,
                "arm": "ab"[served[0] - 1],
                "probability": 0.5,
                "explored": served[3],
                "propensity": 1.0,
                "infer_ms": 1.0,
            },
        }
        self.served.append(prediction)
        self._append(PREDICTIONS, partition, PREDICTION.encode(prediction))

    def naive(
        self, vector: np.ndarray, entity: str | None, event_id: str, policy: PublishedPolicy | None = None
    ) -> tuple[int, float, str, bool]:
        """Version, score, decision and whether it is forced: of one event by itself."""
        from scoring.rollout.assignment import assign  # noqa: PLC0415

        published = policy or self.policy
        assignment = assign(published, [entity], [event_id])
        version, explored = published.policy.arms[int(assignment.arms[0])].version, bool(assignment.explored[0])
        value = self.score_of(version, vector)
        return version, value, "pass" if explored or value < 0.5 else "block", explored

    def score_of(self, version: int, vector: np.ndarray) -> float:
        """The score of one vector by itself."""
        return float(scores_of(self._sessions[version], vector.reshape(1, -1))[0])

    def in_range(self) -> list[dict[str, Any]]:
        """The predictions of the range."""
        return [one for one in self.served if FROM <= one["event_time"] < TO]

    def fake(self) -> Topics:
        """The topics, as Kafka gives them."""

        def read(
            topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
        ) -> Iterator[Record]:
            for record in list(self.topics[topic]):
                first = (start or {}).get(record.partition)
                if first is not None and first <= record.offset < (end or {}).get(record.partition, 2**62):
                    yield record

        def ranges(topic: str) -> dict[int, tuple[int, int]]:
            offsets = {partition: self._offsets(topic, partition) for partition in range(PARTITIONS)}
            return {number: (min(of, default=0), max(of, default=-1) + 1) for number, of in offsets.items()}

        return FakeTopics(read, ranges)

    def run(self, out: Path, version: int | None = None, **changes: Any) -> Outcome:
        """Score the range with a version, or under the policy that served it."""
        model = None if version is None else ModelVersion("taps", version)
        given = {"from_ms": FROM, "to_ms": TO, "model": model, "policy": self.policy if model is None else None}
        request = ScoreRequest(**given | changes)
        return score(self.project, self.repository, self.fake(), request, out, lambda _: None, lambda: False)

    def junk(self, partition: int, value: bytes | None) -> None:
        """Add a record to the predictions."""
        self._append(PREDICTIONS, partition, value)

    def _append(self, topic: str, partition: int, value: bytes | None) -> int:
        # Every other offset is a transaction's marker.
        offset = max(self._offsets(topic, partition), default=-2) + 2
        self.topics[topic].append(Record(partition, offset, FROM, b"k", value, ()))
        return offset

    def _offsets(self, topic: str, partition: int) -> list[int]:
        return [record.offset for record in self.topics[topic] if record.partition == partition]
