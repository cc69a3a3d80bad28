"""The measurements of a run, their summary in ``engine.json``, and the benchmark's goals."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.paths import site_packages
from tests.bench.engine import round_statistics
from tests.bench.engine.measure import Rate
from tests.bench.engine.sizes import Row, Size

PENSTOCK_NAME = "penstock"
PYTHON = ("pyflink_process", "pyflink_thread", "bytewax", "quixstreams", "faust")
# The smallest ratio of the rates that is accepted, by peer; ``python`` is the fastest Python peer.
RATES = {"python": 8.0, "flink_sql_over": 3.0, "bare_forward": 0.65}
# How much less CPU an event must cost than in a peer; CPU depends less than rates on what else the machine does.
LESS_CPU = {"python": 6.0}
# The largest CPU cost of an event that is accepted, relative to a peer.
MORE_CPU = {"bare_forward": 1.6}
# The largest cost of a growth row that is accepted, relative to the first row of its group.
COSTS = {"tiles:600": 1.05, "entities:1000000": 3.0, "keys:zipf": 1.5, "state:RocksDB": 4.0}


@dataclass
class Findings:
    """All single measurements, filled while the benchmark runs.

    Args:
        rounds: Events per second of each engine, per workload and round.
        rows: The rate of each growth row by group and value, per round.
        latency: Latency quantiles through Penstock in ms, by events per second.
        floor: The same through two bare Kafka hops.
        state: Bytes of the last checkpoint per entity, by workload.
        cpu: CPU time per event of each engine and of the broker in microseconds, per workload and round.
        profile: The shares of the parts in Penstock's task thread; empty if not profiled.
        failures: What could not be measured, and why.
        load: The machine's load average before the first measurement and after the last.
    """

    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    rows: list[dict[tuple[str, str], Rate]] = field(default_factory=list)
    latency: dict[int, dict[str, float]] = field(default_factory=dict)
    floor: dict[int, dict[str, float]] = field(default_factory=dict)
    state: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, list[dict[str, Mapping[str, float]]]] = field(default_factory=dict)
    profile: dict[str, Mapping[str, float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)


def summary(findings: Findings, size: Size, *, quick: bool, date: str) -> dict[str, Any]:
    """The content of ``engine.json``. The quick form has no ratios: it is too short for its engines to settle."""
    works = {name: _work(rounds, findings.cpu.get(name, []), quick=quick) for name, rounds in findings.rounds.items()}
    return {
        "form": "quick" if quick else "full",
        "command": "make bench-engine" + (" QUICK=1" if quick else ""),
        "date": date,
        "rounds": size.rounds,
        "settle_s": size.pace.settle_s,
        "row_rounds": size.row_rounds,
        "works": works,
        "growth": _growth(findings, size.rows, quick=quick),
        "state_bytes_per_entity": _rounded(findings.state),
        "latency_ms": {str(rate): _rounded(found) for rate, found in findings.latency.items()},
        "floor_ms": {str(rate): _rounded(found) for rate, found in findings.floor.items()},
        "profile": {name: _rounded(shares) for name, shares in findings.profile.items()},
        "failures": findings.failures,
        "load_average": [round(load, 2) for load in findings.load],
        "machine": machine(),
        "versions": versions(),
    }


@dataclass(frozen=True)
class Goal:
    """A reached value, its least and greatest in a round, and its target: a minimum, or for a cost a maximum."""

    reached: float
    least: float
    greatest: float
    target: float
    is_cost: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.reached <= self.target if self.is_cost else self.reached >= self.target


def goals(found: Mapping[str, Any]) -> dict[str, Goal]:
    """The goals for which ``engine.json`` has a measurement, by name."""
    first = next(iter(found["works"].values()), {"ratios": {}, "cpu_ratios": {}})
    rates, cpu = _best(first["ratios"]), _best(first["cpu_ratios"])
    reached = {name: Goal(*rates[name], target) for name, target in RATES.items() if name in rates}
    reached |= {f"cpu:{name}": Goal(*cpu[name], target) for name, target in LESS_CPU.items() if name in cpu}
    for name, target in MORE_CPU.items():
        if name in cpu:
            middle, least, greatest = (1 / ratio for ratio in cpu[name])
            reached[f"cpu:{name}"] = Goal(middle, greatest, least, target, is_cost=True)
    for name, most in COSTS.items():
        group, value = name.split(":")
        row = found["growth"].get(group, {}).get(value)
        if row and row["cost"] is not None:
            reached[name] = Goal(row["cost"], *row["cost_span"], most, is_cost=True)
    return reached


def _best(ratios: Mapping[str, list[float]]) -> dict[str, list[float]]:
    # The best Python peer has the smallest ratio.
    python = [ratios[name] for name in PYTHON if name in ratios]
    return {**ratios, **({"python": min(python)} if python else {})}


def _work(
    rounds: list[dict[str, float]], cpu: list[dict[str, Mapping[str, float]]], *, quick: bool
) -> dict[str, dict[str, Any]]:
    # Events per second of CPU, so that more is better, as for the rates.
    per_cpu_s = [{name: 1e6 / used["engine"] for name, used in one.items() if used.get("engine")} for one in cpu]
    return {
        "ratios": {} if quick else _ratios(rounds),
        "cpu_ratios": {} if quick else _ratios(per_cpu_s),
        "events_per_s": _rounded(round_statistics.medians(rounds)),
        "least_greatest": {name: _span(rounds, name) for name in round_statistics.medians(rounds)},
        "cpu_us_per_event": _cpu(cpu),
        "cpu_least_greatest": {
            name: [round(1e6 / most, 3) for most in reversed(round_statistics.spread(per_cpu_s, name))]
            for name in round_statistics.medians(per_cpu_s)
        },
    }


def _ratios(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """Penstock ÷ each other engine: median, least and greatest of the rounds."""
    spreads = round_statistics.ratio_spreads(rounds, PENSTOCK_NAME)
    middles = round_statistics.ratios(rounds, PENSTOCK_NAME)
    return {name: [round(value, 3) for value in (middles[name], *spreads[name])] for name in middles}


def machine() -> dict[str, str | int | float]:
    """The machine that the benchmark ran on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def versions() -> dict[str, str]:
    """The versions of all engines, Python and Java."""
    found = {"python": platform.python_version(), "java": _java()}
    wanted = {"jobs": ("apache-flink",), "peers": ("bytewax", "quixstreams", "faust-streaming", "confluent-kafka")}
    for environment, names in wanted.items():
        folder = site_packages(environment)
        for name in names:
            match = next(iter(sorted(folder.glob(f"{name.replace('-', '_')}-*.dist-info"))), None) if folder else None
            found[name] = match.name.removesuffix(".dist-info").rpartition("-")[2] if match else "not installed"
    return found


