"""Writes the archive of classes from which the kernel's JVM starts in half the time; set-up calls it.

``python -m streams.inprocess.class_archive`` runs a small pipeline in a kernel, which writes the classes that it has
loaded when it ends. Java ignores an archive that does not fit its version or the jars.
"""

from __future__ import annotations

import sys
from typing import Annotated

from penstock.paths import KERNEL_ARCHIVE
from schemas.contract import ENTITY, EVENT_ID, EVENT_TIME, Contract
from streams.definitions.aggregates import count, last, mean
from streams.definitions.pipeline import Model, Pipeline
from streams.definitions.sources import Source
from streams.definitions.views import Entity, View
from streams.inprocess.features_of import features_of
from streams.inprocess.kernel import Kernel


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float


def main() -> int:
    """Write the archive."""
    card = Entity(name="card", key="card")
    view = View(
        name="spend",
        version=1,
        entity=card,
        aggregates=(count(over=("1h", "lifetime")), mean("amount", over="1h"), last("amount", over="1h")),
    )
    source = Source(topic="payments", contract=Payment, key="card")
    model = Model(name="m", inputs=view.inputs()[:1], threshold=0.5, positive="block", negative="approve")
    pipeline = Pipeline(name="payments", source=source, entities=(card,), views=(view,), model=model)
    KERNEL_ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
    KERNEL_ARCHIVE.unlink(missing_ok=True)
    partial = KERNEL_ARCHIVE.with_suffix(".partial.jsa")
    with Kernel(options=(f"-XX:ArchiveClassesAtExit={partial}",)) as kernel:
        features_of(pipeline, [{"time": 0, "card": "4111", "amount": 10.0}], kernel=kernel)
    # By renaming: a kernel that starts now finds a whole archive or none.
    partial.replace(KERNEL_ARCHIVE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
