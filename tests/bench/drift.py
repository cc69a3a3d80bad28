"""Measures whether the drift detectors keep their budget of false incidents, and how soon they find a change.

``python -m tests.bench.drift`` writes ``build/bench/drift.json``. Streams are simulated
(:mod:`tests.bench.drift_streams`); calibration, detectors and incidents are the drift app's own, and only Kafka is left
out. Peers run in an environment of their own (:mod:`tests.bench.drift_peers`) over the same streams.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from penstock.paths import BUILD
from streams.definitions.monitors import SCORE, Monitors
from streams.drift.calibration import calibrate
from streams.drift.drift_reference import DriftReference
from streams.drift.resampling import MonitorSeries
from streams.drift.track import DriftAlert, Observations, Track
from tests.bench import command, drift_peers
from tests.bench.drift_streams import CHANGES, DAY_MS, Stream, change, stream

BUDGET = 2.1
"""False incidents that are allowed in one course of records; a budget of one in ``EVERY`` events."""
EVERY = 100_000
REFERENCE_DAYS = 42
_SEEDS, _QUICK_SEEDS = 100, 8
_BLOCK = 5_000


@dataclass(frozen=True)
class Kind:
    """A kind of stream without a change: ``days`` of reference with ``per_day`` records, and the detectors' window."""

    stream: str
    days: int = REFERENCE_DAYS
    per_day: int = 500
    window: int = 500


# Of those that are correlated for a day and more, six weeks tell too little; the longer references are about what the
# refusals ask for.
KINDS: Mapping[str, Kind] = {
    "independent": Kind("independent"),
    "ar1_6h": Kind("ar1_6h"),
    "ar1_1d": Kind("ar1_1d"),
    "ar1_2d": Kind("ar1_2d"),
    "ar1_10d": Kind("ar1_10d"),
    "ar1_2d_half_noise": Kind("ar1_2d_half_noise"),
    "seasonal": Kind("seasonal"),
    "heavy_tails": Kind("heavy_tails"),
    "heavy_tails_ar1_6h": Kind("heavy_tails_ar1_6h"),
    "rare_categories": Kind("rare_categories"),
    "ar1_1d_of_100_days": Kind("ar1_1d", days=100, per_day=250, window=250),
    "ar1_2d_of_200_days": Kind("ar1_2d", days=200, per_day=125, window=125),
    "ar1_10d_of_1000_days": Kind("ar1_10d", days=1_000, per_day=50, window=100),
}


class Calm(NamedTuple):
    """One course without a change: its false incidents, the refused detectors, and the days that a reference needs."""

    incidents: int
    refused: tuple[str, ...]
    needs_days: float

    @property
    def is_refused(self) -> bool:
        """Whether the budget was refused: no detector watches the values."""
        return {"page_hinkley", "psi", "kl"} <= {*self.refused}


def calm(kind: Kind, seed: int, every: int = EVERY) -> Calm:
    """Calibrate on a reference of the kind, and watch what follows it, without a change, for ``BUDGET`` budgets."""
    live_days = BUDGET * every / kind.per_day
    before, live = stream(kind.stream, kind.days + live_days, kind.per_day, seed).cut(kind.days * kind.per_day)
    reference = reference_of(before, kind.window, every, seed)
    (monitor,) = reference.monitors
    incidents = {alert.incident for alert in watch(reference, live)}
    return Calm(len(incidents), monitor.refused, monitor.needs_ms / DAY_MS)


def reference_of(before: Stream, window: int, every: int, seed: int) -> DriftReference:
    """The reference that training would write, of one monitor on one partition."""
    partitions = np.zeros(len(before.times), np.int64)
    series = MonitorSeries(SCORE, before.times, partitions, before.values)
    monitors = Monitors(window=window, false_alarm_every=every)
    until_ms = int(before.times[-1])
    return calibrate("bench", "bench", monitors, [series], until_ms=until_ms, warm_up_ms=0, seed=seed)


def watch(reference: DriftReference, live: Stream) -> list[DriftAlert]:
    """The alerts of the live records, as the app would publish them."""
    track = Track(reference, (SCORE,), "predictions.bench", 0, 0)
    alerts: list[DriftAlert] = []
    for begin in range(0, len(live.times), _BLOCK):
        times = live.times[begin : begin + _BLOCK]
        offsets = np.arange(begin, begin + len(times))
        sources = [("events", 0, offset) for offset in offsets.tolist()]
        values = live.values[begin : begin + _BLOCK, None]
        alerts += track.process(begin + len(times), Observations(offsets, times, sources, values))
    return alerts