def _growth(findings: Findings, rows: tuple[Row, ...], *, quick: bool) -> dict[str, dict[str, dict[str, Any]]]:
    rounds = [{f"{g}:{v}": rate.events_per_s for (g, v), rate in one.items()} for one in findings.rows]
    rates = round_statistics.medians(rounds)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = f"{row.group}:{row.value}"
        if key not in rates:
            continue
        first = next(f"{r.group}:{r.value}" for r in rows if r.group == row.group)
        sizes = [one[(row.group, row.value)].state_bytes for one in findings.rows if (row.group, row.value) in one]
        state = next((size for size in reversed(sizes) if size), None)
        cost, span = (None, None) if quick or first not in rates else _cost(rounds, first, key)
        found.setdefault(row.group, {})[row.value] = {
            "events_per_s": round(rates[key], 1),
            "us_per_event": round(1e6 / rates[key], 3),
            "cost": cost,
            "cost_span": span,
            "state_bytes_per_entity": None if state is None else round(state / row.work.entities),
        }
    return found


def _cost(rounds: list[dict[str, float]], first: str, key: str) -> tuple[float | None, list[float] | None]:
    """The median of the ratios within rounds, as for engines, with the least and the greatest."""
    if first == key:
        return 1.0, [1.0, 1.0]
    both = [{k: one[k] for k in (first, key)} for one in rounds if first in one and key in one]
    if not both:
        return None, None
    spread = round_statistics.ratio_spreads(both, first)[key]
    return round(round_statistics.ratios(both, first)[key], 3), [round(value, 3) for value in spread]


def _cpu(rounds: list[dict[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The median CPU time of each engine's own processes and of the broker."""
    engines = dict.fromkeys(name for one in rounds for name in one)
    return {name: _rounded(round_statistics.medians([one[name] for one in rounds if name in one])) for name in engines}


def _span(rounds: list[dict[str, float]], engine: str) -> list[float]:
    return [round(value, 1) for value in round_statistics.spread(rounds, engine)]


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _java() -> str:
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "([^"]+)"', said)
    return match.group(1) if match else "17"
