"""Measures a training set of many rows: ``python -m tests.bench.training_set [--rows N]``.

A backfill of N rows with 40 inputs is made up, and labels for three events in ten; the others are negative. The set is
built in a process of its own, whose peak memory is reported: DuckDB's is limited, and Python's does not grow with the
rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from backfill.manifest import BackfillManifest, Part, plan_hash, selected_views
from backfill.parquet import read_backfill
from backfill.parts import ROWS_PER_PART
from backfill.row_columns import row_schema
from backfill.training_sets.build import Inputs, build_training_set
from backfill.training_sets.manifest import Request
from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, Model, Pipeline, Source, View, count, mean
from penstock.kafka.reading import Record
from streams.flink.submission import Replay
from streams.plan.project import Project
from tests.bench.command import run

_WINDOWS = ("1m", "5m", "15m", "1h", "6h", "24h", "7d", "14d", "30d")
_STEP_MS, _BEGIN_MS = 100, 1_772_323_200_000
_CARDS = 50_000


class Payment(Contract, name="payment_of_bench", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME, Field(ge=0)]
    card: Annotated[str, ENTITY]
    shop: Annotated[str, ENTITY]
    amount: float
    fee: float
    tip: float
    tax: float


class Outcome(Contract, name="outcome_of_bench", version=1):
    """What it was."""

    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=0)]
    fraud: bool


def pipeline() -> Pipeline:
    """A pipeline with 40 inputs, of two entities."""
    card, shop = Entity(name="card", key="card"), Entity(name="shop", key="shop")
    views = tuple(
        View(name=f"by_{e.name}", version=1, entity=e, aggregates=(count(over=_WINDOWS), mean("amount", over=_WINDOWS)))
        for e in (card, shop)
    )
    events = tuple(f"event.{name}" for name in ("amount", "fee", "tip", "tax"))
    return Pipeline(
        name="bench",
        source=Source(topic="events.bench", contract=Payment, key="card"),
        entities=(card, shop),
        views=views,
        model=Model(
            name="bench",
            inputs=(*events, *views[0].inputs(), *views[1].inputs()),
            threshold=0.5,
            positive="block",
            negative="pass",
        ),
        labels=Labels(topic="labels.bench", contract=Outcome, value="fraud", horizon="1h", absent="negative"),
    )


def write_backfill(project: Project, folder: Path, rows: int) -> None:
    """Write a backfill of this many rows, in four partitions."""
    plan, rng = project.plan, np.random.default_rng(0)
    schema = row_schema(plan, [view.name for view in plan.views])
    folder.mkdir(parents=True)
    parts, each = [], rows // 4
    for partition in range(4):
        for number, begin in enumerate(range(0, each, ROWS_PER_PART)):
            offsets = np.arange(begin, min(begin + ROWS_PER_PART, each))
            table = pa.table([_column(field, partition, offsets, rng) for field in schema], schema=schema)
            name = f"part-{partition:05}-{number:05}.parquet"
            pq.write_table(table, folder / name, compression="zstd", row_group_size=20_000)
            parts.append(Part(file=name, partition=partition, rows=len(offsets), next_offset=int(offsets[-1]) + 1))
    replay = Replay(
        topic="backfill.bench",
        start=dict.fromkeys(range(4), 0),
        end=dict.fromkeys(range(4), each),
        from_ms=0,
        to_ms=2**42,
        max_ahead_ms=60_000,
    )
    manifest = BackfillManifest(
        state="complete",
        pipeline="bench",
        views=selected_views(plan, (), "bench"),
        plan=plan_hash(plan),
        run="bench",
        replay=replay,
        parts=parts,
    )
    manifest.save(folder)


def _column(field: pa.Field, partition: int, offsets: np.ndarray, rng: np.random.Generator) -> pa.Array:
    rows = len(offsets)
    if field.name == "event_id":
        return pa.array([f"{partition}-{offset:012}" for offset in offsets.tolist()])
    if field.name.startswith("source.") and field.name != "source.timestamp":
        return pa.array(offsets if field.name == "source.offset" else np.full(rows, partition)).cast(field.type)
    if pa.types.is_timestamp(field.type):
        return pa.array(_BEGIN_MS + offsets * _STEP_MS + partition).cast(field.type)  # no two at the same time
    if pa.types.is_string(field.type):
        return pa.array([f"e{n}" for n in rng.integers(0, _CARDS, rows).tolist()])
    if pa.types.is_floating(field.type):
        return pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.05)
    return pa.array(rng.integers(0, 2 if pa.types.is_boolean(field.type) else 500, rows)).cast(field.type)


def labels(rows: int) -> Iterator[Record]:
    """Labels of three events in ten, each a minute after its event, and one that says how far time has come."""
    each, place = rows // 4, 0
    for partition in range(4):
        for offset in range(each):
            if offset % 10 < 3:
                known = _BEGIN_MS + offset * _STEP_MS + 60_000
                label = {"id": f"{partition}-{offset:012}", "known_at": known, "fraud": offset % 7 > 0}
                yield Record(0, place, known, None, json.dumps(label).encode(), ())
                place += 1
    end = _BEGIN_MS + each * _STEP_MS + 7_200_000
    last = {"id": "end", "known_at": end, "fraud": True}
    yield Record(0, place, end, None, json.dumps(last).encode(), ())


def measure(folder: Path, rows: int, memory_limit: str, *, probe: bool) -> dict[str, Any]:
    """Build the set in this process."""
    project = Project.of(pipeline(), folder)
    request = Request(
        from_ms=0,
        to_ms=2**42,
        until_ms=None,
        features="recomputed",
        split=("0.7", "0.15", "0.15"),
        embargo=False,
        seed=0,
        probe=probe,
    )
    inputs = Inputs(lambda _: labels(rows), read_backfill(folder / "backfill"))
    begin, steps = time.perf_counter(), dict[str, float]()

    def tell(step: str) -> None:
        steps[step] = round(time.perf_counter() - begin, 1)

    made, _ = build_training_set(project, inputs, request, folder / "set", memory_limit, tell)
    return {
        "rows": made.rows,
        "inputs": len(made.inputs),
        "memory_limit": memory_limit,
        "seconds": round(time.perf_counter() - begin, 1),
        "steps_begin_s": steps,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "set_mb": sum(path.stat().st_size for path in (folder / "set").iterdir()) >> 20,
    }


def measured_apart(folder: Path, rows: int, memory_limit: str, *, probe: bool) -> dict[str, Any]:
    """Build the set in another process, whose peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (folder, rows, memory_limit), {"probe": probe})


def main() -> int:
    """Make the inputs, build the set in another process, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory-limit", default="1GB")
    parser.add_argument("--no-probe", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-training-set-"))
    try:
        write_backfill(Project.of(pipeline(), folder), folder / "backfill", options.rows)
        found = measured_apart(folder, options.rows, options.memory_limit, probe=not options.no_probe)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    run(main)
