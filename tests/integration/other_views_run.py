"""A run of two pipelines on the stack: the scorer of one reads a view of the other, also while Redis is away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from deploy.local.stack import Stack
from examples.demo.command_runner import CommandRunner
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.kafka.reading import read_topic
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from schemas.history import record_decoder
from scoring.repository import ModelRepository
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import TrainedModel
from scoring.training_set import view_versions
from scoring.version_loading import load_version
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project
from tests.scoring.scorer_bench import manifest_of, onnx_bytes
from verify.published import readable
from verify.run_data import RunData

MINUTE = 60_000
_TIMEOUT_S = 180.0
_CARDS = '''
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count


class Use(Contract, name="use_{suffix}", version=1):
    """A card was used, anywhere."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="cards_{suffix}",
    source=Source(topic="events.uses_{suffix}", contract=Use, key="card", partitions=1),
    entities=(card,),
    views=(View(name="by_card", version=1, entity=card, aggregates=(count(over=("1m", "1h")),)),),
    model=Model(name="cards_{suffix}", inputs=("by_card.count_1h",), threshold=0.5, positive="a", negative="b"),
)
'''
_TAPS = '''
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count


class Tap(Contract, name="tap_{suffix}", version=1):
    """A card was tapped at a gate."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    gate: Annotated[str, ENTITY]
    card: str | None = None
    amount: float


gate = Entity(name="gate", key="gate")
pipeline = Pipeline(
    name="taps_{suffix}",
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="gate", partitions=1),
    entities=(gate,),
    views=(View(name="by_gate", version=1, entity=gate, aggregates=(count(over="1h"),)),),
    model=Model(
        name="taps_{suffix}",
        inputs=("event.amount", "cards_{suffix}:by_card.count_1m", "cards_{suffix}:by_card.count_1h"),
        defaults={{"cards_{suffix}:by_card.count_1m": 0, "cards_{suffix}:by_card.count_1h": None}},
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
    passthrough=("card",),
)
'''


def record_run(stack: Stack, folder: Path, suffix: str) -> tuple[Project, RunData]:
    """Run both pipelines, stop Redis meanwhile, and return what the one with the model left.

    Environment variables must name the stack, and the folder as that of the pipelines.
    """
    for name, definition in (("cards", _CARDS), ("taps", _TAPS)):
        file = folder / f"{name}_{suffix}" / "pipeline.py"
        file.parent.mkdir(parents=True)
        file.write_text(definition.format(suffix=suffix), encoding="utf-8")
    settings, cards, taps = Settings(), open_project(f"cards_{suffix}"), open_project(f"taps_{suffix}")
    for project in (cards, taps):
        create_topics(pipeline_topics(project.pipeline), settings.kafka.access)
    _load_model(taps, settings)
    at_ms = time.time_ns() // 1_000_000 - 180 * MINUTE
    with CommandRunner(dict(stack.environment()), folder / "logs") as services:
        run = _Run(taps, settings, services)
        for project in (cards, taps):
            services.call(f"start-{project.name}", "job", "start", project.name)
        services.start("sink", "sink", "run", "redis", cards.name)
        for number, card in enumerate(("a", "a", "b", "a")):
            run.produce(cards, {"id": str(number), "time": at_ms + number, "card": card})
        run.wait_for(lambda: run.is_read(cards, "features") and run.is_read(cards, "sink-redis"), "vectors in Redis")
        services.start("scorer", "scorer", "run", taps.name)
        for card, minutes in (("a", 0), ("b", 0), ("a", 2), ("a", 90), ("c", 0), (None, 0)):
            run.tap(at_ms + minutes * MINUTE + 5, card)
        stack.stop("redis")
        for _ in range(3):
            run.tap(at_ms + 6, "a")
        stack.start("redis")
        # The scorer asks again within 30 s.
        run.wait_for(lambda: not run.tap(at_ms + 7, "b")["defaulted"], "Redis to be asked again")
        for project in (cards, taps):
            services.call(f"stop-{project.name}", "job", "stop", project.name)
    return taps, _left_by(taps, cards, settings)


class _Run:
    """Produces events, one after the other."""

    def __init__(self, taps: Project, settings: Settings, services: CommandRunner) -> None:
        self._taps, self._services, self._kafka = taps, services, settings.kafka.access
        self._producer = Producer(self._kafka.client())
        self._taken = 0

    def produce(self, project: Project, event: Mapping[str, Any]) -> None:
        self._producer.produce(project.pipeline.source.topic, json.dumps(event).encode(), b"k", 0)
        assert self._producer.flush(30) == 0

    def tap(self, at_ms: int, card: str | None) -> dict[str, Any]:
        """Produce one tap, and return its prediction."""
        self._taken += 1
        self.produce(
            self._taps, {"id": f"t{self._taken}", "time": at_ms, "gate": "g", "card": card, "amount": self._taken % 4}
        )
        found: list[Any] = []

        def is_predicted() -> bool:
            found[:] = read_topic(self._kafka, self._taps.pipeline.predictions_topic)
            return len(found) == self._taken

        self.wait_for(is_predicted, f"prediction {self._taken}")
        return record_decoder("prediction").decode(found[-1].value)

    def is_read(self, project: Project, role: str) -> bool:
        topic = project.pipeline.source.topic if role == "features" else project.pipeline.features_topic
        ended = Lag(self._kafka).of_group(group_of(project.name, role), topic)
        return bool(ended) and not any(ended.values())

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not condition():
            self._services.check()
            assert time.monotonic() < deadline, f"waited {_TIMEOUT_S:.0f} s for {what}"
            time.sleep(0.2)


def _load_model(project: Project, settings: Settings) -> None:
    model, repository = project.pipeline.model, ModelRepository(settings.model_repository)
    manifest = manifest_of(project.pipeline)
    views = view_versions(project.plan, model.inputs, project.other_views)
    repository.add(model.name, TrainedModel(onnx_bytes(), None, manifest.model_copy(update={"views": views})))
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        load_version(repository, server, model.name)


def _left_by(taps: Project, cards: Project, settings: Settings) -> RunData:
    """What the pipeline published; its stores are not used."""
    kafka, pipeline = settings.kafka.access, taps.pipeline
    features, _ = readable(read_topic(kafka, pipeline.features_topic), taps.features_decoder(), "features")
    predictions, _ = readable(
        read_topic(kafka, pipeline.predictions_topic), record_decoder("prediction"), "predictions"
    )
    others, _ = readable(read_topic(kafka, cards.pipeline.features_topic), cards.features_decoder(), "features")
    return RunData(
        sources=(list(read_topic(kafka, pipeline.source.topic)),),
        dead_letters=((),),
        features=features,
        predictions=predictions,
        others={cards.name: others},
        models=settings.model_repository,
    )
