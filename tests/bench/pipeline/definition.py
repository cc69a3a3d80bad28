"""The pipeline that is measured: three views of 14 features, a model of all of them, ten monitors."""

from __future__ import annotations

from pathlib import Path

ENTITIES = ("card", "shop", "device")
PARTITIONS = 2
_TEXT = '''
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Monitors, Pipeline, Source, View
from penstock import count, max_, mean, std, sum_

WINDOWS = ("5m", "1h", "24h")


class Payment(Contract, name="{name}_payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: Annotated[str, ENTITY]
    device: Annotated[str, ENTITY]
    amount: float


def spend(entity):
    return View(
        name=f"{{entity.name}}_spend",
        version=1,
        entity=entity,
        aggregates=(
            count(over=WINDOWS[:2]),
            sum_("amount", over=WINDOWS),
            mean("amount", over=WINDOWS),
            max_("amount", over=WINDOWS),
            std("amount", over=WINDOWS),
        ),
    )


entities = tuple(Entity(name=name, key=name) for name in {entities})
views = tuple(map(spend, entities))
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Payment, key="card", partitions={partitions}),
    entities=entities,
    views=views,
    model=Model(
        name="{name}",
        inputs=tuple(name for view in views for name in view.inputs()),
        threshold=0.5,
        positive="block",
        negative="approve",
    ),
    monitors=Monitors(
        inputs=tuple(f"{{view.name}}.amount_{{kind}}_24h" for view in views for kind in ("sum", "mean", "max")),
        window=500,
        false_alarm_every=100_000,
    ),
)
'''


def define(folder: Path, name: str) -> Path:
    """Write the pipeline's definition under a name, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(_TEXT.format(name=name, entities=ENTITIES, partitions=PARTITIONS), encoding="utf-8")
    return path
