"""What a screen shows of a running pipeline, and rates from counts that were read one after the other. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Meter:
    """A count that is read again and again, and its rate over the last ``window_s`` seconds."""

    def __init__(self, window_s: float = 10.0) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, float]] = deque()

    def set(self, value: float, now: float) -> None:
        """Add a reading at ``now`` (seconds, monotonic)."""
        self._samples.append((now, value))
        while len(self._samples) > 2 and now - self._samples[0][0] > self._window_s:
            self._samples.popleft()

    @property
    def latest(self) -> float:
        """The last reading; 0 before the first."""
        return self._samples[-1][1] if self._samples else 0

    @property
    def per_second(self) -> float | None:
        """The change per second, between the oldest and the newest reading of the window; None for a single reading."""
        if len(self._samples) < 2:
            return None
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if end > start else None


def time_to_clear(records: int, per_second: float | None) -> float | None:
    """In how many seconds a backlog is gone if it goes on like that; None if it does not shrink, or that is not known.

    >>> time_to_clear(300, -100.0), time_to_clear(0, 5.0), time_to_clear(300, 5.0)
    (3.0, 0.0, None)

    Args:
        records: The backlog.
        per_second: Its change.
    """
    if records == 0:
        return 0.0
    return None if per_second is None or per_second >= 0 else records / -per_second


@dataclass(frozen=True)
class Backlog:
    """What a part has not done yet.

    Args:
        records: How many records wait.
        seconds: The age of the oldest that waits; 0 when caught up, None if it is not known.
        changing: By how much the number changes per second; None if it is not known.
        per_second: How many records it does per second; None if that is not known.
    """

    records: int
    seconds: float | None
    changing: float | None = None
    per_second: float | None = None

    @property
    def clears_s(self) -> float | None:
        """In how many seconds none will wait; None if they do not become fewer, or it is not known."""
        return time_to_clear(self.records, self.changing)


@dataclass(frozen=True)
class Latency:
    """From a raw event to its prediction, of the newest predictions, in ms."""

    p50_ms: float
    p99_ms: float
    predictions: int
    newest_ms: int

    @classmethod
    def of(cls, samples: Sequence[tuple[int, int]]) -> Latency | None:
        """Of predictions, each with its time (epoch ms) and its latency (ms); None if there are none."""
        if not samples:
            return None
        ordered = sorted(latency for _, latency in samples)
        p50, p99 = (float(ordered[min(len(ordered) - 1, int(len(ordered) * q))]) for q in (0.5, 0.99))
        return cls(p50, p99, len(ordered), max(time for time, _ in samples))


@dataclass(frozen=True)
class Alert:
    """A drift alert."""

    time_ms: int
    monitor: str
    detector: str
    expected: float
    current: float


@dataclass(frozen=True)
class Letter:
    """A dead letter: when it was written, where it is, by whom and why; no value of its record."""

    time_ms: int
    place: str
    component: str
    reason: str
    message: str


@dataclass(frozen=True)
class RolloutState:
    """A rollout: what is tried and how far it is, the share of each arm, and why."""

    state: str
    weights: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class Health:
    """What a part's ``/healthz`` says."""

    ok: bool
    reason: str

    @property
    def has_started(self) -> bool:
        """Whether it takes records."""
        return not self.reason.startswith("not started")


@dataclass(frozen=True)
class Figures:
    """All that was measured of a pipeline.

    Args:
        at_ms: When (epoch ms).
        arriving: Raw events per second; None if that is not known yet.
        backlogs: Of each part that tells how far it has come.
        health: Of each part that serves it.
        job: The state of the feature job, as Flink names it; None if Flink knows none, or does not answer.
        latency: From event to prediction.
        alerts: The newest drift alerts, the newest first.
        letters: The newest dead letters, the newest first.
        rollout: What is rolled out.
        problems: What could not be measured, and why.
    """

    at_ms: int
    arriving: float | None = None
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    job: str | None = None
    latency: Latency | None = None
    alerts: tuple[Alert, ...] = ()
    letters: tuple[Letter, ...] = ()
    rollout: RolloutState | None = None
    problems: tuple[str, ...] = ()
