"""The workload as a Penstock pipeline: a definition file like any user's."""

from __future__ import annotations

from pathlib import Path

from streams.plan.project import Project, open_project
from tests.bench.engine.workload import Workload

_DEFINITION = '''
"""A pipeline of the engine's benchmark."""

from typing import Annotated

from penstock import *  # noqa: F403
from penstock import Window


class Payment(Contract, name="{name}_payment", version=1):
    """A payment."""

    event_id: {event_id}
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    merchant: Annotated[str, ENTITY]
    terminal: Annotated[str, ENTITY]
    amount: float


def is_dear(amount):
    """Whether it is more than usual."""
    return amount > 500


OVER = {over}
AGGREGATES = (
    count(over=OVER),
    sum_("amount", over=OVER, name="sum"),
    mean("amount", over=OVER, name="mean"),
    min_("amount", over=OVER, name="min"),
    max_("amount", over=OVER, name="max"),
    std("amount", over=OVER, name="std"),
)
ENTITIES = tuple(Entity(name=name, key=name) for name in {entities})
VIEWS = tuple(View(name="of_" + e.name, version=1, entity=e, aggregates=AGGREGATES) for e in ENTITIES)
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="{topic}", contract=Payment, key="card", partitions=1),
    passthrough={carry},
    derived={derived},
    entities=ENTITIES,
    views=VIEWS,
    model=Model(name="{name}", inputs=VIEWS[0].inputs()[:1], threshold=0.5, positive="p", negative="n"),
)
'''

_COLUMNS = {
    "none": "{}",
    "sql": '{"dear": Derived(sql="amount > 500", type="boolean")}',
    "python": '{"dear": PythonColumn(function=is_dear, columns=("amount",), type="boolean")}',
}


def define(folder: Path, name: str, topic: str, work: Workload) -> Project:
    """Write the definition into ``folder`` and load it; ``name`` is the pipeline's."""
    over = ", ".join(
        f"Window.of({text!r}, hop='{hop}ms')" for text, (_, hop) in zip(work.windows, work.spans_ms, strict=True)
    )
    file = folder / f"{name}.py"
    file.write_text(
        _DEFINITION.format(
            name=name,
            topic=topic,
            over=f"({over},)",
            entities=work.keyed_by,
            derived=_COLUMNS[work.column],
            carry=("event_id",) if work.column == "none" else ("event_id", "dear"),
            event_id="Annotated[str, EVENT_ID]" if work.ids else "str",
        ),
        encoding="utf-8",
    )
    return open_project(str(file))
