"""A small pipeline, and what a scorer that follows rollout policies publishes of its events: no stack, no clock."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count as numbers
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count
from penstock.kafka.reading import Record
from schemas.dead_letters import DeadLetter
from scoring.audit import in_slice
from scoring.decision import Policy as Decisions
from scoring.rollout.assignment import assign
from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy, Step, publish
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal, Status, encode
from streams.oracle.reference import Timed, vector
from streams.plan.project import Project
from verify.published import Published
from verify.replays import Replayed
from verify.run_data import RunData

PARTITIONS, CARDS, START_MS = 3, 40, 1_772_366_400_000
WEIGHTS = {"1": (0.4, 0.1), "2": (0.5, -0.1), "3": (-0.3, 0.2), "9": (np.nan, np.nan)}
"""Of each version: what it adds to the logit for each unit of its inputs. Version 9 has no number for any event."""

Floats = npt.NDArray[np.float32]


class Tap(Contract, name="tap", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str | None, ENTITY] = None
    amount: float


CARD = Entity(name="card", key="card")
PIPELINE = Pipeline(
    name="taps",
    source=Source(topic="events.taps", contract=Tap, key="card", partitions=PARTITIONS),
    entities=(CARD,),
    views=(View(name="by_card", version=1, entity=CARD, aggregates=(count(over="10m"),)),),
    model=Model(
        name="taps",
        inputs=("event.amount", "by_card.count_10m"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
)


@cache
def project() -> Project:
    """The pipeline, compiled once."""
    return Project.of(PIPELINE, Path("no schemas"))


def scores(version: str, vectors: Floats) -> Floats:
    """The scores of a version, [N, 1]; null counts as 0."""
    logits = np.nan_to_num(vectors) @ np.array(WEIGHTS[version], np.float32)
    return (1 / (1 + np.exp(-logits, dtype=np.float32)))[:, np.newaxis]


def write_models(folder: Path) -> None:
    """Write a model repository with every version."""
    for version, weights in WEIGHTS.items():
        graph = onnx.helper.make_graph(
            [
                onnx.helper.make_node("IsNaN", ["x"], ["is null"]),
                onnx.helper.make_node("Where", ["is null", "zero", "x"], ["filled"]),
                onnx.helper.make_node("MatMul", ["filled", "weights"], ["logit"]),
                onnx.helper.make_node("Sigmoid", ["logit"], ["score"]),
            ],
            "score",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])],
            [onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [None, 1])],
            [
                onnx.numpy_helper.from_array(np.array(weights, np.float32)[:, np.newaxis], "weights"),
                onnx.numpy_helper.from_array(np.array(0, np.float32), "zero"),
            ],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
        home = folder / PIPELINE.model.name / version
        home.mkdir(parents=True)
        (home / "model.onnx").write_bytes(model.SerializeToString())
        (home / "manifest.json").write_text(json.dumps({"inputs": PIPELINE.model.inputs}), encoding="utf-8")


def exploring(card: str) -> Exploration:
    """An exploration of a hundredth of the cards, this one among them."""
    salts = (f"taps/exploration-{number}" for number in numbers())
    salt = next(salt for salt in salts if in_slice(salt, [card], 0.01).all())
    return Exploration(share=0.01, decision="pass", salt=salt)


def canary(exploration: Exploration | None = None) -> RolloutPolicy:
    """Version 2 against version 1, first in shadow; version 3 is in shadow throughout."""
    times = {"least_events": 1, "least_time": 1, "most_time": 2}
    return RolloutPolicy(
        pipeline="taps",
        mode="canary",
        salt="taps/second",
        arms=(Arm(name="first", version=1, role="champion"), Arm(name="second", version=2)),
        shadow=(3,),
        steps=tuple(Step(weight=weight, **times) for weight in (0, 0.3, 1)),
        exploration=exploration,
    )


def only_champion() -> RolloutPolicy:
    """What a rollback publishes."""
    return RolloutPolicy(
        pipeline="taps",
        mode="shadow",
        salt="taps/second",
        arms=(Arm(name="first", version=1, role="champion"),),
    )


class Answer(NamedTuple):
    """What a version says of a feature record."""

    version: str
    score: float
    decision: str


@dataclass
class World:
    """Topics that fill as policies are published and partitions are scored.

    Args:
        seed: Of the events.
        events: How many there are.
    """

    seed: int
    events: int
    raw: list[Record] = field(default_factory=list)
    features: list[Published] = field(default_factory=list)
    predictions: list[Published] = field(default_factory=list)
    shadows: list[Published] = field(default_factory=list)
    corrections: list[Published] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    log: list[Record] = field(default_factory=list)
    latest: list[Record] = field(default_factory=list)
    changes: list[PolicyChange] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng, view = random.Random(self.seed), project().plan.views[0]
        histories: dict[str, list[Timed]] = defaultdict(list)
        raw_offsets, offsets = [0] * PARTITIONS, [rng.randrange(5) for _ in range(PARTITIONS)]
        for number in range(self.events):
            card = None if rng.random() < 0.1 else f"card{rng.randrange(CARDS)}"
            event = {"id": f"t{number}", "time": START_MS + number * 1_000, "card": card, "amount": rng.uniform(-4, 4)}
            partition = rng.randrange(PARTITIONS) if card is None else sum(card.encode()) % PARTITIONS
            key, time = None if card is None else card.encode(), event["time"]
            offset = raw_offsets[partition]
            self.raw.append(Record(partition, offset, time, key, json.dumps(event).encode(), ()))
            part = None
            if card is not None:
                history = histories[card]
                history.append(Timed(time, event))
                found = vector(view, history)
                numbering = {"entity": card, "epoch": 1, "seq": len(history), "as_of": found.as_of}
                part = {**numbering, "late": found.late, **found.features}
            value = {
                "event_id": event["id"],
                "event_time": time,
                "trigger": "event",
                "attempt": 5,
                "source": {"topic": "events.taps", "partition": partition, "offset": offset, "timestamp": time},
                "event": {"amount": event["amount"]},
                "by_card": part,
            }
            self.features.append(Published(partition, offsets[partition], key, value))
            raw_offsets[partition] += 1
            offsets[partition] += rng.choice((1, 1, 1, 2))  # the end of a transaction takes an offset
        self._next = [0] * PARTITIONS
        self._knows: list[str | None] = [None] * PARTITIONS

    def publish(
        self,
        policy: RolloutPolicy,
        *,
        author: str = "Ada",
        weights: Mapping[str, float] | None = None,
        step: int = 0,
        status: Status = "running",
    ) -> PublishedPolicy:
        """Publish a policy; of a canary at a step, with that step's weight."""
        before = self.changes[-1].policy if self.changes else None
        if policy.steps:
            weight = policy.steps[step].weight
            weights = {"first": round(1 - weight, 4), "second": weight}
        published = publish(policy, before, weights)
        evidence: dict[str, Any] = {"errors": {"events": 1_000, "log_e": -0.7}} if author == "controller" else {}
        change = PolicyChange(
            policy=published,
            author=author,
            reason="a better model",
            evidence=evidence,
            previous=None if before is None else before.hash,
            time_ms=START_MS,
            step=step,
            status=status,
        )
        self.changes.append(change)
        self._append(encode(change))
        self.latest.append(Record(0, len(self.latest), 0, b"taps", encode(change), ()))
        return published

    def waiting(self, partition: int) -> list[Published]:
        """The feature records of a partition that are not scored yet."""
        return [record for record in self.features if record.partition == partition][self._next[partition] :]

    def score(self, partition: int, events: int, policy: PublishedPolicy | None, *, refused: int = 0) -> None:
        """Score the next events in one transaction, and refuse the last ones; mark the policy if it is new there."""
        batch = self.waiting(partition)[:events]
        if not batch:
            return
        if policy is not None and self._knows[partition] != policy.hash:
            self.mark(partition, batch[0].offset, policy.hash)
            self._knows[partition] = policy.hash
        served = len(batch) - refused
        for record in batch[:served]:
            self._predict(record, policy)
        for record in batch[served:]:
            self._refuse(record)
        self._next[partition] += len(batch)

    def take_over(self, partition: int) -> None:
        """Another scorer reads on, and does not know what was marked."""
        self._knows[partition] = None

    def mark(self, partition: int, first_offset: int, policy: str) -> None:
        """Write a marker."""
        self._append(encode(Marker(partition=partition, first_offset=first_offset, policy=policy)))

    def refuse(self, policy: str) -> None:
        """A scorer cannot follow a policy."""
        self._append(encode(Refusal(instance="scorer-1", policy=policy, reason="no such version", time_ms=START_MS)))

    def replay(self, policy: PublishedPolicy | None) -> None:
        """Score the refused events again, under the present policy."""
        by_place = {(record.partition, record.offset): record for record in self.features}
        for letter in self.letters:
            headers = dict(letter.headers)
            place = (int(headers[f"__connect.errors.{name}"] or b"") for name in ("partition", "offset"))
            replayed = Replayed(f"predictions.taps.dlq[{letter.partition}]@{letter.offset}", 1)
            self._predict(by_place[tuple(place)], policy, replayed)  # type: ignore[index]

    def correct(self, place: int) -> None:
        """Score what a prediction is of again, with version 1."""
        served = self.predictions[place]
        (answer,) = _answers(np.frombuffer(served.value["vector"], np.float32)[np.newaxis], ["1"])
        self.corrections.append(
            Published(served.partition, len(self.corrections), served.key, served.value | _said(answer))
        )

    def run(self, models: Path = Path()) -> RunData:
        """What the topics hold."""
        return RunData(
            sources=(self.raw,),
            dead_letters=((),),
            features=self.features,
            predictions=self.predictions,
            unscored=self.letters,
            shadows=self.shadows,
            corrections=self.corrections,
            rollout=self.latest,
            rollout_log=self.log,
            models=models,
        )

    def _append(self, value: bytes) -> None:
        self.log.append(Record(0, 2 * len(self.log), 0, None, value, ()))

    def _predict(self, record: Published, policy: PublishedPolicy | None, replayed: Replayed | None = None) -> None:
        value, part = record.value, record.value["by_card"]
        row = np.array([[value["event"]["amount"], np.nan if part is None else part["count_10m"]]], np.float32)
        entity = None if part is None else part["entity"]
        common = {name: value[name] for name in ("event_id", "event_time", "attempt", "source")} | {
            "pipeline": "taps",
            "entity": entity,
            "policy_version": Decisions.of(PIPELINE.model).version,
            "views": []
            if part is None
            else [{"view": "by_card@1", **{name: part[name] for name in ("entity", "epoch", "seq", "as_of")}}],
            "route": "primary",
            "scored_at": START_MS,
            "features_topic": "features.taps",
            "features_partition": record.partition,
            "features_offset": record.offset,
            "vector": row.astype("<f4").tobytes(),
            "outputs": [],
            "reasons": [],
            "defaulted": [],
            "cascade": None,
            "rollout": None,
        }
        if policy is None:
            (answer,) = _answers(row, ["1"])
            self._add(self.predictions, record, common | _said(answer), replayed)
            return
        found = assign(policy, [entity], [value["event_id"]])
        arm, explored = policy.policy.arms[found.arms[0]], bool(found.explored[0])
        (answer,) = _answers(row, [str(arm.version)])
        if explored and policy.policy.exploration is not None:
            answer = answer._replace(decision=policy.policy.exploration.decision)
        of_arm = {
            "policy": policy.version,
            "arm": arm.name,
            "probability": float(found.probabilities[0]),
            "explored": explored,
            "propensity": float(found.propensities[0]),
            "infer_ms": 1.5,
        }
        self._add(self.predictions, record, common | _said(answer) | {"rollout": of_arm}, replayed)
        in_shadow = [
            *policy.policy.shadow,
            *(a.version for a in policy.policy.candidates if not policy.weights[a.name]),
        ]
        nobody = of_arm | {"arm": "shadow", "probability": 1.0, "explored": False, "propensity": 1.0, "infer_ms": 2.5}
        for answer in _answers(row, [str(version) for version in in_shadow if replayed is None]):
            self._add(self.shadows, record, common | _said(answer) | {"rollout": nobody})

    def _add(
        self, topic: list[Published], record: Published, value: dict[str, Any], replayed: Replayed | None = None
    ) -> None:
        offset = sum(one.partition == record.partition for one in topic)
        topic.append(Published(record.partition, offset, record.key, value, replayed=replayed))

    def _refuse(self, record: Published) -> None:
        letter = DeadLetter(
            topic="features.taps",
            partition=record.partition,
            offset=record.offset,
            pipeline="taps",
            stage="score",
            component="penstock.scorer",
            reason="penstock.NotANumber",
            message="why",
        )
        offset = sum(one.partition == record.partition for one in self.letters)
        self.letters.append(Record(record.partition, offset, 0, record.key, None, tuple(letter.headers())))


