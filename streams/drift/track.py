"""The detectors of one partition of one topic: observations in, alerts out, with a state that can be saved.

A track is a deterministic function of the records from its start on. Two processes that follow the same partition
therefore make the same alerts with the same ids, and of two states the one with the greater offset includes the other.
Pure: no I/O, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from schemas.columns import Integers
from streams.drift.detectors import Crossing, MonitorDetectors, MonitorState, UnreadableStateError
from streams.drift.drift_reference import WINDOWED, DriftReference, Floats, MonitorReference
from streams.drift.incidents import PartitionIncident, fired
from streams.drift.recent_events import RecentEvents, SeenState

# The version that wrote ADWIN's binary state.
RIVER = version("river")


class Observation(NamedTuple):
    """The monitored values of one record, with its event time (epoch ms) and its raw event.

    ``source`` is topic, partition and offset of the raw event. Values are float32, null as NaN, in the track's order.
    """

    event_time: int
    source: tuple[str, int, int]
    values: Sequence[float]


class Observations(NamedTuple):
    """What a block of records holds to monitor, as columns of n records in the order of their offsets.

    ``offsets`` and ``event_times`` (epoch ms) are int64 [n]; ``sources`` are topic, partition and offset of the n raw
    events; ``values`` are float64 [n, monitors] that float32 can hold, null as NaN, in the track's order.
    """

    offsets: Integers
    event_times: Integers
    sources: Sequence[tuple[str, int, int]]
    values: Floats

    @classmethod
    def of(cls, records: Sequence[tuple[int, Observation]], monitors: int) -> Observations:
        """The columns of single records, each with its offset."""
        return cls(
            np.array([offset for offset, _ in records], np.int64),
            np.array([record.event_time for _, record in records], np.int64),
            [record.source for _, record in records],
            np.array([record.values for _, record in records], np.float64).reshape(len(records), monitors),
        )

    def merged(self, others: Observations) -> Observations:
        """These records and the others in the order of their offsets."""
        offsets = np.concatenate([self.offsets, others.offsets])
        order, sources = np.argsort(offsets), [*self.sources, *others.sources]
        return Observations(
            offsets[order],
            np.concatenate([self.event_times, others.event_times])[order],
            [sources[row] for row in order.tolist()],
            np.concatenate([self.values, others.values])[order],
        )


class DriftAlert(NamedTuple):
    """A change that one detector found. ``event_time``: the greatest event time of the partition so far, epoch ms.

    ``incident`` is the id of the first alert of the partition's incident (:mod:`streams.drift.incidents`).
    """

    alert_id: str
    monitor: str
    crossing: Crossing
    event_time: int
    offset: int
    incident: str


class TrackState(BaseModel):
    """A track as it is saved. ``position`` is the offset of the next record, ``start`` that of the first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    river: str
    start: int
    position: int
    observed: int
    alerts: int
    newest_event_time: int
    seen: dict[str, SeenState]
    monitors: dict[str, MonitorState]
    incident: PartitionIncident | None = None


