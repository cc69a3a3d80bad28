"""The engine's benchmark: ``python -m tests.bench.engine`` runs it, writes ``engine.json`` and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx

from deploy.local.paths import BUILD, ROOT
from tests.bench.engine import page, topics
from tests.bench.engine.engines import ENGINES, PENSTOCK, Engine
from tests.bench.engine.latency import latency
from tests.bench.engine.measure import Load, Rate, measure
from tests.bench.engine.plan import Size, full, quick
from tests.bench.engine.report import Findings, goals, summary
from tests.bench.engine.site import Site, site
from tests.bench.engine.workload import Workload, payments

_DOCS = ROOT / "docs"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if something could not be measured or was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything, within five minutes")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where results and logs go")
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="only these beside Penstock")
    parser.add_argument("--skip", action="append", default=[], choices=["works", "growth", "latency"])
    parser.add_argument("--page", action="store_true", help="only write docs/benchmarks.md anew from engine.json")
    options = parser.parse_args(arguments)
    file = options.folder / "engine.json"
    if options.page:
        page.write(json.loads(file.read_text(encoding="utf-8")), _DOCS)
        return 0
    size = quick() if options.quick else full()
    date = datetime.now(UTC).date().isoformat()
    chosen = [e for e in ENGINES.values() if e is PENSTOCK or not options.engine or e.name in options.engine]
    findings = Findings(load=[os.getloadavg()[0]])

    def save() -> None:
        findings.load = [findings.load[0], os.getloadavg()[0]]
        text = json.dumps(summary(findings, size, quick=options.quick, date=date), indent=2)
        file.write_text(text + "\n", encoding="utf-8")

    with site(options.folder, size.memory_mb) as here:
        run = _Run(here, size, findings, save)
        if "works" not in options.skip:
            run.works(chosen)
        if "growth" not in options.skip:
            run.growth()
        if "latency" not in options.skip:
            run.latency()
    save()
    found = json.loads(file.read_text(encoding="utf-8"))
    if not options.quick:
        page.write(found, _DOCS)
    for name, (ratio, goal) in goals(found["ratios"]).items():
        _say(f"{name}: {ratio:.2f} x, wanted at least {goal:g} x{'' if ratio >= goal else '  MISSED'}")
    _say(f"written: {file}")
    return 1 if findings.failures else 0


class _Run:
    """The parts of the benchmark on one site."""

    def __init__(self, here: Site, size: Size, findings: Findings, save: Callable[[], None]) -> None:
        self._site = here
        self._size = size
        self._findings = findings
        self._save = save
        self._number = 0

    def works(self, engines: list[Engine]) -> None:
        """All engines on each workload, in rounds."""
        for name, work in self._size.works.items():
            rounds = self._findings.rounds.setdefault(name, [])
            with self._load(work) as load:
                for number in range(self._size.rounds):
                    rounds.append({})
                    # Every other round backwards: whatever drifts hits both ends alike.
                    for engine in engines if number % 2 == 0 else reversed(engines):
                        rate = self._measured(engine, load, f"{name}, round {number + 1}")
                        if rate is not None:
                            rounds[-1][engine.name] = rate.events_per_s
                            if engine is PENSTOCK and rate.state_bytes:
                                self._findings.state[name] = rate.state_bytes / work.entities
                        self._save()

    def growth(self) -> None:
        """Penstock alone on each row, in rounds; equal workloads of several groups are run once."""
        for number in range(self._size.row_rounds):
            found: dict[tuple[str, str], Rate] = {}
            self._findings.rows.append(found)
            for work in dict.fromkeys(row.work for row in self._size.rows):
                rows = [row for row in self._size.rows if row.work == work]
                with self._load(work) as load:
                    rate = self._measured(PENSTOCK, load, f"{rows[0].group} {rows[0].value}, round {number + 1}")
                if rate is not None:
                    found.update({(row.group, row.value): rate for row in rows})
                self._save()

    def latency(self) -> None:
        """Raw event to features, beside two bare hops."""
        for rate in self._size.rates:
            try:
                engine, floor = latency(self._site, rate, self._size.latency_s, self._name(f"pace{rate}"))
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
        topics.create(self._site.kafka, topic)
        events = payments(work)
        topics.fill(self._site.kafka, topic, events.messages())
        try:
            yield Load(work, events, topic)
        finally:
            topics.delete(self._site.kafka, [topic])
            del events
            gc.collect()

    def _measured(self, engine: Engine, load: Load, what: str) -> Rate | None:
        name, begin = self._name(engine.name), time.monotonic()
        try:
            rate = measure(self._site, engine, load, name, self._size.pace, self._state_bytes)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other engines are measured nevertheless
            self._failed(f"{engine.name}, {what}", error)
            return None
        said = f", {rate.checked} records right" if rate.checked else ""
        _say(f"  {what}: {engine.name} {rate.events_per_s:,.0f} events/s{said} ({time.monotonic() - begin:.0f} s)")
        return rate

    def _failed(self, what: str, error: Exception) -> None:
        self._findings.failures[what] = str(error) or type(error).__name__
        _say(f"  {what}: not measured: {error}")
        self._save()

    def _state_bytes(self, job_id: str) -> int | None:
        url = f"{self._site.settings.flink_rest}/jobs/{job_id}/checkpoints"
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
    sys.exit(main())
