"""A small run with everything that is checked: timers, a kill, a backfill, models, a rollout, drift, training sets.

What it served is archived, by a process that is killed once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import string
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from deploy.local.stack import Stack
from examples.demo.command_runner import CommandRunner
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.trained_model import ImportManifest, TrainedModel
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project
from tests.integration.catching_up import await_caught_up
from tests.integration.kill_point import KillPoint
from tests.integration.sabotage_offline import OfflineOfRun, Recorded
from tests.integration.sabotage_rollout import RolloutOfRun, canary
from tests.published import published
from verify.check_timers import settling_ms
from verify.reading import read_run

START_MS = 1_772_366_400_000
HISTORY, DRIFTED = 700, 350
# The job is killed among the first of the events after the history: the others come after it, at least 200 of them.
KILLED_WITHIN = 100
# How many of the history's events the first scorer's model has no number for.
UNSCORED = 10
# The length of the longest message that a topic takes while a longer event is to be put back.
LONG = 20_000
# The reason for which the trained version is promoted, whatever the gates say of so few events.
OVERRIDE = "the other one has no number for large amounts"
_BATCH = 5
# A loaded machine is late with everything.
_CHECKPOINT_S = 60.0
_REPLAYS = 3
DEFINITION = '''
"""A pipeline of the tests."""

from typing import Annotated

from pydantic import Field

from penstock import *  # noqa: F403


class Tap(Contract, name="tap_{suffix}", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: str | None = None
    amount: Annotated[float, Field(gt=0)]


class Refund(Contract, name="refund_{suffix}", version=1):
    """A tap was paid back."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    refund: float


class Verdict(Contract, name="verdict_{suffix}", version=1):
    """What it turned out to be."""

    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    fraud: bool


