"""Helpers of the tests of line-ups: events of a small pipeline, and versions that score them on fake servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.kafka.records import Consumed, Produced
from schemas.codec import Decoder, Encoder
from schemas.history import record_decoder
from scoring.batch import Candidates, FeatureReader
from scoring.cascade import Band
from scoring.cascade_inference import CascadeInference, CascadeRule
from scoring.hosted_inference import HostedInference
from scoring.inference import Inference
from scoring.lineup import AnyInference, Seat
from scoring.model_metadata import ModelMetadata
from scoring.prediction_format import CascadeIdentity, ModelIdentity
from scoring.predictions import PredictionWriter
from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy, publish
from scoring.unbacked_inference import UnbackedInference
from scoring.vectors import Vectorizer
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.scoring.fake_server import FakeServer

NOW = 1_800_000_000_000
MODEL = "taps"
RULE = CascadeRule(Band(0.25, 0.5), 0.3, "taps/audit")


@dataclass(frozen=True)
class Tap:
    """An event; without a card it has no entity."""

    card: str | None
    amount: float
    event_id: str = ""


class Bench:
    """One pipeline. The score of an event is its amount plus what the version's server adds."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._plan = compile_plan(pipeline)
        schema = features_schema(self._plan)
        self._encoder = Encoder(schema)
        vectorizer = Vectorizer(pipeline.model.inputs)
        self.reader = FeatureReader(schema, Decoder(schema), (pipeline.source.topic,), vectorizer, self.writer(1))

    def writer(self, version: int, topic: str | None = None, max_bytes: int = 1 << 20) -> PredictionWriter:
        identity = ModelIdentity(MODEL, str(version))
        return PredictionWriter(self.pipeline, self._plan, identity, max_bytes=max_bytes, topic=topic)

    def records(self, taps: Sequence[Tap], first: int = 0, partitions: int = 1) -> list[Consumed]:
        """Their feature records: offset ``first`` and the next ones, over the partitions in turn."""
        topic, places = self.pipeline.features_topic, [(n % partitions, n) for n in range(first, first + len(taps))]
        values = [self._encoder.encode(self._record(*place, tap)) for place, tap in zip(places, taps, strict=True)]
        return [Consumed(topic, *place, b"k", value, []) for place, value in zip(places, values, strict=True)]

    def events(self, taps: Sequence[Tap], first: int = 0) -> Candidates:
        return self.reader.decode(self.records(taps, first), NOW).candidates

    def seat(self, version: int, server: FakeServer | None = None, **changes: Any) -> Seat:
        """A version with a fallback; ``server`` is both of its servers."""
        server = server or FakeServer()
        inference = Inference(
            server, server, metadata(version), deadline_s=1, clock=lambda: 0.0, on_fallback=lambda _: None
        )
        return self._seat(version, inference, **changes)

    def hosted(self, version: int, server: FakeServer) -> Seat:
        """A version that only one server has."""
        inference = HostedInference(
            server, metadata(version), deadline_s=1, clock=lambda: 0.0, on_failure=lambda _: None
        )
        return self._seat(version, inference)

    def shadow(self, version: int, server: FakeServer | None = None, **changes: Any) -> Seat:
        inference = UnbackedInference(server or FakeServer(), metadata(version), deadline_s=1, clock=lambda: 0.0)
        return self._seat(version, inference, topic=self.pipeline.shadow_topic, **changes)

    def cascade(self, version: int, fast: FakeServer, strong: FakeServer) -> Seat:
        """A version whose scores in the band of :data:`RULE` version 9 of ``strong`` decides."""
        both = [self.seat(version, fast).inference, self.seat(9, strong).inference]
        identity = CascadeIdentity(ModelIdentity("strong", "9"), RULE.band)
        writer = PredictionWriter(
            self.pipeline, self._plan, ModelIdentity(MODEL, str(version)), cascade=identity, max_bytes=1 << 20
        )
        return Seat((ModelIdentity(MODEL, str(version)), identity.strong), CascadeInference(*both, RULE), writer)  # type: ignore[arg-type]

    def _seat(self, version: int, inference: AnyInference, **changes: Any) -> Seat:
        return Seat((ModelIdentity(MODEL, str(version)),), inference, self.writer(version, **changes))

    def _record(self, partition: int, number: int, tap: Tap) -> dict[str, Any]:
        emission = {"epoch": 1, "seq": number, "as_of": NOW, "late": False, "count_1h": 1, "amount_sum_1h": 1.0}
        return {
            "event_id": tap.event_id or f"tap-{number}",
            "event_time": NOW,
            "trigger": "event",
            "attempt": 0,
            "source": {
                "topic": self.pipeline.source.topic,
                "partition": partition,
                "offset": number,
                "timestamp": NOW,
            },
            "event": {"amount": tap.amount},
            "activity": None if tap.card is None else {"entity": tap.card, **emission},
        }


def metadata(version: int) -> ModelMetadata:
    return ModelMetadata(MODEL, version, ("event.amount", "activity.amount_sum_1h", "activity.count_1h"), {}, 4096)


def ab(
    *weights: float, exploration: Exploration | None = None, shadow: tuple[int, ...] = (), pipeline: str = "taps"
) -> PublishedPolicy:
    """A policy with arms ``a`` (the champion, version 1), ``b`` (version 2), ... of these weights."""
    names = "abcdef"[: len(weights)]
    arms = tuple(
        Arm(
            name=name,
            version=number + 1,
            role="candidate" if number else "champion",
            weight=weight if len(weights) > 1 else None,
        )
        for number, (name, weight) in enumerate(zip(names, weights, strict=True))
    )
    return publish(
        RolloutPolicy(
            pipeline=pipeline,
            mode="ab" if len(weights) > 1 else "shadow",
            salt="taps/arms",
            arms=arms,
            exploration=exploration,
            shadow=shadow,
        )
    )


def decoded(records: Sequence[Produced]) -> list[dict[str, Any]]:
    """What predictions say."""
    decoder = record_decoder("prediction")
    return [decoder.decode(record.value or b"") for record in records]
