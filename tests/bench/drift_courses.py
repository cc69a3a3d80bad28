"""One simulated course: what the drift app would make of it. Pure, a function of the course.

Streams are simulated (:mod:`tests.bench.drift_streams`); calibration, detectors and incidents are the drift app's own,
and only Kafka is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penstock.paths import ROOT
from streams.definitions.monitors import SCORE, Monitors
from streams.drift.calibration import calibrate
from streams.drift.drift_reference import DriftReference
from streams.drift.resampling import MonitorSeries
from streams.drift.track import DriftAlert, Observations, Track
from tests.bench.course_log import Course, fingerprint
from tests.bench.drift_streams import CHANGES, DAY_MS, Stream, change, stream

BUDGET = 2.1
"""False incidents that are allowed in one course of records; a budget of one in ``EVERY`` events."""
EVERY = 100_000
REFERENCE_DAYS = 42
DELAY_EVERY = 10_000
"""The same for delays: a course of so many records is allowed one false incident."""
WINDOW = PER_DAY = 500
CALM_RECORDS, CHANGED_RECORDS = 2_000, 10_000
"""Records before a change and after it."""
_BLOCK = 5_000


@dataclass(frozen=True)
class Kind:
    """A kind of stream without a change: ``days`` of reference with ``per_day`` records, and the detectors' window."""

    stream: str
    days: int = REFERENCE_DAYS
    per_day: int = PER_DAY
    window: int = WINDOW


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


class Delay(NamedTuple):
    """One course with a change: records from it to the first alert, None if none came, and the false incidents.

    ``false_incidents`` are those of the same ``CALM_RECORDS + CHANGED_RECORDS`` records without the change.
    """

    records: int | None
    false_incidents: int


def delay(name: str, seed: int) -> Delay:
    """How soon a change of ``CHANGES`` is found, at one false incident per ``DELAY_EVERY`` records."""
    course = changing(name, seed)
    reference = reference_of(course.before, WINDOW, DELAY_EVERY, seed)
    after = [alert.offset for alert in watch(reference, course.changed) if alert.offset >= CALM_RECORDS]
    false = {alert.incident for alert in watch(reference, course.calm)}
    return Delay(min(after) - CALM_RECORDS if after else None, len(false))


class Changing(NamedTuple):
    """A reference, the live stream after it as it is without a change, and with one from row ``CALM_RECORDS`` on."""

    before: Stream
    calm: Stream
    changed: Stream


def changing(name: str, seed: int) -> Changing:
    """The streams of one course with a change of ``CHANGES``."""
    days = REFERENCE_DAYS + (CALM_RECORDS + CHANGED_RECORDS) / PER_DAY
    before, live = stream(CHANGES[name].stream, days, PER_DAY, seed).cut(REFERENCE_DAYS * PER_DAY)
    return Changing(before, live, change(name, live, CALM_RECORDS, seed))


def outcome(course: Course) -> dict[str, Any]:
    """The course ("calm", kind, seed) or ("change", name, seed), for JSON."""
    what, name, seed = str(course[0]), str(course[1]), int(course[2])
    return (calm(KINDS[name], seed) if what == "calm" else delay(name, seed))._asdict()


def code() -> str:
    """The fingerprint of what outcomes depend on."""
    drift = [ROOT / "streams" / "drift" / f"{name}.py" for name in _PURE]
    here = [Path(__file__), Path(__file__).with_name("drift_streams.py")]
    libraries = [f"{name} {version(name)}" for name in ("numpy", "river", "scipy")]
    return fingerprint([*drift, *here], *libraries)


_PURE = (
    "calibration",
    "dependence",
    "detectors",
    "drift_reference",
    "incidents",
    "recent_events",
    "resampling",
    "track",
)