def kept(courses: Sequence[Calm]) -> dict[str, Any]:
    """What the courses of one kind say of the budget: means over all, a refused one has the alarms it really gave."""
    accepted = [one.incidents for one in courses if not one.is_refused]
    needs = [one.needs_days for one in courses if one.needs_days]
    return {
        "budget": BUDGET,
        **_bound([one.incidents for one in courses]),
        "refused": len(courses) - len(accepted),
        "seeds": len(courses),
        "accepted": _bound(accepted),
        "adwin_refused": sum("adwin" in one.refused for one in courses),
        "needs_days": float(np.median(needs)) if needs else None,
    }


def _bound(incidents: Sequence[int]) -> dict[str, float | None]:
    """The mean, and its upper bound with 95 % confidence."""
    if not incidents:
        return {"incidents_mean": None, "incidents_upper95": None}
    mean = float(np.mean(incidents))
    if len(incidents) == 1:
        return {"incidents_mean": mean, "incidents_upper95": None}
    error = float(np.std(incidents, ddof=1)) / len(incidents) ** 0.5
    # If none at all came, the exact bound of a Poisson mean.
    upper = mean + float(stats.t.ppf(0.95, len(incidents) - 1)) * error if mean else -np.log(0.05) / len(incidents)
    return {"incidents_mean": round(mean, 4), "incidents_upper95": round(float(upper), 4)}


def delays(name: str, seeds: int) -> dict[str, Any]:
    """How soon Penstock finds a change of ``CHANGES``: median records of those found, and the share that is found."""
    found = []
    for seed in range(seeds):
        before, live, at = changed(name, seed)
        alerts = watch(reference_of(before, _WINDOW, _DELAY_EVERY, seed), live)
        after = [alert.offset - at for alert in alerts if alert.offset >= at]
        found.append(min(after) if after else None)
    return delay_of(found)


def delay_of(found: Sequence[int | None]) -> dict[str, Any]:
    """The median records to detection, one not found counting as never, and the share that is found."""
    median = float(np.median([np.inf if one is None else one for one in found]))
    return {
        "records_median": median if np.isfinite(median) else None,
        "found": sum(one is not None for one in found) / len(found),
    }


_WINDOW, _DELAY_EVERY, _PER_DAY = 500, 10_000, 500
_CALM_RECORDS, _CHANGED_RECORDS = 2_000, 10_000
_DELAY_SEEDS = _PEER_SEEDS = 10


def changed(name: str, seed: int) -> tuple[Stream, Stream, int]:
    """A reference of ``REFERENCE_DAYS``, the live stream after it, and the row of the latter at which it changes."""
    rows = REFERENCE_DAYS * _PER_DAY
    days = REFERENCE_DAYS + (_CALM_RECORDS + _CHANGED_RECORDS) / _PER_DAY
    before, live = stream(CHANGES[name].stream, days, _PER_DAY, seed).cut(rows)
    return before, change(name, live, _CALM_RECORDS, seed), _CALM_RECORDS


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="eight seeds in place of a hundred, some kinds, no peers")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which kinds of calm streams")
    parser.add_argument("--output", type=Path, default=BUILD / "bench" / "drift.json")
    parsed = parser.parse_args(arguments)
    seeds = _QUICK_SEEDS if parsed.quick else _SEEDS
    names = [name for name in parsed.kinds.split(",") if not (parsed.quick and KINDS[name].days > REFERENCE_DAYS)]
    report: dict[str, Any] = {"quick": parsed.quick, "false_alarm_every": EVERY, "kinds": {}, "delays": {}, "peers": {}}

    def write() -> None:
        parsed.output.parent.mkdir(parents=True, exist_ok=True)
        parsed.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    for name in CHANGES:
        report["delays"][name] = delays(name, 2 if parsed.quick else _DELAY_SEEDS)
        write()
        print(f"{name}: {report['delays'][name]}", flush=True)
    courses: dict[str, list[Calm]] = {name: [] for name in names}
    # All kinds seed by seed, so that what is written is worth reading before the end.
    for seed in range(seeds):
        for name in names:
            courses[name].append(calm(KINDS[name], seed))
            report["kinds"][name] = kept(courses[name])
        write()
    for name, numbers in report["kinds"].items():
        print(f"{name}: {numbers}")
    if not parsed.quick:
        report["peers"] = drift_peers.measured(
            _PEER_SEEDS, _DELAY_EVERY, _WINDOW, _PER_DAY, REFERENCE_DAYS, _CALM_RECORDS
        )
        write()
    return 0


if __name__ == "__main__":
    command.run(main)
