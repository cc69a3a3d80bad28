"""The benchmark of backfills: writes ``backfill.json``.

The same payments lie in a topic and in a Parquet file. A backfill of the topic, start-up included, is held against the
backfill of an earlier commit, against DuckDB and Polars computing the same windows of the file, and against itself with
ten times the input. A training set is held against Feast's point-in-time join of the same features to the same events.
What computed something else gets no time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Producer

from penstock.kafka.topics import create_topics
from penstock.paths import BUILD, ROOT
from streams.plan.model import PipelinePlan
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project, open_project
from tests.bench import command
from tests.bench.backfill_peers.running import by_polars, join_beside_feast
from tests.bench.engine import process_cpu
from tests.bench.engine.bench_stack import BenchStack, bench_stack
from tests.bench.pipeline.before import BEFORE, checkout
from tests.bench.pipeline.definition import ENTITIES, PARTITIONS, define
from tests.bench.pipeline.raw_events import DISTINCT, payment

START_MS = 1_760_000_000_000
# Two days of 420,000 events: the window of a day loses events as it takes new ones.
SPACING_MS = 400
_SQL = {
    "count": "count(*)",
    "sum": "sum({column})",
    "mean": "avg({column})",
    "max": "max({column})",
    "std": "stddev_samp({column})",
}
_EXACT = ("count", "max")
# Of a value's magnitude: DuckDB adds in another order.
_TOLERANCE = 1e-6
_TASK_MANAGER_MB = 2_048


@dataclass(frozen=True)
class Size:
    """How many events are replayed: for the comparisons, and the two sizes that show how time and memory grow.

    ``joined`` are the rows of the training set.
    """

    events: int
    growth: tuple[int, int]
    joined: int


QUICK = Size(events=420_000, growth=(42_000, 420_000), joined=100_000)
FULL = Size(events=1_000_000, growth=(420_000, 4_200_000), joined=1_000_000)


@dataclass(frozen=True)
class Run:
    """One way to compute the features of all events.

    Args:
        events: The number of events.
        seconds: How long it took, start-up included.
        cpu_s: The CPU time of the command, and of the TaskManager and the broker where it needs them.
        peak_mb: The greatest memory of the command, and of the TaskManager.
    """

    events: int
    seconds: float
    cpu_s: dict[str, float]
    peak_mb: dict[str, float]

    @property
    def events_per_s(self) -> int:
        """Events per second."""
        return round(self.events / self.seconds)


@dataclass(frozen=True)
class World:
    """The same payments in the topic of a pipeline and in a Parquet file."""

    stack: BenchStack
    project: Project
    file: Path
    parquet: Path
    events: int

    @classmethod
    def make(cls, stack: BenchStack, events: int) -> World:
        """A pipeline of its own, with this many payments."""
        name = f"backfill_{events}"
        file = define(stack.folder / "definitions", name)
        project, parquet = open_project(str(file)), stack.folder / f"{name}.parquet"
        create_topics(pipeline_topics(project.pipeline), stack.kafka)
        producer = Producer(
            {**stack.kafka.client(), "linger.ms": 20, "batch.size": 1_000_000, "compression.type": "lz4"}
        )
        columns = payments(events, seed=1)
        pq.write_table(pa.table(columns), parquet)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        for number, (time_ms, card, shop, device, amount) in enumerate(rows):
            value = payment(str(number), time_ms, card, shop, device, amount)
            topic, key = project.pipeline.source.topic, b"card-%06d" % card
            while True:
                try:
                    producer.produce(topic, value, key, card % PARTITIONS, timestamp=time_ms)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(120) == 0, "the events could not be published"
        return cls(stack, project, file, parquet, events)

    def backfill(self, code: Path, out: Path, *more: str) -> Run:
        """The backfill of all payments by the command of a working copy, with more arguments."""
        arguments = [
            "--from",
            str(START_MS),
            "--to",
            str(START_MS + (self.events - 1) * SPACING_MS + 1),
            "--out",
            str(out),
            *more,
        ]
        own = {"PYTHONPATH": str(code), "PENSTOCK_JARS": str(code / "build" / "jars")}
        pids = {"task manager": self.stack.pid("taskmanager"), "broker": self.stack.pid("kafka")}
        before = {name: process_cpu.seconds(pid) for name, pid in pids.items()}
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "backfill", "run", str(self.file), *arguments],
            cwd=code,
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,
        )
        with peaks({"command": process.pid, "task manager": pids["task manager"]}) as peak_mb:
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        assert status == 0, f"the backfill of {code} failed"
        cpu_s = {name: process_cpu.seconds(pid) - before[name] for name, pid in pids.items()}
        return Run(self.events, seconds, cpu_s | {"command": used.ru_utime + used.ru_stime}, peak_mb)

    def by_duckdb(self, out: Path) -> Run:
        """The same by DuckDB: from the Parquet file to a Parquet file."""
        begin, cpu = time.monotonic(), time.process_time()
        with duckdb.connect() as connection:
            query = windows_query(self.project.plan, self.parquet)
            connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
        return Run(self.events, time.monotonic() - begin, {"command": time.process_time() - cpu}, {})


def payments(number: int, seed: int) -> dict[str, np.ndarray]:
    """The payments' columns, in the order of their times, no two at the same; some entities are busier."""
    rng = np.random.default_rng(seed)
    card, shop, device = (DISTINCT * rng.random((number, 3)) ** 3).astype(int).T
    amounts = rng.integers(100, 2_000_000, number) / 100
    return {
        "time": START_MS + SPACING_MS * np.arange(number),
        "card": card,
        "shop": shop,
        "device": device,
        "amount": amounts,
    }


