"""The sizes of the full and the quick benchmark, and the growth rows, in each group of which one parameter grows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.bench.engine.engines import ON_ROCKSDB, PENSTOCK, PYTHON_BESIDE, Engine
from tests.bench.engine.measure import Pace
from tests.bench.engine.workload import Workload


@dataclass(frozen=True)
class Row:
    """A growth row: a workload that is compared with the first row of its group.

    Args:
        group: The parameter that grows: ``tiles``, ``windows``, ``entities``, ``keys``, ``late``, ``ids``, ``column``,
            ``state`` or ``cold``.
        value: The value of the parameter.
        work: The workload.
        engine: Penstock, with the options of the row.
    """

    group: str
    value: str
    work: Workload
    engine: Engine = PENSTOCK


@dataclass(frozen=True)
class Size:
    """The size of a benchmark run.

    Args:
        rounds: The number of interleaved rounds of all engines.
        pace: The pace of their measurements.
        works: The workloads of the comparison, by name.
        rows: The growth rows.
        row_rounds: The number of interleaved rounds of the growth rows.
        row_pace: The pace of their measurements.
        rates: The rates at which latency is measured, in events per second.
        latency_pace: How long to warm up and to measure at each rate.
        memory_mb: Memory of the TaskManager.
    """

    rounds: int
    pace: Pace
    works: dict[str, Workload]
    rows: tuple[Row, ...]
    row_rounds: int
    row_pace: Pace
    rates: tuple[int, ...]
    latency_pace: Pace
    memory_mb: int


def full() -> Size:
    """All of docs/reference/benchmarks.md: an hour on two cores."""
    one = Workload(events=5_000_000)
    return Size(
        rounds=3,
        pace=Pace(settle_s=7, measure_s=4),
        works={"one entity": one, "three entities": replace(one, events=1_500_000, entities=50, chain=True)},
        rows=growth(events=3_000_000, entities=(1_000, 10_000, 100_000, 1_000_000)),
        row_rounds=3,
        row_pace=Pace(settle_s=6, measure_s=4),
        rates=(1_000, 5_000),
        latency_pace=Pace(settle_s=20, measure_s=12),
        memory_mb=12_288,
    )


def quick() -> Size:
    """A short run of the same code paths, which ends within five minutes: too short for ratios."""
    return Size(
        rounds=1,
        pace=Pace(settle_s=5, measure_s=4),
        works={"one entity": Workload(events=1_200_000, entities=50)},
        rows=tuple(
            row
            for row in growth(events=1_000_000, entities=(1_000, 100_000))
            if (row.group, row.value) in {("keys", "uniform"), ("keys", "zipf"), ("entities", "100000")}
        ),
        row_rounds=1,
        row_pace=Pace(settle_s=4, measure_s=3),
        rates=(1_000,),
        latency_pace=Pace(settle_s=8, measure_s=5),
        memory_mb=3_072,
    )


def growth(events: int, entities: tuple[int, ...]) -> tuple[Row, ...]:
    """The growth rows; the first row of each group is the one that the others are compared with."""
    base = Workload(events=events, entities=20)
    sparse = Workload(events=events, full=False)
    keyed = replace(base, entities=100)
    windows = {"1": ("1h",), "5": base.windows, "10": ("1m", "2m", "5m", "15m", "30m", "1h", "3h", "12h", "24h", "7d")}
    backends = (("heap", PENSTOCK), ("RocksDB", ON_ROCKSDB))
    return (
        *(Row("tiles", str(tiles), replace(base, tiles=tiles)) for tiles in (60, 600)),
        *(Row("windows", count, replace(keyed, windows=these)) for count, these in windows.items()),
        *(Row("entities", str(count), replace(sparse, entities=count)) for count in entities),
        *(Row("keys", keys, replace(keyed, keys=keys)) for keys in ("uniform", "zipf")),  # type: ignore[arg-type]
        *(Row("late", share, replace(keyed, late=float(share))) for share in ("0", "0.05")),
        *(Row("ids", said, replace(keyed, ids=ids)) for said, ids in (("none", False), ("within an hour", True))),
        Row("column", "none", keyed),
        Row("column", "SQL", replace(keyed, column="sql")),
        Row("column", "Python, in the JVM's process", replace(keyed, column="python")),
        Row("column", "Python, in a process beside it", replace(keyed, column="python"), PYTHON_BESIDE),
        *(Row("state", said, keyed, engine) for said, engine in backends),
        *(Row("cold", said, replace(sparse, entities=100_000), engine) for said, engine in backends),
    )
