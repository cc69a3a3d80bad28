"""Records the demo over time: counts, lags and latencies per second, and the phases of the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict


class _TimelineModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class Phase(_TimelineModel):
    """A named part of the run; times in seconds since the run began."""

    name: str
    from_s: float
    to_s: float


class Sample(_TimelineModel):
    """One measurement: the records so far by stage, and the lag of each consumer in records."""

    at_s: float
    counts: Mapping[str, int]
    lags: Mapping[str, int]


class Second(_TimelineModel):
    """Percentiles of the latencies (ms) of the predictions that arrived within one second."""

    at_s: float
    count: int
    p50: float
    p95: float
    p99: float


class Timeline(_TimelineModel):
    """A run over time; all times in seconds since it began, ascending."""

    phases: tuple[Phase, ...]
    samples: tuple[Sample, ...]
    latencies: tuple[Second, ...]

    def phase(self, name: str) -> Phase | None:
        """The phase with this name; None if the run did not have it."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def rates(self, stage: str, step_s: float = 1.0) -> list[tuple[float, float]]:
        """Records per second of a stage, as (begin, rate) of each step of ``step_s``; needs two samples.

        Counts are interpolated linearly between samples.
        """
        seen = [(sample.at_s, sample.counts[stage]) for sample in self.samples if stage in sample.counts]
        if len(seen) < 2:
            return []
        times, counts = zip(*seen, strict=True)
        edges = np.arange(0, times[-1] + step_s, step_s)
        grown = np.diff(np.interp(edges, times, counts))
        return [(float(begin), float(rate)) for begin, rate in zip(edges[:-1], grown / step_s, strict=True)]

    def lag(self, consumer: str) -> list[tuple[float, float]]:
        """The lag of a consumer as (time, records), from its first sample on."""
        return [(sample.at_s, float(sample.lags[consumer])) for sample in self.samples if consumer in sample.lags]


class Recorder:
    """Collects a :class:`Timeline`; ``now`` and ``started`` are seconds of one monotonic clock."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._phases: list[tuple[str, float]] = []
        self._samples: list[Sample] = []
        self._latencies: dict[int, list[float]] = defaultdict(list)

    def phase(self, name: str, now: float) -> None:
        """Begin a phase; ends the one before."""
        self._phases.append((name, now - self._started))

    def sample(self, counts: Mapping[str, int], lags: Mapping[str, int], now: float) -> None:
        """Add a sample."""
        self._samples.append(Sample(at_s=round(now - self._started, 3), counts=dict(counts), lags=dict(lags)))

    def arrived(self, arrivals: Iterable[tuple[float, float]]) -> None:
        """Add arrived predictions as (time, latency in ms)."""
        for at, latency_ms in arrivals:
            self._latencies[int(at - self._started)].append(latency_ms)

    def timeline(self, now: float) -> Timeline:
        """The timeline so far; the last phase ends now."""
        ends = [begin for _, begin in self._phases[1:]] + [now - self._started]
        return Timeline(
            phases=tuple(
                Phase(name=name, from_s=round(begin, 3), to_s=round(end, 3))
                for (name, begin), end in zip(self._phases, ends, strict=True)
            ),
            samples=tuple(self._samples),
            latencies=tuple(_second(at, values) for at, values in sorted(self._latencies.items())),
        )


def _second(at: int, latencies_ms: list[float]) -> Second:
    p50, p95, p99 = (round(float(p), 2) for p in np.percentile(latencies_ms, (50, 95, 99)))
    return Second(at_s=at, count=len(latencies_ms), p50=p50, p95=p95, p99=p99)
