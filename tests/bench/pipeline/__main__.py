"""The benchmark of the whole pipeline: writes ``pipeline.json``.

Every part runs by itself on the same records, as users run it, beside the code of an earlier commit and beside bare
clients. Then all run together at steady rates, which gives the latency from a raw event to its prediction.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.paths import BUILD, ROOT
from penstock.settings import Settings
from tests.bench import command
from tests.bench.pipeline import latency, online, page
from tests.bench.pipeline.before import BEFORE, checkout
from tests.bench.pipeline.parts import EVERY_PART, PARTS, Pipeline, Rate
from tests.bench.pipeline.raw_events import fill, payments


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    events: int
    rounds: int
    warm_s: float
    seconds: float
    rates: tuple[int, ...]
    paced_s: float
    soak_s: float
    reads: int


QUICK = Size(events=400_000, rounds=1, warm_s=3, seconds=5, rates=(1_000,), paced_s=8, soak_s=0, reads=3)
FULL = Size(
    events=1_500_000, rounds=2, warm_s=8, seconds=15, rates=(200, 1_000, 5_000), paced_s=30, soak_s=600, reads=30
)


def bare(pipeline: Pipeline, size: Size) -> dict[str, float]:
    """What bare clients reach with the records of a pipeline whose parts have run."""
    found = {}
    for part in ("redis", "cassandra", "drift"):
        command = [sys.executable, "-m", "tests.bench.pipeline.bare", part, str(pipeline.file), str(size.seconds)]
        found[part] = float(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        say(f"{part:10} bare     {found[part]:9,.0f} events/s")
    found["scorer"] = pipeline.rival("relay", f"relay.{pipeline.name}", size.warm_s, size.seconds).events_per_s
    say(f"scorer     bare     {found['scorer']:9,.0f} events/s")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pipeline", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, within about five minutes")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where results and logs go")
    parser.add_argument("--page", action="store_true", help="write docs/reference/pipeline-benchmark.md, too")
    options = parser.parse_args(arguments)
    size, folder = QUICK if options.quick else FULL, options.folder / "pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    load = [os.getloadavg()[0]]
    before = checkout(options.folder)
    stack = Stack(folder / "stack", Ports.free())
    try:
        stack.up()
        os.environ.update(stack.environment())
        found = run(stack, before, folder, size)
    finally:
        stack.down(wipe=True)
    found |= {
        "quick": options.quick,
        "date": datetime.now(UTC).date().isoformat(),
        "before_commit": BEFORE,
        "size": asdict(size),
        "load": [*load, os.getloadavg()[0]],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("confluent-kafka", "redis", "cassandra-driver", "numpy", "river")
        },
    }
    (options.folder / "pipeline.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    say(f"wrote {options.folder / 'pipeline.json'}")
    if options.page:
        page.write(found, ROOT / "docs" / "reference")
    return 0


def run(stack: Stack, before: Path, folder: Path, size: Size) -> dict[str, object]:
    """Everything that needs the stack."""
    rates: dict[str, dict[str, list[Rate]]] = {"now": defaultdict(list), "before": defaultdict(list)}
    for number in range(size.rounds):
        pipelines = {
            "before": Pipeline(before, stack, folder, f"bench_before_{number}", before=True),
            "now": Pipeline(ROOT, stack, folder, f"bench_now_{number}"),
        }
        for pipeline in pipelines.values():
            # The job fills the topics of the others, and its first events fill its windows.
            events = payments(size.events, time.time_ns() // 1_000_000, seed=number)
            fill(pipeline.settings.kafka.access, pipeline.definition.source.topic, events)
        for part in PARTS:
            for name, pipeline in pipelines.items():
                rate = pipeline.measure(part, size.warm_s, size.seconds)
                rates[name][part].append(rate)
                say(f"{part:10} {name:8} {rate.events_per_s:9,.0f} events/s  CPU {dict(rate.cpu_us)}")
    ceilings = bare(pipelines["now"], size)
    found = latencies(stack, folder, size)
    reads = online.measure(Settings(), folder / "feast", rounds=size.reads)
    say(f"online: {reads}")
    return {
        "events_per_s": medians(rates["now"]),
        "before": medians(rates["before"]),
        "bare": ceilings,
        "times_before": {
            part: [
                round(now.events_per_s / then.events_per_s, 1)
                for now, then in zip(rates["now"][part], rates["before"][part], strict=True)
            ]
            for part in PARTS
        },
        "rounds": {
            name: {part: [asdict(rate) for rate in measured] for part, measured in parts.items()}
            for name, parts in rates.items()
        },
        **found,
        "online": reads,
    }


def latencies(stack: Stack, folder: Path, size: Size) -> dict[str, object]:
    """The latencies at steady rates, of all parts together and of job and scorer alone, and the memory of the parts."""
    found: dict[str, object] = {"floor_ms": latency.floor(Settings().kafka.access, size.rates, size.paced_s)}
    say(f"floor_ms: {found['floor_ms']}")
    # Job and scorer first: after the soak, Cassandra is busy with its files for minutes.
    for suffix, parts, soak_s in (("_of_job_and_scorer_alone", ("scorer",), 0), ("", EVERY_PART, size.soak_s)):
        pipeline = Pipeline(ROOT, stack, folder, f"bench_paced{suffix}")
        measured = latency.through(pipeline, parts, size.rates, size.paced_s, soak_s)
        found |= {f"{name}{suffix}": values for name, values in measured.items()}
        say(f"latency_ms{suffix}: {measured['latency_ms']}")
    return found


def medians(rates: Mapping[str, list[Rate]]) -> dict[str, float]:
    """The median rate of each part."""
    return {part: statistics.median(rate.events_per_s for rate in measured) for part, measured in rates.items()}


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    command.run(main)