def windows_query(plan: PipelinePlan, parquet: Path) -> str:
    """The features of all views over a file of payments, in the order of time, as the columns of a backfill."""
    columns, frames = [], {}
    for view in plan.views:
        for feature in view.features:
            # The window begins with the tile that its hop rounds it to: docs/concepts/semantics.md.
            frame = f"{view.key}_{feature.window_ms}"
            frames[frame] = (
                f"{frame} AS (PARTITION BY {view.key} ORDER BY time RANGE BETWEEN "
                f"time % {feature.hop_ms} + {feature.window_ms - feature.hop_ms} PRECEDING AND CURRENT ROW)"
            )
            value = _SQL[feature.operation].format(column=feature.column)
            columns.append(f'{value} OVER {frame} AS "{view.name}.{feature.name}"')
    return (
        f"SELECT time, {', '.join(columns)} FROM read_parquet('{parquet}') "
        f"WINDOW {', '.join(frames.values())} ORDER BY time"
    )


def rows_of(folder: Path) -> pa.Table:
    """The rows of a backfill in their order, also of one whose manifest is of the earlier commit."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return pa.concat_tables(pq.read_table(folder / part["file"]) for part in manifest["parts"])


def require_equal(plan: PipelinePlan, backfill: Path, by_peer: Path) -> None:
    """Stop if the backfill and DuckDB, or Polars, have computed different values."""
    rows = rows_of(backfill).sort_by("event_time")
    others = pq.read_table(by_peer)
    assert rows.num_rows == others.num_rows, (rows.num_rows, others.num_rows)
    assert np.array_equal(*(np.asarray(c.cast("int64")) for c in (rows["event_time"], others["time"])))
    for view in plan.views:
        for feature in view.features:
            name = f"{view.name}.{feature.name}"
            ours, theirs = (np.asarray(table[name].cast("float64")) for table in (rows, others))
            allowed = 0 if feature.operation in _EXACT else _TOLERANCE
            assert np.allclose(ours, theirs, rtol=allowed, atol=allowed, equal_nan=True), name


@contextmanager
def peaks(pids: dict[str, int]) -> Iterator[dict[str, float]]:
    """The greatest resident memory of processes while the block runs, in MB."""
    found, ended = dict.fromkeys(pids, 0.0), threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for name, pid in pids.items():
                try:
                    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
                except (OSError, IndexError):
                    continue
                found[name] = max(found[name], pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def measure(stack: BenchStack, size: Size, before: Path) -> dict[str, Any]:
    """Everything that needs the stack."""
    folder = stack.folder
    world = World.make(stack, size.events)
    runs = {"now": world.backfill(ROOT, folder / "now")}
    say("now", runs["now"])
    runs["parallelism 2"] = world.backfill(ROOT, folder / "wide", "--parallelism", "2")
    say("parallelism 2", runs["parallelism 2"])
    assert rows_of(folder / "now").equals(rows_of(folder / "wide"))
    runs["before"] = world.backfill(before, folder / "before_out")
    say("before", runs["before"])
    assert rows_of(folder / "now").equals(rows_of(folder / "before_out"))
    runs["duckdb"] = world.by_duckdb(folder / "duckdb.parquet")
    say("duckdb", runs["duckdb"])
    require_equal(world.project.plan, folder / "now", folder / "duckdb.parquet")
    polars = by_polars(world.project.plan, world.parquet, folder / "polars.parquet")
    runs["polars"] = Run(world.events, polars["seconds"], {"command": polars["cpu_s"]}, {})
    say("polars", runs["polars"])
    require_equal(world.project.plan, folder / "now", folder / "polars.parquet")
    few = World.make(stack, 1_000).backfill(ROOT, folder / "few")
    say("start-up", few)
    growth = {}
    for events in size.growth:
        of = world if events == size.events else World.make(stack, events)
        growth[events] = of.backfill(ROOT, folder / f"growth_{events}")
        say(f"growth {events:,}", growth[events])
    small, large = (growth[events] for events in size.growth)
    own = (large.events - small.events) / (large.seconds - small.seconds)
    return {
        "events_per_s": runs["now"].events_per_s,
        "events_per_s_without_start_up": round(own),
        "start_up_s": round(few.seconds, 1),
        "ratios": {name: round(runs[name].seconds / runs["now"].seconds, 2) for name in ("duckdb", "polars", "before")},
        "growth": {
            "input": large.events / small.events,
            "seconds": round(large.seconds / small.seconds, 2),
            "peak_mb": {name: round(large.peak_mb[name] / peak, 2) for name, peak in small.peak_mb.items()},
        },
        "runs": {name: asdict(run) for name, run in runs.items()}
        | {f"growth_{events}": asdict(run) for events, run in growth.items()}
        | {"few": asdict(few)},
        "versions": polars["versions"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backfill", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, within about five minutes")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where results and logs go")
    options = parser.parse_args(arguments)
    size, load = QUICK if options.quick else FULL, os.getloadavg()[0]
    before = checkout(options.folder)
    shutil.rmtree(options.folder / "backfill", ignore_errors=True)
    with bench_stack(options.folder / "backfill", _TASK_MANAGER_MB) as stack:
        found = measure(stack, size, before)
    joins = join_beside_feast(options.folder / "backfill" / "joins", size.joined)
    ours, theirs = (joins[name]["seconds"] for name in ("training_set", "feast"))
    sys.stdout.write(f"training set {ours:6.1f} s, Feast {theirs:.1f} s\n")
    found["ratios"]["feast_point_in_time"] = round(theirs / ours, 2)
    found |= {
        "joins": joins,
        "quick": options.quick,
        "date": datetime.now(UTC).date().isoformat(),
        "before_commit": BEFORE,
        "load": [load, os.getloadavg()[0]],
        "cores": os.cpu_count(),
        "entities": dict.fromkeys(ENTITIES, DISTINCT),
        "versions": found["versions"]
        | joins["feast"]["versions"]
        | {"python": platform.python_version()}
        | {name: version(name) for name in ("duckdb", "pyarrow", "confluent-kafka", "numpy")},
    }
    path = options.folder / "backfill.json"
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")
    return 0


def say(name: str, run: Run) -> None:
    """Print a line at once."""
    cpu = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in run.cpu_s.items())
    sys.stdout.write(f"{name:16} {run.seconds:6.1f} s {run.events_per_s:9,} events/s  CPU {cpu}  {run.peak_mb}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    command.run(main)
