"""Records a demo run over time: its phases, and counts, lags and latencies."""

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
    """One measurement: the number of records so far of each stage, and the lag of each consumer in records."""

    at_s: float
    counts: Mapping[str, int]
    lags: Mapping[str, int]


class LatencySecond(_TimelineModel):
    """The predictions that arrived within one second: their number, and percentiles of their latency in ms."""

    at_s: float
    count: int
    p50: float
    p95: float
    p99: float


class Timeline(_TimelineModel):
    """A run over time; all times in seconds since it began, ascending."""

    phases: tuple[Phase, ...]
    samples: tuple[Sample, ...]
    latencies: tuple[LatencySecond, ...]

    def phase(self, name: str) -> Phase | None:
        """The phase with this name; None if the run did not have it."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def rates(self, stage: str, step_s: float = 1.0) -> list[tuple[float, float]]:
        """The rate of a stage in records per second, as (begin, rate) of each ``step_s`` seconds.

        Counts are interpolated linearly between samples. With fewer than two samples, the list is empty.
        """
        samples = [(sample.at_s, sample.counts[stage]) for sample in self.samples if stage in sample.counts]
        if len(samples) < 2:
            return []
        times, counts = zip(*samples, strict=True)
        edges = np.arange(0, times[-1] + step_s, step_s)
        increases = np.diff(np.interp(edges, times, counts))
        return [(float(begin), float(rate)) for begin, rate in zip(edges[:-1], increases / step_s, strict=True)]

    def lag(self, consumer: str) -> list[tuple[float, float]]:
        """The lag of a consumer as (time, records), from its first sample on."""
        return [(sample.at_s, float(sample.lags[consumer])) for sample in self.samples if consumer in sample.lags]


class Recorder:
    """Collects a :class:`Timeline`; all times passed in are seconds of one monotonic clock."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._phases: list[tuple[str, float]] = []
        self._samples: list[Sample] = []
        self._latencies: dict[int, list[float]] = defaultdict(list)

    def begin_phase(self, name: str, now: float) -> None:
        """Begin a phase, which ends the one before."""
        self._phases.append((name, now - self._started))

    def add_sample(self, counts: Mapping[str, int], lags: Mapping[str, int], now: float) -> None:
        """Add a sample."""
        self._samples.append(Sample(at_s=round(now - self._started, 3), counts=dict(counts), lags=dict(lags)))

    def add_arrivals(self, arrivals: Iterable[tuple[float, float]]) -> None:
        """Add predictions that have arrived, as (time, latency in ms)."""
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
            latencies=tuple(_latency_second(at, values) for at, values in sorted(self._latencies.items())),
        )


def _latency_second(at: int, latencies_ms: list[float]) -> LatencySecond:
    p50, p95, p99 = (round(float(p), 2) for p in np.percentile(latencies_ms, (50, 95, 99)))
    return LatencySecond(at_s=at, count=len(latencies_ms), p50=p50, p95=p95, p99=p99)
