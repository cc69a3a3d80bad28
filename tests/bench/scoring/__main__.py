"""The benchmark of the scorer: writes ``scoring.json``.

All read the same features topic, one after the other, in rounds; a rate counts from two seconds after the first event.
Beside each stands the CPU time that an event took. Ratios are of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client, create_topics
from penstock.paths import BUILD, ROOT
from penstock.settings import Settings
from streams.definitions.pipeline import Pipeline as Definition
from streams.plan.pipeline_topics import pipeline_topics
from tests.bench import command
from tests.bench.pipeline import latency
from tests.bench.pipeline.before import checkout
from tests.bench.pipeline.parts import Pipeline, Rate
from tests.bench.scoring.rivals import RIVALS

PENSTOCK, BEFORE = "penstock", "before"
_WARM_S = 2.0
_TIMEOUT_S = 15.0


class Bench:
    """A stack with a full features topic, and one of the earlier commit."""

    def __init__(self, stack: Stack, folder: Path, events: int, before: Path) -> None:
        self.stack, self.folder = stack, folder
        self.pipelines = {
            PENSTOCK: Pipeline(ROOT, stack, folder, "bench_scoring"),
            BEFORE: Pipeline(before, stack, folder, "bench_scoring_before", before=True),
        }
        for name, pipeline in self.pipelines.items():
            arguments = [str(pipeline.file), str(events), *(["--before"] if name == BEFORE else [])]
            pipeline.call([sys.executable, str(Path(__file__).with_name("features.py")), *arguments])
        self.kafka: KafkaAccess = Settings().kafka.access
        self._admin = admin_client(self.kafka)

    def penstock(self, name: str, seconds: float) -> Rate:
        """The scorer as users run it, on empty topics of predictions; ``name`` says of which commit."""
        pipeline = self.pipelines[name]
        self._clean(pipeline.definition)
        return pipeline.measure("scorer", _WARM_S, seconds)

    def rival(self, name: str, run: int, seconds: float) -> Rate:
        """A rival on a topic of its own."""
        return self.pipelines[PENSTOCK].rival(name, f"results.{name}.{run}", _WARM_S, seconds)

    def _clean(self, pipeline: Definition) -> None:
        admin = self._admin
        answers = [topic for topic in pipeline_topics(pipeline) if topic.name.startswith(pipeline.predictions_topic)]
        # The earlier commit has fewer topics.
        present = {topic.name for topic in answers} & set(admin.list_topics(timeout=_TIMEOUT_S).topics)
        for future in admin.delete_topics(sorted(present)).values():
            future.result(_TIMEOUT_S)
        group = f"penstock-{pipeline.name}-scorer"
        if group in {found.group_id for found in admin.list_consumer_groups().result(_TIMEOUT_S).valid}:
            admin.delete_consumer_groups([group])[group].result(_TIMEOUT_S)
        deadline = time.monotonic() + _TIMEOUT_S
        while {topic.name for topic in answers} & set(admin.list_topics(timeout=_TIMEOUT_S).topics):
            assert time.monotonic() < deadline, "the predictions could not be deleted"
            time.sleep(0.1)
        create_topics(answers, self.kafka)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scoring", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where results and logs go")
    options = parser.parse_args(arguments)
    events, rounds, seconds = (300_000, 1, 5.0) if options.quick else (900_000, 3, 15.0)
    folder = options.folder / "scoring"
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder / "stack", Ports.free())
    rates: dict[str, list[Rate]] = {name: [] for name in (PENSTOCK, BEFORE, *RIVALS)}
    load = [os.getloadavg()[0]]
    try:
        stack.up(["kafka", "triton"])
        os.environ.update(stack.environment())
        bench = Bench(stack, folder, events, checkout(options.folder))
        for run in range(rounds):
            for name in (PENSTOCK, BEFORE):
                rates[name].append(bench.penstock(name, seconds))
            for name in RIVALS:
                rates[name].append(bench.rival(name, run, seconds))
            print(f"round {run + 1}: " + ", ".join(f"{n} {r[-1].events_per_s:,.0f}/s" for n, r in rates.items()))
        latencies = latency.of_scorer(Pipeline(ROOT, stack, folder, "bench_scoring_paced"), 1_000, seconds * 2)
    finally:
        stack.down(wipe=True)
    load.append(os.getloadavg()[0])
    found = (
        summary(rates)
        | latencies
        | {
            "left_out": {"flink_ml_predict": "needs flink-model-triton, which could not be had for Flink 2.2"},
            "quick": options.quick,
            "date": datetime.now(UTC).date().isoformat(),
            "events": events,
            "load": load,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("confluent-kafka", "tritonclient", "fastavro", "numpy")},
        }
    )
    (options.folder / "scoring.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def summary(rates: dict[str, list[Rate]]) -> dict[str, object]:
    """Medians of the rounds, and the ratios of the scorer to each other way, within each round."""
    ours = rates[PENSTOCK]
    ratios = {
        name: [us.events_per_s / them.events_per_s for us, them in zip(ours, theirs, strict=True)]
        for name, theirs in rates.items()
        if name != PENSTOCK
    }
    return {
        "predictions_per_s": statistics.median(rate.events_per_s for rate in ours),
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "ratios_from_to": {name: [min(values), max(values)] for name, values in ratios.items()},
        "events_per_s": {name: [rate.events_per_s for rate in found] for name, found in rates.items()},
        "cpu_us_per_event": {name: [rate.cpu_us for rate in found] for name, found in rates.items()},
    }


if __name__ == "__main__":
    command.run(main)
