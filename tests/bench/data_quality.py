"""Measures whether data quality keeps its budget of false incidents in calm worlds of payments.

``python -m tests.bench.data_quality`` writes ``build/bench/data_quality.json``. Only Kafka is left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scipy import stats

from penstock.paths import BUILD
from streams.drift.data_quality.quality_watch import QualityWatch
from tests.bench import command
from tests.streams.drift.data_quality.quality_worlds import BEGIN_MS, DAY_MS, PARTITIONS, TOPIC, World, learnt

EVERY = 100_000
KINDS = ("independent", "rhythm", "heavy", "growing", "sticky")
_LEARNT_DAYS, _DAYS, _PER_HOUR = 28, 112, 60
_SEEDS, _QUICK_SEEDS = 20, 2


def course(kind: str, seed: int) -> tuple[int, int, list[str]]:
    """One calm world: the events that were watched, the false incidents, and what they said."""
    world = World(kind, days=_DAYS, per_hour=_PER_HOUR, seed=seed)
    until_ms = BEGIN_MS + _LEARNT_DAYS * DAY_MS
    watch = QualityWatch([TOPIC], learnt(world, until_ms, EVERY), PARTITIONS)
    found = []
    for event in world.events(until_ms):
        found += watch.observe(TOPIC.topic, event)
        found += watch.advance({TOPIC.topic: range(PARTITIONS)}, event.timestamp)
    said = [alert.finding.message for alert in found]
    return watch.topics[TOPIC.topic].observed, len({alert.incident for alert in found}), said


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and write its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds in place of twenty")
    parser.add_argument("--output", type=Path, default=BUILD / "bench" / "data_quality.json")
    parsed = parser.parse_args(arguments)
    report: dict[str, Any] = {"quick": parsed.quick, "false_alarm_every": EVERY, "kinds": {}}
    for kind in KINDS:
        courses = [course(kind, seed) for seed in range(_QUICK_SEEDS if parsed.quick else _SEEDS)]
        events, incidents = sum(one[0] for one in courses), sum(one[1] for one in courses)
        report["kinds"][kind] = {
            "budget": events / EVERY,
            "incidents": incidents,
            # Exact, of a Poisson mean.
            "incidents_upper95": round(float(stats.chi2.ppf(0.95, 2 * incidents + 2)) / 2, 2),
            "seeds": len(courses),
            "said": [message for one in courses for message in one[2]][:20],
        }
        print(f"{kind}: {report['kinds'][kind]}", flush=True)
        parsed.output.parent.mkdir(parents=True, exist_ok=True)
        parsed.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    command.run(main)
