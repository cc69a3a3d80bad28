"""The drift app's detectors one record after the other, without blocks and without states: what blocks must equal."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence

from river.drift import ADWIN, PageHinkley

from streams.drift.detectors import (
    CLEAR_FRACTION,
    PAGE_HINKLEY_DELTA,
    PRIOR,
    Crossing,
    page_hinkley_statistic,
    stride,
)
from streams.drift.drift_reference import CLIP, DetectorName, DriftReference, MonitorReference
from streams.drift.track import DriftAlert, Observation

DAY_MS = 86_400_000


class PerRecordDetectors:
    """The five detectors of one monitor."""

    def __init__(self, reference: MonitorReference, window: int) -> None:
        self._reference = reference
        limits = reference.thresholds
        self._adwin = ADWIN(delta=limits.adwin_delta)
        self._page_hinkley = PageHinkley(delta=PAGE_HINKLEY_DELTA, threshold=limits.page_hinkley, alpha=1.0)
        self._latest: deque[int] = deque(maxlen=window)
        self._window, self._seen = window, 0
        self.over: set[DetectorName] = set()

    def update(self, value: float) -> Iterator[Crossing]:
        reference = self._reference
        if not math.isnan(value):
            yield from self._update_sequential(min(max((value - reference.mean) / reference.std, -CLIP), CLIP))
        self._latest.append(reference.null_bin if math.isnan(value) else bisect_left(reference.edges, value))
        self._seen += 1
        if self._seen % stride(self._window) == 0 and self._seen >= self._window:
            yield from self._evaluate()

    def _update_sequential(self, z: float) -> Iterator[Crossing]:
        adwin, ph, limits = self._adwin, self._page_hinkley, self._reference.thresholds
        before = adwin.estimation
        adwin.update(z)
        if adwin.drift_detected:
            change = abs(adwin.estimation - before)
            yield Crossing("adwin", change, limits.adwin_delta, self._to_unit(before), self._to_unit(adwin.estimation))
        ph.update(z)
        if ph.drift_detected:
            means = self._to_unit(ph._x_mean.get()), self._to_unit(adwin.estimation)
            yield Crossing("page_hinkley", page_hinkley_statistic(ph), ph.threshold, *means)

    def _evaluate(self) -> Iterator[Crossing]:
        reference = self._reference
        counts = [self._latest.count(number) for number in range(reference.null_bin + 1)]
        expected = shares([share * reference.rows for share in reference.shares])
        psi = kl = 0.0
        for p, q in zip(shares(counts), expected, strict=True):
            ratio = math.log(p / q)
            psi += (p - q) * ratio
            kl += p * ratio
        missing = counts[-1] / self._window
        statistics: dict[DetectorName, float] = {"psi": psi, "kl": kl, "missing": missing}
        for detector, statistic in statistics.items():
            limit = reference.thresholds.windowed()[detector]
            if detector in self.over:
                if statistic < CLEAR_FRACTION * limit:
                    self.over.discard(detector)
            elif statistic > limit:
                self.over.add(detector)
                means = reference.mean, self._to_unit(self._adwin.estimation)
                if detector == "missing":
                    means = reference.missing, statistic
                yield Crossing(detector, statistic, limit, *means)

    def _to_unit(self, z: float) -> float:
        return float(self._reference.mean + z * self._reference.std)


def shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) + PRIOR * len(counts)
    return [(count + PRIOR) / total for count in counts]


def usual(reference: MonitorReference, event_time: int) -> float:
    return reference.hours[event_time // 3_600_000 % 168] if reference.hours else 0.0


def alerts_per_record(
    reference: DriftReference,
    monitors: Sequence[str],
    topic: str,
    partition: int,
    records: Sequence[tuple[int, Observation | None]],
) -> list[DriftAlert]:
    """The alerts of one partition's records, each with its offset; None: nothing to monitor."""
    detectors = {name: PerRecordDetectors(reference.monitor(name), reference.window) for name in monitors}
    seen: set[tuple[str, int, int]] = set()
    newest, alerts = 0, []
    incident, stirred = "", (0, 0)
    for offset, observation in records:
        if observation is None or observation.event_time <= reference.until_ms or observation.source in seen:
            continue
        seen.add(observation.source)
        newest = max(newest, observation.event_time)
        was_over = {(name, one) for name, found in detectors.items() for one in found.over}
        crossings = [
            (name, crossing)
            for (name, found), value in zip(detectors.items(), observation.values, strict=True)
            for crossing in found.update(value - usual(reference.monitor(name), observation.event_time))
        ]
        fired = {(name, crossing.detector) for name, crossing in crossings}
        still_over = {(name, one) for name, found in detectors.items() for one in found.over} - fired
        if was_over - still_over:
            stirred = len(seen), newest
        for number, (name, crossing) in enumerate(crossings):
            alert_id = f"{topic}-{partition}-{offset}:{name}:{crossing.detector}"
            is_quiet = len(seen) - stirred[0] > 2 * reference.window and newest - stirred[1] > DAY_MS
            if not incident or (number == 0 and is_quiet and not still_over):
                incident = alert_id
            stirred = len(seen), newest
            alerts.append(DriftAlert(alert_id, name, crossing, newest, offset, incident))
    return alerts
