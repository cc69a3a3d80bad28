"""The records of a small pipeline under a rollout, as scorers, labellers and people write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.avro import contract_schema
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from schemas.records import PREDICTION_SCHEMA
from scoring.rollout.assignment import assign
from scoring.rollout.controller_input import InputReader
from scoring.rollout.facts import Facts
from scoring.rollout.judge import Judge
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.label_table import ROW
from scoring.rollout.policy import Arm, RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange
from streams.definitions.loading import load_pipeline
from streams.plan.feature_records import features_schema
from streams.plan.project import Project
from tests.scoring.rollout.fake_messages import FakeMessage

DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Guardrail, Labels, Model, Pipeline, Rollout
from penstock import Source, Step, View, count


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
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="card", partitions={partitions}),
    entities=(card,),
    views=(View(name="activity", version=1, entity=card, aggregates=(count(over="1h"),)),),
    model=Model(
        name="taps_{suffix}",
        inputs=("activity.count_1h", "event.shop", "event.amount"),
        threshold=0.5,
        positive="block",
        negative="pass",
        groups=("event.shop",),
    ),
    labels=Labels(topic="labels.taps_{suffix}", contract=Verdict, value="fraud"{labels}),
    rollout=Rollout({rollout}),
)
"""
BEGIN_MS = 1_760_000_000_000


def define_rollout(folder: Path, suffix: str, partitions: int, rollout: str = "", labels: str = "") -> Project:
    """Write the definition, and open it; ``rollout`` and ``labels`` are arguments of its Rollout and Labels."""
    path = folder / f"taps_{suffix}.py"
    more = f", {labels}" if labels else ""
    text = DEFINITION.format(suffix=suffix, partitions=partitions, rollout=rollout, labels=more)
    path.write_text(text, encoding="utf-8")
    return Project.of(load_pipeline(str(path)), folder / "schemas", str(path))


def canary(project: Project, *weights: float, least_events: int = 1, least_time: str = "1s") -> RolloutPolicy:
    """A canary of version 2 with these steps."""
    steps = [
        {"weight": weight, "least_events": least_events, "least_time": least_time, "most_time": "7d"}
        for weight in weights
    ]
    return RolloutPolicy(
        pipeline=project.name,
        mode="canary",
        salt="taps/next",
        arms=(Arm(name="present", version=1, role="champion"), Arm(name="next", version=2)),
        steps=steps,  # type: ignore[arg-type]
    )


def change_to(policy: RolloutPolicy, previous: PolicyChange | None = None, **changes: Any) -> PolicyChange:
    """A change by a person."""
    published = publish(policy, None if previous is None else previous.policy)
    return PolicyChange(
        policy=published,
        author="ada",
        reason="a test",
        previous=None if previous is None else previous.policy.hash,
        time_ms=BEGIN_MS,
    ).model_copy(update=changes)


