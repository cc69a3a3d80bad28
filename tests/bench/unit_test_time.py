"""Measures what a unit test of features costs: ``python -m tests.bench.unit_test_time``.

Each round is a new process, as of a test runner: the import of ``penstock.testing``, the first ``features_of`` (which
starts the kernel's JVM) and later ones, each of one event; for a pipeline without SQL and for one with a derived column
and a derived feature.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from itertools import pairwise
from typing import Annotated

_ROUNDS = 9
_LATER_CALLS = 20
_TIMES = ("import", "first", "later")


def measure(*, with_sql: bool) -> dict[str, float]:
    """The milliseconds of the import, the first call and the median of later calls in this process."""
    begin = time.perf_counter()
    import penstock as ps  # noqa: PLC0415 - the import is what is measured
    from penstock.testing import features_of  # noqa: PLC0415

    imported = time.perf_counter()

    class Payment(ps.Contract, name="payment", version=1):
        id: Annotated[str, ps.EVENT_ID]
        at: Annotated[int, ps.EVENT_TIME]
        card: Annotated[str, ps.ENTITY]
        amount: float

    card = ps.Entity(name="card", key="card")
    view = ps.View(
        name="spend",
        version=1,
        entity=card,
        aggregates=(ps.count(over="1h"), ps.mean("amount_eur" if with_sql else "amount", over=("1h", "24h"))),
        derived={"share": ps.Derived(sql="count_1h / 2", type="double")} if with_sql else {},
    )
    pipeline = ps.Pipeline(
        name="payments",
        source=ps.Source(topic="payments", contract=Payment, key="card"),
        derived={"amount_eur": ps.Derived(sql="amount * 0.9e0", type="double")} if with_sql else {},
        entities=(card,),
        views=(view,),
        model=ps.Model(name="m", inputs=view.inputs(), threshold=0.5, positive="fraud", negative="ok"),
    )
    marks = [time.perf_counter()]
    for _ in range(1 + _LATER_CALLS):
        features_of(pipeline, [{"at": 1_772_366_400_000, "card": "4111", "amount": 10.0}])
        marks.append(time.perf_counter())
    calls = [after - before for before, after in pairwise(marks)]
    seconds = (imported - begin, calls[0], statistics.median(calls[1:]))
    return {name: 1_000 * value for name, value in zip(_TIMES, seconds, strict=True)}


def main() -> None:
    """Print the medians over all rounds; the two pipelines take turns."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(_ROUNDS):
        for pipeline in ("plain", "sql"):
            command = [sys.executable, "-m", __spec__.name, pipeline]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            found[pipeline].append(json.loads(result.stdout))
    for pipeline, rounds in found.items():
        medians = ", ".join(f"{name} {statistics.median(one[name] for one in rounds):.1f} ms" for name in _TIMES)
        print(f"{pipeline}: {medians}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(with_sql=sys.argv[1] == "sql")))
    else:
        main()
