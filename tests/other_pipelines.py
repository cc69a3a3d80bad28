"""Two pipelines: the model of one, `taps`, takes inputs from views of the other, `cards`."""

from __future__ import annotations

from typing import Annotated, Any

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_HASH,
    Contract,
    Derived,
    Entity,
    Model,
    Pipeline,
    Source,
    View,
    count,
    last,
    last_k,
    sum_,
)
from streams.plan.compiler import compile_plan
from streams.plan.model import PipelinePlan
from streams.plan.other_views import OtherView, find_other_views


class Use(Contract, name="use", version=1):
    """A card was used, anywhere."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    gate: Annotated[int, ENTITY]
    holder: Annotated[str, ENTITY, PII_HASH]
    country: str
    amount: float


class Tap(Contract, name="tap", version=1):
    """A card was tapped at a gate."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: str
    gate: Annotated[int | None, ENTITY] = None
    holder: str | None = None


CARD, PAIR = Entity(name="card", key="card"), Entity(name="pair", key=("card", "gate"))
HOLDER = Entity(name="holder", key="holder")
GATE = Entity(name="gate", key="gate")
CARDS = Pipeline(
    name="cards",
    source=Source(topic="events.uses", contract=Use, key="card", partitions=1),
    entities=(CARD, PAIR, HOLDER),
    views=(
        View(
            name="by_card",
            version=2,
            entity=CARD,
            aggregates=(
                count(over=("1m", "1h")),
                sum_("amount", over="1h"),
                last("country", over="1h"),
                last_k("country", k=2, over="1h"),
            ),
            derived={"busy": Derived(sql="count_1m > 3", type="boolean")},
        ),
        View(name="by_pair", version=1, entity=PAIR, aggregates=(count(over="10m"), last("gate", over="10m"))),
        View(name="by_holder", version=1, entity=HOLDER, aggregates=(count(over="1h"),)),
    ),
    model=Model(name="cards", inputs=("by_card.count_1h",), threshold=0.5, positive="a", negative="b"),
)

INPUTS = (
    "event.gate",
    "cards:by_card.count_1m",
    "by_gate.count_1h",
    "cards:by_card.country_last_1h",
    "cards:by_pair.count_10m",
    "cards:by_card.busy",
)
DEFAULTS: dict[str, Any] = {
    "cards:by_card.count_1m": 0,
    "cards:by_card.country_last_1h": "??",
    "cards:by_pair.count_10m": None,
    "cards:by_card.busy": False,
}


def taps(**changes: Any) -> Pipeline:
    """The pipeline whose model takes inputs of `cards`; ``changes`` are of the model."""
    model = {
        "name": "taps",
        "inputs": INPUTS,
        "categories": ("cards:by_card.country_last_1h",),
        "defaults": DEFAULTS,
        "threshold": 0.5,
        "positive": "stop",
        "negative": "go",
    }
    return Pipeline(
        name="taps",
        source=Source(topic="events.taps", contract=Tap, key="gate", partitions=1),
        entities=(GATE,),
        views=(View(name="by_gate", version=1, entity=GATE, aggregates=(count(over="1h"),)),),
        model=Model(**{**model, **changes}),
        passthrough=("card",),
    )


def with_input(name: str, default: Any = 0, **changes: Any) -> Pipeline:
    """The pipeline whose model takes this one input of another pipeline."""
    return taps(inputs=(name,), defaults={name: default}, **{"categories": (), **changes})


def resolved(pipeline: Pipeline, other: Pipeline = CARDS) -> tuple[OtherView, ...]:
    """The views of the other pipeline that it needs."""
    return find_other_views(pipeline, compile_plan(pipeline), lambda _: compile_plan(other))


PLAN: PipelinePlan = compile_plan(CARDS)