@dataclass
class Records:
    """The records of numbered events; ``partitions`` share them in turn."""

    project: Project
    change: PolicyChange
    partitions: int = 1

    def __post_init__(self) -> None:
        pipeline = self.project.pipeline
        self._prediction, self._features = Encoder(PREDICTION_SCHEMA), Encoder(features_schema(self.project.plan))
        assert pipeline.labels is not None
        self._label = Encoder(contract_schema(pipeline.labels.contract))

    def place(self, number: int) -> tuple[int, int]:
        """Partition and offset of the feature record."""
        return number % self.partitions, number // self.partitions

    def arm(self, number: int) -> Arm:
        """The arm of the event's entity."""
        place = assign(self.change.policy, [entity_of(number)], [event_of(number)]).arms[0]
        return self.change.policy.policy.arms[place]

    def prediction(self, number: int, **changes: Any) -> dict[str, Any]:
        """The prediction that the event's arm gives; each event is scored two seconds after the one before."""
        partition, offset = self.place(number)
        arm, weights = self.arm(number), self.change.policy.weights
        at = BEGIN_MS + 2_000 * number
        record = {
            "event_id": event_of(number),
            "pipeline": self.project.name,
            "event_time": at,
            "entity": entity_of(number),
            "score": (number % 97) / 100,
            "decision": "block" if number % 97 >= 50 else "pass",
            "model": self.project.name,
            "model_version": str(arm.version),
            "route": "primary",
            "policy_version": "threshold",
            "views": [{"view": "activity@1", "entity": entity_of(number), "epoch": 1, "seq": number, "as_of": at}],
            "scored_at": at,
            "attempt": 0,
            "source": {
                "topic": self.project.pipeline.source.topic,
                "partition": partition,
                "offset": offset,
                "timestamp": at,
            },
            "features_topic": self.project.pipeline.features_topic,
            "features_partition": partition,
            "features_offset": offset,
            "vector": np.array([1, 2, 3], "<f4").tobytes(),
            "rollout": {
                "policy": self.change.policy.version,
                "arm": arm.name,
                "probability": weights[arm.name],
                "explored": False,
                "propensity": 1.0,
                "infer_ms": 2.0,
            },
        }
        return {**record, **changes}

    def live(self, number: int, **changes: Any) -> bytes:
        """The prediction's record."""
        return self._prediction.encode(self.prediction(number, **changes))

    def shadow(self, number: int, version: int, **changes: Any) -> bytes:
        """What a version says in shadow."""
        record = self.prediction(number, model_version=str(version), **changes)
        return self._prediction.encode(
            {**record, "rollout": {**record["rollout"], "arm": "shadow", "probability": 1.0}}
        )

    def features(self, number: int) -> bytes:
        """The feature record."""
        partition, offset = self.place(number)
        at = BEGIN_MS + 2_000 * number
        return self._features.encode(
            {
                "event_id": event_of(number),
                "event_time": at,
                "trigger": "event",
                "attempt": 0,
                "source": {
                    "topic": self.project.pipeline.source.topic,
                    "partition": partition,
                    "offset": offset,
                    "timestamp": at,
                },
                "event": {"shop": 2, "amount": 3.0},
                "activity": {
                    "entity": entity_of(number),
                    "epoch": 1,
                    "seq": number,
                    "as_of": at,
                    "late": False,
                    "count_1h": 1,
                },
            }
        )

    def letter(self, number: int, reason: str = "penstock.NotANumber", value: bytes | None = None) -> DeadLetter:
        """The dead letter of an event that has no score."""
        partition, offset = self.place(number)
        return DeadLetter(
            topic=self.project.pipeline.features_topic,
            partition=partition,
            offset=offset,
            pipeline=self.project.name,
            stage="score",
            component="penstock.scorer",
            reason=reason,
            message="a test",
            value=self.features(number) if value is None else value,
        )

    def label(self, number: int, value: float | None, age_ms: int = 60_000) -> bytes:
        """What became known of the event, so much later."""
        known_at = BEGIN_MS + 2_000 * number + age_ms
        return self._label.encode({"id": event_of(number), "known_at": known_at, "fraud": value})


def seen_at_once(
    project: Project,
    change: PolicyChange,
    *,
    live: Sequence[bytes] = (),
    shadow: Sequence[bytes] = (),
    letters: Sequence[DeadLetter] = (),
    labels: Sequence[bytes] = (),
) -> JudgeState:
    """What a judge has seen that is told of all these records at once."""
    facts = Facts.of(project.pipeline)
    judge, reader = Judge(facts), InputReader(project, facts)
    letter_records = [(letter.value, letter.headers()) for letter in letters]
    given = [[(value, None) for value in some] for some in (live, shadow)]
    given += [letter_records, [(value, None) for value in labels]]
    messages = {
        topic: [FakeMessage(topic, 0, offset, value, headers=headers) for offset, (value, headers) in enumerate(some)]
        for topic, some in zip(reader.topics, given, strict=True)
    }
    observed = reader.read(messages, (change.policy.version,))
    assert observed.passed == []
    return judge.observe(
        judge.begin(change),
        live=observed.live,
        shadow=observed.shadow,
        letters=observed.letters,
        labels=observed.labels,
    )


def without_places(state: Mapping[str, bytes]) -> dict[str, bytes]:
    """The records of a state but for its head, which depends on when it is asked, and for where its labels were."""
    found = {name: value for name, value in state.items() if name != "head"}
    for name in [name for name in found if name.startswith("labels/")]:
        rows = np.frombuffer(found[name], ROW).copy()
        for place in ("received", "partition", "offset"):
            rows[place] = 0
        found[name] = rows.tobytes()
    return found


def event_of(number: int) -> str:
    return f"event-{number}"


def entity_of(number: int) -> str:
    return f"card-{number}"
