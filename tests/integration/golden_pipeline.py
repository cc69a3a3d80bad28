"""The small pipeline of the golden runs, its upgraded form, and the common input of all runs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from streams.plan.project import Project, open_project

PARTITIONS = 3
START_MS = 1_700_000_000_000

_DEFINITION = '''
"""A pipeline of the golden run."""

from typing import Annotated

from penstock import *  # noqa: F403


class Payment(Contract, name="{name}_payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: str | None = None
    till: str | None = None
    amount: float


card, shop, till = Entity(name="card", key="card"), Entity(name="shop", key="shop"), Entity(name="till", key="till")
by_card = View(
    name="by_card",
    version=1,
    entity=card,
    aggregates=(
        count(over=("10s", "5m", "1h")),
        sum_("amount", over=("10s", "5m", "1h")),
        std("amount", over="5m"),
        max_("amount", over="1h"),
        last("shop", over="5m"),
        approx_distinct("shop", over="1h"),
        decayed_sum("amount", half_life="1m", over="1h"),
        time_since_previous(over="1h"),
    ),
)
by_shop = View(
    name="by_shop", version=1, entity=shop, aggregates=(count(over="1m"), mean("amount", over="1m"))
)
dear = View(
    name="dear",
    version=1,
    entity=card,
    # With a lifetime window, the state of entities is kept forever; without one, it is dropped after a while.
    aggregates=(count(where="cents > 5000", name="dear", over=("5m", "lifetime")), mean("cents", over="5m")),
)
by_till = View(name="by_till", version=1, entity=till, aggregates=(count(over="1m"), sum_("cents", over="1m")))
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Payment, key="card", partitions={partitions}),
    entities=(till, card, shop),
    derived={derived},
    views={views},
    model=Model(name="{name}", inputs=by_card.inputs()[:2], threshold=0.5, positive="p", negative="n"),
    passthrough=("amount",),
)
'''


def define(folder: Path, name: str, *, extended: bool = False) -> Path:
    """Write the definition of a pipeline; if ``extended``, with two more views, an entity and a derived column."""
    cents = '{"cents": Derived(sql="amount * 100", type="double")}'
    source = _DEFINITION.format(
        name=name,
        partitions=PARTITIONS,
        derived=cents if extended else "{}",
        views="(by_till, by_card, dear, by_shop)" if extended else "(by_card, by_shop)",
    )
    file = folder / f"{name}_{'extended' if extended else 'base'}.py"
    file.write_text(source, encoding="utf-8")
    return file


def project_of(file: Path) -> Project:
    """The pipeline that a file defines."""
    return open_project(str(file))


def payments(count: int, seed: int) -> list[dict[str, Any]]:
    """Payments of a few cards at a few tills, with ties, late ones, ones older than every window, and duplicates."""
    chance = random.Random(seed)
    clock, events = START_MS, list[dict[str, Any]]()
    for number in range(count):
        clock += chance.choice([0, 0, 300, 700, 2_000])
        if events and chance.random() < 0.03:
            events.append(chance.choice(events[-20:]))
            continue
        events.append(
            {
                "id": f"{number}",
                "time": clock - chance.choice([0, 0, 0, 0, 500, 3_000, 20_000, 400_000, 5_000_000]),
                "card": f"card{chance.randrange(9)}",
                "shop": chance.choice([None, "ann", "bob", "bo", "çelik", ""]),
                "till": chance.choice([None, "1", "2"]),
                "amount": chance.choice([0.1, -0.0, 5.25, 49.99, 50.01, 70.7, 1e9]),
            }
        )
    return events
