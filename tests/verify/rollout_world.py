"""What a scorer that follows rollout policies publishes of a small pipeline's events: no stack, no clock."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penstock.kafka.reading import Record
from schemas.dead_letters import DeadLetter
from scoring.decision import Policy as Decisions
from scoring.rollout.assignment import assign
from scoring.rollout.policy import PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal, Status, encode
from streams.oracle.reference import Timed, vector
from tests.verify.rollout_pipeline import (
    PARTITIONS,
    PIPELINE,
    canary,
    exploring,
    only_champion,
    project,
    scores,
)
from verify.published import Published
from verify.replays import Replayed
from verify.run_data import RunData

CARDS, START_MS = 40, 1_772_366_400_000


@dataclass
class World:
    """Topics that fill as policies are published and partitions are scored.

    Args:
        seed: Of the events.
        events: How many there are.
        silent: How often a version in shadow had no number, beside a prediction.
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
    silent: int = 0

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
        self._marked: set[int] = set()

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
        """Score the next events in one transaction, and mark the policy if it is new there.

        The last ones are refused, and so are those for which neither their arm nor the champion has a number.
        """
        batch = self.waiting(partition)[:events]
        if not batch:
            return
        if policy is not None and self._knows[partition] != policy.hash:
            self.mark(partition, batch[0].offset, policy.hash)
            self._knows[partition] = policy.hash
        served = len(batch) - refused
        for place, record in enumerate(batch):
            if place >= served or not self._predict(record, policy):
                self._refuse(record)
        self._next[partition] += len(batch)

    def take_over(self, partition: int) -> None:
        """Another scorer reads on, and does not know what was marked."""
        self._knows[partition] = None

    def is_marked(self, partition: int) -> bool:
        """Whether a policy was ever taken up on the partition."""
        return partition in self._marked

    def mark_next(self, partition: int, policy: PublishedPolicy) -> None:
        """Write a marker for the next events of a partition, which nobody scores under it."""
        for record in self.waiting(partition)[:1]:
            self.mark(partition, record.offset, policy.hash)

    def mark(self, partition: int, first_offset: int, policy: str) -> None:
        """Write a marker."""
        self._marked.add(partition)
        self._append(encode(Marker(partition=partition, first_offset=first_offset, policy=policy)))

    def refuse(self, policy: str) -> None:
        """A scorer cannot follow a policy."""
        self._append(encode(Refusal(instance="scorer-1", policy=policy, reason="no such version", time_ms=START_MS)))

    def replay(self, policy: PublishedPolicy | None) -> None:
        """Score the refused events again, under the present policy; those without a number stay refused."""
        by_place = {(record.partition, record.offset): record for record in self.features}
        for letter in self.letters:
            headers = dict(letter.headers)
            place = (int(headers[f"__connect.errors.{name}"] or b"") for name in ("partition", "offset"))
            replayed = Replayed(f"predictions.taps.dlq[{letter.partition}]@{letter.offset}", 1)
            self._predict(by_place[tuple(place)], policy, replayed)  # type: ignore[index]

    def correct(self, place: int) -> None:
        """Score what a prediction is of again, with version 1."""
        served = self.predictions[place]
        value = {**served.value, **(_answer("1", served.value) or {})}
        self.corrections.append(Published(served.partition, len(self.corrections), served.key, value))

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

    def _predict(self, record: Published, policy: PublishedPolicy | None, replayed: Replayed | None = None) -> bool:
        """Publish the prediction of a record, and what versions in shadow say; False if there is no number."""
        value = _copied(record)
        if policy is None:
            answer = _answer("1", value)
            if answer is not None:
                self._add(self.predictions, record, value | answer, replayed)
            return answer is not None
        declared = policy.policy
        found = assign(policy, [value["entity"]], [value["event_id"]])
        arm, explored = declared.arms[found.arms[0]], bool(found.explored[0])
        answer = _answer(str(arm.version), value)
        if answer is None and arm.role == "candidate":
            answer = _answer(str(declared.champion.version), value | {"route": "fallback"})
        if answer is None:
            return False
        if explored and declared.exploration is not None:
            answer["decision"] = declared.exploration.decision
        of_arm = {
            "policy": policy.version,
            "arm": arm.name,
            "probability": float(found.probabilities[0]),
            "explored": explored,
            "propensity": float(found.propensities[0]),
            "infer_ms": 1.5,
        }
        self._add(self.predictions, record, value | answer | {"rollout": of_arm}, replayed)
        nobody = of_arm | {"arm": "shadow", "probability": 1.0, "explored": False, "propensity": 1.0, "infer_ms": 2.5}
        waiting = [one.version for one in declared.candidates if not policy.weights[one.name]]
        for version in (*declared.shadow, *waiting) if replayed is None else ():
            answer = _answer(str(version), value)
            if answer is None:
                self.silent += 1
            else:
                self._add(self.shadows, record, value | answer | {"rollout": nobody})
        return True

    def _add(
        self, topic: list[Published], record: Published, value: dict[str, Any], replayed: Replayed | None = None
    ) -> None:
        offset = sum(one.partition == record.partition for one in topic)
        topic.append(Published(record.partition, offset, record.key, value, replayed=replayed))

    def _refuse(self, record: Published) -> None:
        letter = letter_of(record.partition, record.offset)
        offset = sum(one.partition == record.partition for one in self.letters)
        self.letters.append(Record(record.partition, offset, 0, record.key, None, tuple(letter.headers())))


