"""The benchmark of the feature engine: writes ``engine.json`` and docs/reference/benchmarks.md."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from penstock.errors import PenstockError
from penstock.paths import BUILD, ROOT
from tests.bench import command
from tests.bench.engine import bench_topics, benchmark_page, flight_recorder
from tests.bench.engine.bench_stack import BenchStack, bench_stack
from tests.bench.engine.engines import ENGINES, PENSTOCK, Engine
from tests.bench.engine.findings import Findings, goals, summary
from tests.bench.engine.latency import latency
from tests.bench.engine.measure import Load, Pace, Rate, measure
from tests.bench.engine.sizes import Row, Size, full, quick
from tests.bench.engine.workload import Workload, payments

_DOCS = ROOT / "docs" / "reference"
_ENTITIES_PER_S = 25_000


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns 1 if something could not be measured or was wrong, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything, within five minutes")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where results and logs go")
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="only these beside Penstock")
    parser.add_argument("--skip", action="append", default=[], choices=["works", "growth", "latency", "profile"])
    parser.add_argument("--page", action="store_true", help="only rewrite the page from engine.json")
    options = parser.parse_args(arguments)
    file = options.folder / "engine.json"
    if options.page:
        benchmark_page.write(json.loads(file.read_text(encoding="utf-8")), _DOCS)
        return 0
    size = quick() if options.quick else full()
    begin = time.monotonic()
    date = datetime.now(UTC).date().isoformat()
    chosen = [e for e in ENGINES.values() if e is PENSTOCK or not options.engine or e.name in options.engine]
    findings = Findings(load=[os.getloadavg()[0]])

    def save() -> None:
        findings.load = [findings.load[0], os.getloadavg()[0]]
        text = json.dumps(summary(findings, size, quick=options.quick, date=date), indent=2)
        file.write_text(text + "\n", encoding="utf-8")

    with bench_stack(options.folder, size.memory_mb) as stack:
        run = _Run(stack, size, findings, save)
        if "works" not in options.skip:
            run.works(chosen, profiles=not options.quick and "profile" not in options.skip)
        if "growth" not in options.skip:
            run.growth()
        if "latency" not in options.skip:
            run.latency()
    save()
    found = json.loads(file.read_text(encoding="utf-8"))
    if not options.quick:
        benchmark_page.write(found, _DOCS)
    for name, goal in goals(found).items():
        bound = "most" if goal.is_cost else "least"
        reached = f"{goal.reached:.2f} x ({goal.least:.2f} to {goal.greatest:.2f})"
        _say(f"{name}: {reached}, target at {bound} {goal.target:g} x{'' if goal.is_met else '  MISSED'}")
    _say(f"written: {file}, after {(time.monotonic() - begin) / 60:.1f} minutes")
    return 1 if findings.failures else 0


class _Run:
    """The parts of the benchmark, on one stack."""

    def __init__(self, stack: BenchStack, size: Size, findings: Findings, save: Callable[[], None]) -> None:
        self._stack = stack
        self._size = size
        self._findings = findings
        self._save = save
        self._number = 0

    def works(self, engines: list[Engine], *, profiles: bool) -> None:
        """Measure all engines on each workload in rounds, and profile Penstock on the first workload."""
        for name, work in self._size.works.items():
            try:
                self._work(name, work, engines, profiles=profiles and not self._findings.profile)
            except Exception as error:  # noqa: BLE001 - what else there is to measure is measured nevertheless
                self._failed(f"events of {name}", error)

    def _work(self, name: str, work: Workload, engines: list[Engine], *, profiles: bool) -> None:
        rounds, used = self._findings.rounds.setdefault(name, []), self._findings.cpu.setdefault(name, [])
        # For an engine without windows, three entities are the same work as one.
        engines = [engine for engine in engines if engine.windows != 0 or not work.chain]
        with self._load(work) as load:
            for number in range(self._size.rounds):
                rounds.append({})
                used.append({})
                # Every other round is in reverse order, so that a drift of the machine affects all engines alike.
                for engine in engines if number % 2 == 0 else reversed(engines):
                    rate = self._measured(engine, load, f"{name}, round {number + 1}")
                    if rate is not None:
                        rounds[-1][engine.name] = rate.events_per_s
                        used[-1][engine.name] = rate.cpu_us
                        if engine is PENSTOCK and rate.state_bytes:
                            self._findings.state[name] = rate.state_bytes / work.entities
                    self._save()
            if profiles:
                self._profile(load)

    def _profile(self, load: Load) -> None:
        recording = self._stack.folder / "penstock.jfr"
        recording.unlink(missing_ok=True)
        rate = self._measured(PENSTOCK, load, "profiled", recording)
        if rate is None:
            return
        try:
            shares = flight_recorder.shares(recording)
        except PenstockError as error:
            self._failed("the profile", error)
        else:
            self._findings.profile = {"task_thread": shares}
            _say("  task thread: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))
        self._save()

    def growth(self) -> None:
        """Measure Penstock on each growth row in rounds; a workload that is in several groups is run once."""
        for number in range(self._size.row_rounds):
            found: dict[tuple[str, str], Rate] = {}
            self._findings.rows.append(found)
            for work in dict.fromkeys(row.work for row in self._size.rows):
                rows = [row for row in self._size.rows if row.work == work]
                try:
                    with self._load(work) as load:
                        for engine in dict.fromkeys(row.engine for row in rows):
                            self._row(engine, load, [row for row in rows if row.engine == engine], number, found)
                except Exception as error:  # noqa: BLE001 - the other rows are measured nevertheless
                    self._failed(f"events of {rows[0].group} {rows[0].value}", error)

    def _row(
        self, engine: Engine, load: Load, rows: list[Row], number: int, found: dict[tuple[str, str], Rate]
    ) -> None:
        what = " = ".join(f"{row.group} {row.value}" for row in rows)
        # A checkpoint of a million entities takes seconds: several of them, and the time between, must be measured.
        seconds = max(self._size.row_pace.measure_s, load.work.entities / _ENTITIES_PER_S)
        pace = replace(self._size.row_pace, measure_s=seconds)
        rate = self._measured(engine, load, f"{what}, round {number + 1}", pace=pace)
        if rate is not None:
            found.update({(row.group, row.value): rate for row in rows})
        self._save()

    def latency(self) -> None:
        """Measure the latency from raw event to features, and of two bare hops."""
        for rate in self._size.rates:
            try:
                engine, floor = latency(self._stack, rate, self._size.latency_pace, self._name(f"pace{rate}"))
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(f"latency at {rate}/s", error)
                continue
            self._findings.latency[rate], self._findings.floor[rate] = engine, floor
            said = ", ".join(f"{q} {engine[q]:.1f} ms ({floor[q]:.1f} ms in two bare hops)" for q in ("p50", "p99"))
            _say(f"  {rate} events/s: {said}")
            self._save()

    @contextlib.contextmanager
    def _load(self, work: Workload) -> Iterator[Load]:
        topic = self._name("events")
        bench_topics.create(self._stack.kafka, topic)
        events = payments(work)
        bench_topics.fill(self._stack.kafka, topic, events.messages())
        try:
            yield Load(work, events, topic)
        finally:
            bench_topics.delete(self._stack.kafka, [topic])
            del events
            gc.collect()

    def _measured(
        self, engine: Engine, load: Load, what: str, recording: Path | None = None, pace: Pace | None = None
    ) -> Rate | None:
        name, begin = self._name(engine.name), time.monotonic()
        try:
            rate = measure(self._stack, engine, load, name, pace or self._size.pace, self._state_bytes, recording)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other engines are measured nevertheless
            self._failed(f"{engine.name}, {what}", error)
            return None
        said = f", {rate.cpu_us['engine']:.1f} us of CPU each" if rate.cpu_us else ""
        said += f", {rate.checked} records right" if rate.checked else ""
        _say(f"  {what}: {engine.name} {rate.events_per_s:,.0f} events/s{said} ({time.monotonic() - begin:.0f} s)")
        return rate

    def _failed(self, what: str, error: Exception) -> None:
        # Only the first line, because the others contain paths of this machine.
        said = (str(error) or type(error).__name__).splitlines()[0]
        self._findings.failures[what] = said
        _say(f"  {what}: not measured: {said}")
        self._save()

    def _state_bytes(self, job_id: str) -> int | None:
        url = f"{self._stack.settings.flink.rest}/jobs/{job_id}/checkpoints"
        latest = httpx.get(url, timeout=10, trust_env=False).raise_for_status().json().get("latest") or {}
        size = (latest.get("completed") or {}).get("state_size")
        return int(size) if size else None

    def _name(self, of: str) -> str:
        self._number += 1
        return f"bench_{of}_{self._number}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    command.run(main)
