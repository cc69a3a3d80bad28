"""What is scored: impressions of three entities, 42 windowed features, and a model of trees of real size."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import ModelManifest, TrainedModel, Validation
from scoring.training import to_onnx
from scoring.version_loading import load_version
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan

SEED = 17
PARTITIONS = 2
ENTITIES = ("person", "campaign", "site")
_DEFINITION = '''
"""Impressions with fourteen features of each of three entities."""
from typing import Annotated

from penstock import (
    ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count, max_, mean, min_, std, sum_
)


class Impression(Contract, name="{name}", version=1):
    impression_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    person: Annotated[str, ENTITY]
    campaign: str
    site: str
    price: float


def aggregates():
    return tuple(
        made
        for over in ("10m", "1h", "1d")
        for made in (count(over=over), sum_("price", over=over), mean("price", over=over), max_("price", over=over))
    ) + (min_("price", over="1d"), std("price", over="1d"))


FEATURES = tuple(
    f"{{feature}}_{{over}}"
    for over in ("10m", "1h", "1d")
    for feature in ("count", "price_sum", "price_mean", "price_max")
) + ("price_min_1d", "price_std_1d")
entities = tuple(Entity(name=name, key=name) for name in {entities})
views = tuple(View(name=f"by_{{e.name}}", version=1, entity=e, aggregates=aggregates()) for e in entities)
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Impression, key="person", partitions={partitions}),
    entities=entities,
    views=views,
    model=Model(
        name="{name}",
        inputs=tuple(f"{{view.name}}.{{feature}}" for view in views for feature in FEATURES),
        threshold=0.5,
        positive="bid",
        negative="pass",
    ),
)
'''


def define(folder: Path, name: str) -> tuple[str, Pipeline]:
    """Write the definition of a pipeline, and return its path and the pipeline."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(_DEFINITION.format(name=name, entities=ENTITIES, partitions=PARTITIONS), encoding="utf-8")
    return str(path), load_pipeline(str(path))


def feature_records(pipeline: Pipeline, events: int, start_ms: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Partition and feature record of each event, one after the other."""
    rng = random.Random(SEED)
    plan = compile_plan(pipeline)
    names = {view.name: [(f.name, f.type, f.empty) for f in view.outputs] for view in plan.views}
    for number in range(events):
        now, partition = start_ms + number // 20, number % PARTITIONS
        record: dict[str, Any] = {
            "event_id": f"imp-{number:012d}",
            "event_time": now,
            "trigger": "event",
            "attempt": start_ms,
            "source": {
                "topic": pipeline.source.topic,
                "partition": partition,
                "offset": number // PARTITIONS,
                "timestamp": now,
            },
            "event": {},
        }
        for view in plan.views:
            entity = f"{view.entity}-{min(int(rng.paretovariate(0.6)), 10**6):06d}"
            record[view.name] = {
                "entity": entity,
                "epoch": start_ms,
                "seq": number,
                "as_of": now,
                "late": False,
                **{
                    feature: rng.randrange(500) if kind == "long" else None if rng.random() < 0.05 else rng.random() * 9
                    for feature, kind, _ in names[view.name]
                },
            }
        yield partition, record


def load_model(pipeline: Pipeline, settings: Settings) -> bytes:
    """Train a model of a hundred trees on noise, load it into Triton, and return it as ONNX."""
    rng = np.random.default_rng(SEED)
    rows = rng.random((4_000, len(pipeline.model.inputs)), np.float32)
    labels = (rows[:, 0] + rows[:, 5] + rng.random(4_000) > 1.6).astype(np.int8)
    model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=SEED).fit(rows, labels)
    content = to_onnx(model, rows, pipeline.model.inputs, SEED)
    manifest = ModelManifest(
        inputs=pipeline.model.inputs,
        baseline_inputs=(),
        views={view.name: f"{view.version}:{view.hash}" for view in compile_plan(pipeline).views},
        seed=SEED,
        data_hash="0",
        until_ms=None,
        rows=4_000,
        positives=int(labels.sum()),
        iterations=100,
        read={},
        validation=Validation(from_ms=0, rows=0, positives=0, auc=0.5, auc_without_windows=None),
        libraries={},
    )
    repository = ModelRepository(settings.model_repository)
    repository.add(pipeline.model.name, TrainedModel(content, None, manifest))
    server = open_server(PRIMARY_SERVER, settings)
    try:
        load_version(repository, server, pipeline.model.name)
    finally:
        server.close()
    return content