def letter_of(partition: int, offset: int) -> DeadLetter:
    """The letter of a feature record for which a version has no number."""
    return DeadLetter(
        topic="features.taps",
        partition=partition,
        offset=offset,
        pipeline="taps",
        stage="score",
        component="penstock.scorer",
        reason="penstock.NotANumber",
        message="why",
    )


def rolled_back(seed: int = 7, events: int = 400) -> World:
    """A canary that goes from its shadow to 30 %, and is rolled back; every partition takes each policy up elsewhere.

    It explores. The champion has no number for some events, which are replayed later, and the candidate has none for
    others, which the champion scores. One prediction is corrected.
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
    world.refuse(second.hash)
    score_some([second], 0.6)
    world.take_over(2)
    world.score(2, 4, second)
    world.replay(second)
    last = world.publish(only_champion(), author="controller", status="ended")
    world.correct(-1)
    score_some([last], 1.0)
    return world


def _copied(record: Published) -> dict[str, Any]:
    """What a prediction copies of its feature record, and what is the same on all of them."""
    value, part = record.value, record.value["by_card"]
    vector = [value["event"]["amount"], np.nan if part is None else part["count_10m"]]
    references = [] if part is None else [{name: part[name] for name in ("entity", "epoch", "seq", "as_of")}]
    return {
        **{name: value[name] for name in ("event_id", "event_time", "attempt", "source")},
        "pipeline": "taps",
        "entity": None if part is None else part["entity"],
        "model": "taps",
        "policy_version": Decisions.of(PIPELINE.model).version,
        "views": [{"view": "by_card@1", **reference} for reference in references],
        "route": "primary",
        "scored_at": START_MS,
        "features_topic": "features.taps",
        "features_partition": record.partition,
        "features_offset": record.offset,
        "vector": np.array(vector, "<f4").tobytes(),
        "outputs": [],
        "reasons": [],
        "defaulted": [],
        "cascade": None,
        "rollout": None,
    }


def _answer(version: str, value: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a version says of the vector of a prediction; None if it has no number."""
    score = float(scores(version, np.frombuffer(value["vector"], "<f4")[np.newaxis])[0, 0])
    if not math.isfinite(score):
        return None
    (decision,) = Decisions.of(PIPELINE.model).decide(np.array([score]))
    return {"model_version": version, "score": score, "decision": decision, "route": value["route"]}


def _is_blocked(record: Published) -> bool:
    """Whether version 1 blocks an event of a card."""
    value = _copied(record)
    answer = _answer("1", value)
    return value["entity"] is not None and answer is not None and answer["decision"] == PIPELINE.model.positive