card, shop = Entity(name="card", key="card"), Entity(name="shop", key="shop")
by_card = View(
    name="by_card",
    version=1,
    entity=card,
    aggregates=(
        count(over=("1m", "10m")),
        mean("amount", over="10m"),
        sum_("amount", over="1m"),
        last("shop", over="10m"),
        sum_("refund", over="10m"),
    ),
    derived={{"share": Derived(sql="count_1m / (1e0 * count_10m)", type="double")}},
    refresh="20s",
)
by_shop = View(
    name="by_shop",
    version=1,
    entity=shop,
    aggregates=(count(over="10m"), max_("amount", over="10m"), approx_distinct("card", over="10m")),
)
pipeline = Pipeline(
    name="taps_{suffix}",
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="card", partitions=2, idle_after="1s"),
    additional_sources=(
        Source(topic="events.refunds_{suffix}", contract=Refund, key="card", partitions=2, triggers=False),
    ),
    entities=(card, shop),
    views=(by_card, by_shop),
    model=Model(
        name="taps_{suffix}",
        inputs=("event.amount", "by_card.count_10m", "by_card.amount_mean_10m", "by_shop.count_10m"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
    labels=Labels(
        topic="labels.taps_{suffix}",
        contract=Verdict,
        value="fraud",
        horizon="1m",
        absent="negative",
        hidden_by="block",
    ),
    monitors=Monitors(inputs=("event.amount", "by_card.amount_mean_10m"), window=100, false_alarm_every=10_000),
)
'''


def taps(seed: int) -> list[dict[str, Any]]:
    """Taps of a dozen cards, 3 s apart on average; amounts triple after :data:`HISTORY` of them.

    The last card falls silent in the middle of what follows.
    """
    rng = random.Random(seed)
    found = []
    time_ms = START_MS
    for number in range(HISTORY + DRIFTED):
        time_ms += rng.randrange(6_000)
        level = 10.0 if number < HISTORY else 30.0
        cards = 12 if number < HISTORY + DRIFTED // 2 else 11
        found.append(
            {
                "id": f"t{number}",
                "time": time_ms,
                "card": f"card{rng.randrange(cards)}",
                "shop": rng.choice([None, *(f"shop{n}" for n in range(5))]),
                "amount": round(level * rng.lognormvariate(0, 0.5), 2),
            }
        )
    return found


def long_text(seed: int) -> str:
    """A text that is longer than :data:`LONG`, also compressed."""
    return "".join(random.Random(seed).choices(string.ascii_letters, k=2 * LONG))


def partition_of(card: str) -> int:
    """The partition of a card's events on either topic."""
    return sum(card.encode()) % 2


def refunds(tap: dict[str, Any]) -> list[dict[str, Any]]:
    """A tap paid back in two parts, the second of which is sent twice."""
    return [
        {"id": f"{tap['id']}-{part}", "time": tap["time"], "card": tap["card"], "refund": tap["amount"] / part}
        for part in (2, 3, 3)
    ]


def record_run(stack: Stack, folder: Path, suffix: str, seed: int = 5) -> Recorded:
    """Run the pipeline on the stack, kill its TaskManager once, and return what it left."""
    path = folder / f"taps_{suffix}" / "pipeline.py"
    path.parent.mkdir()
    path.write_text(DEFINITION.format(suffix=suffix), encoding="utf-8")
    file = str(path)
    project = open_project(file)
    settings = Settings()
    create_topics(pipeline_topics(project.pipeline), settings.kafka.access)
    events = taps(seed)
    # The busiest cards have taps alone; the card of the last tap has refunds.
    # The watermark waits for every partition that has events, so those of both topics go on to the end.
    by_frequency = [card for card, _ in Counter(event["card"] for event in events[-50:]).most_common()]
    refunded = {partition_of(card): card for card in (*by_frequency, events[-1]["card"])}
    backfill, gates = folder / "backfill", folder / "gates.toml"
    gates.write_text('slices = 2\nskip = ["latency"]\n', encoding="utf-8")
    with CommandRunner(stack.environment() | dict(os.environ), folder / "logs") as services:
        runner = _Runner(project, settings, services, refunded)
        services.call("job-start", "job", "start", file, "--checkpoint-interval-ms", "5000")
        runner.produce(events[:HISTORY], rng=random.Random(seed))
        runner.produce_refused(events[HISTORY - 1] | {"id": "long", "amount": -1.0, "shop": long_text(seed)})
        runner.label(events, rng=random.Random(seed))
        for source in project.plan.sources:
            runner.await_role("features", source.topic)
        times = ("--from", str(START_MS), "--to", str(events[HISTORY - 1]["time"] + 1))
        services.call("backfill", "backfill", "run", file, *times, "--out", str(backfill))
        # The events after the training are those that the gates judge it on.
        until = str(events[HISTORY // 2]["time"])
        services.call("train", "model", "train", file, "--backfill", str(backfill), "--until", until)
        for name in ("redis", "cassandra"):
            services.start(f"sink-{name}", "sink", "run", name, file)
        # The first scorer's model has no number for the largest amounts. Its letters are replayed with the trained one.
        add_numberless_version(project, settings, sorted(event["amount"] for event in events[:HISTORY])[-UNSCORED])
        services.call("load", "model", "load", file)
        services.start("scorer", "scorer", "run", file)
        runner.await_role("scorer", project.pipeline.features_topic)
        services.kill("scorer")
        promote = ("model", "promote", file, "1", "--backfill", str(backfill), "--gates", str(gates))
        services.call("promote", *promote, "--override", OVERRIDE)
        add_numberless_version(project, settings, sorted(event["amount"] for event in events)[-UNSCORED])
        rollout = RolloutOfRun(project.pipeline, settings, services, file, folder)
        policy = canary(project.name, events[HISTORY + KILLED_WITHIN :], champion=1, candidate=2, shadow=3)
        rollout.apply(policy)
        # One of the events that the job refused is too long for its topic by now: it stays a letter.
        runner.take_messages_of(LONG)
        runner.replay(file)
        runner.take_messages_of(1_048_588)
        services.start("scorer", "scorer", "run", file)
        services.start("drift", "drift", "run", file)
        sent = runner.kill_job(events, stack.pid("taskmanager"), seed)
        # The job runs again, so it takes what follows as a stream, and no burst of one partition after the other.
        runner.await_role("features", project.plan.source.topic)
        offline = OfflineOfRun(project, settings, services, file, folder, START_MS)
        offline.start_archive()
        begins = range(sent, len(events) - 1, _BATCH)
        changes = {begins[len(begins) // 3]: rollout.widen, begins[2 * len(begins) // 3]: rollout.roll_back}
        archive_killed_at = random.Random(seed).choice(begins[len(begins) // 2 :])
        for begin in begins:
            if begin == archive_killed_at:
                offline.kill_archive()
            if begin in changes:
                runner.await_role("scorer", project.pipeline.features_topic)
                changes[begin]()
            runner.produce(events[:-1][begin : begin + _BATCH], rng=random.Random(seed + begin))
            time.sleep(0.1)
        # By the next records, all timers of the records before have fired.
        runner.await_all()
        time.sleep(settling_ms(project.plan) / 1_000 + 1)
        # The watermark is at the newest event and stays there, so no timer names these refunds before the tap does.
        runner.refund(events[-1] | {"time": events[-2]["time"]})
        runner.await_role("features", project.plan.sources[1].topic)
        runner.produce(events[-1:], rng=random.Random(seed))
        runner.await_all()
        rollout.rescore()
        services.call("job-stop", "job", "stop", file)
        runner.await_all()
        offline.finish(backfill, events[HISTORY - 1]["time"] + 1, events[-1]["time"] + 1)
    run = read_run(project, settings, [backfill], offline.sets, sample=None, seed=seed)
    return offline.recorded(run)


def add_numberless_version(project: Project, settings: Settings, limit: float) -> None:
    """Add a version like the newest one that has no number for events of at least this amount."""
    repository, name = ModelRepository(settings.model_repository), project.pipeline.model.name
    newest = repository.newest(name)
    model = onnx.load(repository.model_file(name, newest))
    manifest = repository.manifest(name, newest)
    inner = onnx.compose.add_prefix(model, "trained/", rename_inputs=False)
    constants = {
        "column": np.array([manifest.inputs.index("event.amount")], np.int64),
        "limit": np.array(limit, np.float32),
        "no number": np.array(np.nan, np.float32),
    }
    inner.graph.initializer.extend(onnx.numpy_helper.from_array(value, key) for key, value in constants.items())
    inner.graph.node.extend(
        (
            onnx.helper.make_node("Gather", ["features", "column"], ["amount"], axis=1),
            onnx.helper.make_node("GreaterOrEqual", ["amount", "limit"], ["is large"]),
            onnx.helper.make_node("Where", ["is large", "no number", "trained/score"], ["score"]),
        )
    )
    inner.graph.output[0].name = "score"
    origin = {"file": "test", "sha256": "", "producer": "", "output": "score", "column": 0, "nulls": {}}
    checked = {"check_rows": 0, "check_sha256": "", "difference": 0.0}
    repository.add(
        name,
        TrainedModel(
            inner.SerializeToString(),
            None,
            ImportManifest(inputs=manifest.inputs, views=manifest.views, libraries={}, **origin, **checked),
        ),
    )


class _Runner:
    """Produces events and waits for the consumers of one pipeline."""

    def __init__(
        self, project: Project, settings: Settings, services: CommandRunner, refunded: Mapping[int, str]
    ) -> None:
        self._refunded = refunded
        self._project, self._kafka, self._services = project, settings.kafka.access, services
        self._producer = Producer({**self._kafka.client(), "linger.ms": 5})
        self.lag = Lag(self._kafka)

    def produce(self, events: list[dict[str, Any]], *, rng: random.Random) -> None:
        """Produce taps, each to the partition of its card, some twice, some that break the contract; and refunds."""
        taps_topic, refunds_topic = (source.topic for source in self._project.plan.sources)
        for event in events:
            wrong = {**event, "amount": -1.0} if rng.random() < 0.02 else None
            again = event if rng.random() < 0.02 else None
            paid_back = refunds(event) if event["card"] in self._refunded.values() else []
            sent = [(refunds_topic, one) for one in paid_back] + [(taps_topic, one) for one in (event, wrong, again)]
            for topic, one in sent:
                if one is not None:
                    self._send(topic, one)
        assert self._producer.flush(30) == 0

    def kill_job(self, events: Sequence[dict[str, Any]], pid: int, seed: int) -> int:
        """Produce events after the history until the job has to repeat some, and kill its process.

        Returns the number of events that are produced by then; at most :data:`KILLED_WITHIN` of them after the history.
        """
        topic, kafka = self._project.pipeline.features_topic, self._kafka
        start, decoder = self.lag.end_offsets(topic), self._project.features_decoder()

        def of_events() -> int:
            return sum(not record.is_timer for record in published(read_topic(kafka, topic, start=start), decoder))

        point = KillPoint(self._project.pipeline, self.lag, of_events)
        for begin in range(HISTORY, HISTORY + KILLED_WITHIN, _BATCH):
            self.produce(events[begin : begin + _BATCH], rng=random.Random(seed + begin))
            if point.is_reached_before_a_checkpoint(_CHECKPOINT_S):
                os.kill(pid, signal.SIGKILL)
                return begin + _BATCH
        raise AssertionError(f"of {KILLED_WITHIN} events, the job published none between two checkpoints")

    def replay(self, file: str) -> None:
        """Replay the letters; on a slow broker, the command may stop and say that it must be repeated."""
        for attempt in range(1, _REPLAYS + 1):
            try:
                self._services.call(f"replay-{attempt}", "dlq", "replay", file)
            except PenstockError as error:
                if attempt > 1 and "exit status 99" in str(error):
                    return  # the one before had replayed all
                if attempt == _REPLAYS or "wait until no other replay runs" not in str(error):
                    raise
            else:
                return

    def refund(self, tap: dict[str, Any]) -> None:
        """Produce the refunds of a tap."""
        for one in refunds(tap):
            self._send(self._project.plan.sources[1].topic, one)
        assert self._producer.flush(30) == 0

    def produce_refused(self, tap: dict[str, Any]) -> None:
        """Produce one tap, which the job refuses."""
        self._send(self._project.plan.source.topic, tap)
        assert self._producer.flush(30) == 0

    def _send(self, topic: str, event: dict[str, Any]) -> None:
        card = event["card"]
        self._producer.produce(topic, json.dumps(event).encode(), card, partition_of(card))

    def take_messages_of(self, most: int) -> None:
        """Set the length of the longest message that the topic of the taps takes."""
        entry = ConfigEntry("max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET)
        topic = ConfigResource(ResourceType.TOPIC, self._project.plan.source.topic, incremental_configs=[entry])
        admin = AdminClient(self._kafka.client())
        admin.incremental_alter_configs([topic])[topic].result(15)

    def label(self, events: list[dict[str, Any]], *, rng: random.Random) -> None:
        """Label events: large amounts are more often fraud. Some labels come late, some after the horizon."""
        labels = self._project.pipeline.labels
        assert labels is not None
        for event in events:
            fraud = event["amount"] * rng.lognormvariate(0, 0.4) > 14
            delay_ms = rng.choice((1, 1, 1, 1, 30_000, 90_000))
            label = {"id": event["id"], "known_at": event["time"] + delay_ms, "fraud": fraud}
            self._producer.produce(labels.topic, json.dumps(label).encode(), event["id"].encode())
        assert self._producer.flush(30) == 0

    def await_role(self, role: str, topic: str, markers: int = 0) -> None:
        """Wait until the consumer group of a part of the pipeline has read a topic."""
        group = group_of(self._project.name, role)
        await_caught_up(self.lag, group, topic, self._services.check, markers=markers)

    def await_all(self) -> None:
        """Wait until everything published is processed, saved and stored."""
        pipeline = self._project.pipeline
        for source in pipeline.sources:
            self.await_role("features", source.topic)
        for role in ("scorer", "sink-redis", "sink-cassandra", "drift"):
            self.await_role(role, pipeline.features_topic)
        for role in ("sink-cassandra", "drift"):
            self.await_role(role, pipeline.predictions_topic, markers=1)
