"""Measures whether the drift detectors keep their budget of false incidents, and how soon they find a change.

``python -m tests.bench.drift`` writes ``build/bench/drift.json``, and again after each seed. Each course's result is
kept in ``build/bench/drift/``: a run that was killed goes on. What a course is, :mod:`tests.bench.drift_courses` tells;
peers run in an environment of their own (:mod:`tests.bench.drift_peers`) over the same streams.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from penstock.paths import BUILD
from tests.bench import command, drift_peers
from tests.bench.course_log import Course, CourseLog, measure
from tests.bench.drift_courses import (
    BUDGET,
    CALM_RECORDS,
    CHANGED_RECORDS,
    DELAY_EVERY,
    EVERY,
    KINDS,
    REFERENCE_DAYS,
    Calm,
    Delay,
    code,
    outcome,
)
from tests.bench.drift_streams import CHANGES

# The detectors' limits were chosen on seeds below these, so those from here on are an independent test. Whoever changes
# a limit after looking at them begins with others.
FIRST_SEED = 2_000
_SEEDS, _QUICK_SEEDS, _CHANGE_SEEDS = 100, 8, 20


def kept(courses: Sequence[Calm]) -> dict[str, Any]:
    """What the courses of one kind say of the budget.

    The false incidents are those of all courses: a refused one has those that it really gave. ``accepted`` has those of
    the others alone. Where few are accepted, those are the ones whose reference seemed longer than it was.
    """
    accepted = [one.incidents for one in courses if not one.is_refused]
    needs = [one.needs_days for one in courses if one.needs_days]
    return {
        "budget": BUDGET,
        **_bound([one.incidents for one in courses]),
        "refused": len(courses) - len(accepted),
        "seeds": len(courses),
        "accepted": _bound(accepted) if accepted else None,
        "adwin_refused": sum("adwin" in one.refused for one in courses),
        "needs_days": float(np.median(needs)) if needs else None,
    }


def _bound(incidents: Sequence[int]) -> dict[str, float]:
    """The mean, its upper bound with 95 % confidence (one-sided), and the most of one course."""
    mean, n = float(np.mean(incidents)), len(incidents)
    # Student's bound, for incidents that come in bursts; and no less than the exact one of a Poisson mean.
    error = float(np.std(incidents, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    student = mean + float(stats.t.ppf(0.95, n - 1)) * error if n > 1 else mean
    poisson = float(stats.chi2.ppf(0.95, 2 * sum(incidents) + 2)) / 2 / n
    return {
        "incidents_mean": round(mean, 4),
        "incidents_upper95": round(max(student, poisson), 4),
        "incidents_most": max(incidents),
    }


def delay_of(found: Sequence[Delay]) -> dict[str, Any]:
    """The median records to detection, one not found counting as never, the share found, and the false incidents."""
    median = float(np.median([np.inf if one.records is None else one.records for one in found]))
    records = len(found) * (CALM_RECORDS + CHANGED_RECORDS)
    return {
        "records_median": median if np.isfinite(median) else None,
        "found": sum(one.records is not None for one in found) / len(found),
        "false_incidents_per_budget": round(sum(one.false_incidents for one in found) / (records / DELAY_EVERY), 4),
        "seeds": len(found),
    }


def report_of(
    results: Mapping[Course, Any],
    scored: Mapping[Course, Any],
    kinds: Iterable[str],
    seeds: range,
    change_seeds: range,
) -> dict[str, Any]:
    """The report of those courses that were measured, and of those that peers scored."""

    def of(what: str, name: str, wanted: range) -> dict[int, Any]:
        return {seed: results[what, name, seed] for seed in wanted if (what, name, seed) in results}

    calm = {name: [Calm(**one) for one in of("calm", name, seeds).values()] for name in kinds}
    changes = {name: {seed: Delay(**one) for seed, one in of("change", name, change_seeds).items()} for name in CHANGES}
    return {
        "false_alarm_every": EVERY,
        "first_seed": seeds.start,
        "kinds": {name: kept(courses) for name, courses in calm.items() if courses},
        "delays": {name: delay_of([*courses.values()]) for name, courses in changes.items() if courses},
        "peers": drift_peers.report_of(scored, changes),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_SEEDS} seeds, some kinds, no peers")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which kinds of calm streams")
    parser.add_argument("--seeds", type=int, default=_SEEDS, help="courses of each kind")
    parser.add_argument("--change-seeds", type=int, default=_CHANGE_SEEDS, help="courses of each change")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--output", type=Path, default=BUILD / "bench" / "drift.json")
    parsed = parser.parse_args(arguments)
    names = [name for name in parsed.kinds.split(",") if not (parsed.quick and KINDS[name].days > REFERENCE_DAYS)]
    seeds = range(parsed.first_seed, parsed.first_seed + (_QUICK_SEEDS if parsed.quick else parsed.seeds))
    change_seeds = seeds[:2] if parsed.quick else range(seeds.start, seeds.start + parsed.change_seeds)
    folder = BUILD / "bench" / "drift"
    log, peers = CourseLog(folder / f"courses-{code()}.jsonl"), drift_peers.log_in(folder)
    # All kinds seed by seed, so that what is written is worth reading before the end.
    courses: list[Course] = [("change", name, seed) for seed in change_seeds for name in CHANGES]
    courses += [("calm", name, seed) for seed in seeds for name in names]

    def write() -> dict[str, Any]:
        report = {"quick": parsed.quick, **report_of(log.results, peers.results, names, seeds, change_seeds)}
        parsed.output.parent.mkdir(parents=True, exist_ok=True)
        parsed.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        return report

    for course in measure(log, courses, outcome, parsed.jobs):
        if course[1] in (names[-1], [*CHANGES][-1]):
            write()
    report = write()
    for part in ("kinds", "delays"):
        for name, numbers in report[part].items():
            print(f"{name}: {numbers}", flush=True)
    if not (parsed.quick or parsed.no_peers):
        drift_peers.install()
        for course in drift_peers.measure_peers(peers, change_seeds):
            print(*course, flush=True)
        write()
    return 0


if __name__ == "__main__":
    command.run(main)