class Track:
    """Runs the detectors over one partition's records.

    Args:
        reference: The drift reference.
        monitors: The names of the monitors that this topic's records feed, in the order of their values.
        topic: The topic.
        partition: Its partition.
        start: The offset of the first record to process.
    """

    def __init__(
        self, reference: DriftReference, monitors: Sequence[str], topic: str, partition: int, start: int
    ) -> None:
        self.topic, self.partition = topic, partition
        self.position = self._start = start
        self.observed = self.alerts = 0
        self.newest_event_time = 0
        self._incident: PartitionIncident | None = None
        self._reference = reference
        self._seen: dict[str, RecentEvents] = {}
        self.detectors = {
            name: MonitorDetectors(reference.monitor(name), reference.window) for name in dict.fromkeys(monitors)
        }

    def skip_to(self, position: int) -> None:
        """Go on at ``position``, without the records before it."""
        self.position = position

    @classmethod
    def from_state(
        cls, state: TrackState, reference: DriftReference, monitors: Sequence[str], topic: str, partition: int
    ) -> Track:
        """Restore a track from its saved state.

        Raises:
            PenstockError: if the state does not fit such a track.
        """
        track = cls(reference, monitors, topic, partition, state.start)
        try:
            for name, detectors in track.detectors.items():
                detectors.restore(state.monitors[name], with_adwin=state.river == RIVER)
            for name, seen_state in state.seen.items():
                track._seen[name] = RecentEvents()
                track._seen[name].restore(seen_state)
        except (KeyError, ValueError, UnreadableStateError) as error:
            raise unreadable_state_error(f"{topic}[{partition}]", str(error)) from error
        track.position, track.observed, track.alerts = state.position, state.observed, state.alerts
        track.newest_event_time = state.newest_event_time
        track._incident = state.incident
        return track

    @property
    def open_incident(self) -> str | None:
        """The id of this partition's incident, if it is not over."""
        incident = self._incident
        if incident is None or not incident.is_open(self._reference.window, self.observed, self.newest_event_time):
            return None
        return incident.id

    def process(self, end: int, observations: Observations) -> list[DriftAlert]:
        """Process the records up to offset ``end``, exclusive; returns their alerts in the order of the records.

        A record gives no alert if it lies below the position (it was processed before), or if its event was available
        to training or counted before. How the records are cut into blocks makes no difference.
        """
        new = (observations.offsets >= self.position) & (observations.event_times > self._reference.until_ms)
        self.position = max(self.position, end)
        rows = self._count(np.flatnonzero(new).tolist(), observations.sources)
        if not rows:
            return []
        event_times = observations.event_times[rows]
        offsets, values = observations.offsets[rows].tolist(), observations.values[rows]
        newest = np.maximum.accumulate(event_times).tolist()
        newest = [max(self.newest_event_time, event_time) for event_time in newest]
        before = self.observed
        self.observed += len(rows)
        self.newest_event_time = newest[-1]
        # The place of what fired or cleared, with its monitor; of one place, what cleared comes first.
        found: list[tuple[int, str, Crossing | str]] = []
        for column, (name, detectors) in zip(values.T, self.detectors.items(), strict=True):
            crossings = detectors.update(self._reference.monitor(name).less_rhythm(column, event_times))
            found += [(place, name, detector) for place, detector in detectors.cleared]
            found += [(place, name, crossing) for place, crossing in crossings]
        # Stable: the alerts of one record stay in the order of the monitors.
        found.sort(key=lambda one: (one[0], not isinstance(one[2], str)))
        alerts = []
        for place, name, change in found:
            count = before + place + 1
            if isinstance(change, str):
                if self._incident is not None:
                    self._incident = self._incident.cleared(f"{name}:{change}", count, newest[place])
            else:
                alerts.append(self._alert(name, change, offsets[place], count, newest[place]))
        self.alerts += len(alerts)
        return alerts

    def _alert(self, monitor: str, crossing: Crossing, offset: int, count: int, event_time: int) -> DriftAlert:
        name = f"{monitor}:{crossing.detector}"
        alert_id = f"{self.topic}-{self.partition}-{offset}:{name}"
        self._incident = fired(
            self._incident,
            alert_id,
            name,
            self._reference.window,
            count,
            event_time,
            stays_over=crossing.detector in WINDOWED,
        )
        return DriftAlert(alert_id, monitor, crossing, event_time, offset, self._incident.id)

    def _count(self, rows: list[int], sources: Sequence[tuple[str, int, int]]) -> list[int]:
        """Those of the rows whose raw event was not counted before."""
        memories: dict[tuple[str, int], RecentEvents] = {}
        counted = []
        for row in rows:
            topic, partition, offset = sources[row]
            memory = memories.get((topic, partition))
            if memory is None:
                memory = self._seen.setdefault(f"{topic}/{partition}", RecentEvents())
                memories[topic, partition] = memory
            if memory.add(offset):
                counted.append(row)
        return counted

    def state(self) -> TrackState:
        """The state to save; restoring it continues exactly from here."""
        return TrackState(
            reference=self._reference.hash,
            river=RIVER,
            start=self._start,
            position=self.position,
            observed=self.observed,
            alerts=self.alerts,
            newest_event_time=self.newest_event_time,
            seen={name: seen.state() for name, seen in self._seen.items()},
            monitors={name: detectors.state() for name, detectors in self.detectors.items()},
            incident=self._incident,
        )


def read_state(value: bytes, where: str) -> TrackState:
    """Parse a state from a record of the state topic.

    Raises:
        PenstockError: if it is not a valid state.
    """
    try:
        return TrackState.model_validate_json(value)
    except ValidationError as error:
        raise unreadable_state_error(where, error.errors()[0]["msg"]) from error


def unreadable_state_error(where: str, why: str) -> PenstockError:
    """The error for a state that cannot be used."""
    return PenstockError(
        f"a saved state of the drift detectors cannot be read: {why}",
        where=where,
        safe="all published alerts",
        next="write a tombstone for its key to the state topic; the partition is then followed from its beginning",
    )


def describe_alert(alert: DriftAlert, reference: MonitorReference) -> str:
    """The alert as a sentence."""
    crossing, name = alert.crossing, alert.monitor
    moved = f"{_short(crossing.reference)} -> {_short(crossing.current)}"
    match crossing.detector:
        case "adwin":
            return f"{name}: the mean changed, {moved} (in training {_short(reference.mean)})"
        case "page_hinkley":  # its reference is the mean of all values so far, which says little
            moved = f"{_short(reference.mean)} -> {_short(crossing.current)}"
            return f"{name}: the mean moved away from that of training, {moved}"
        case "psi" | "kl":
            return (
                f"{name}: the distribution is not that of training, {crossing.detector} {crossing.statistic:.3f} "
                f"> {crossing.threshold:.3f}; mean {moved}"
            )
        case "missing":
            return f"{name}: {crossing.current:.1%} is missing, in training {crossing.reference:.1%}"


def _short(number: float) -> str:
    return f"{number:.4g}" if math.isfinite(number) else str(number)