def rolled_back(seed: int = 7, events: int = 400) -> World:
    """A canary that goes from its shadow to 30 %, and is rolled back; every partition takes each policy up elsewhere.

    It explores, some events are refused and replayed later, and one prediction is corrected.
    """
    world, rng = World(seed, events), random.Random(seed)
    blocked = Counter(record.value["by_card"]["entity"] for record in world.features if _is_blocked(record))
    policy = canary(exploring(max(blocked, key=lambda card: blocked[card])))

    def score_some(policies: list[PublishedPolicy | None], share: float) -> None:
        for partition in range(PARTITIONS):
            left = round(len(world.waiting(partition)) * share)
            while left > 0:
                size = min(left, rng.randrange(3, 12))
                world.score(partition, size, policies[-1])
                left -= size

    score_some([None], 0.2)
    shadow = world.publish(policy)
    score_some([shadow], 0.3)
    second = world.publish(policy, author="controller", step=1)
    world.score(1, 6, shadow)  # this scorer has not read the change yet
    world.score(0, 5, second, refused=2)
    world.refuse(second.hash)
    score_some([second], 0.6)
    world.take_over(2)
    world.score(2, 4, second)
    last = world.publish(only_champion(), author="controller", status="ended")
    world.replay(last)
    world.correct(-1)
    score_some([last], 1.0)
    return world


def _is_blocked(record: Published) -> bool:
    """Whether version 1 blocks an event of a card."""
    part = record.value["by_card"]
    if part is None:
        return False
    row = np.array([[record.value["event"]["amount"], part["count_10m"]]], np.float32)
    return bool(scores("1", row)[0, 0] >= PIPELINE.model.threshold)


def _answers(row: Floats, versions: list[str]) -> list[Answer]:
    decide = Decisions.of(PIPELINE.model).decide
    found = [float(scores(version, row)[0, 0]) for version in versions]
    return [Answer(version, score, decide(score)) for version, score in zip(versions, found, strict=True)]


def _said(answer: Answer) -> dict[str, Any]:
    return {"model": "taps", "model_version": answer.version, "score": answer.score, "decision": answer.decision}
