"""Watches all raw topics of a pipeline: gathers what is unusual into incidents, and keeps the state together. Pure.

One fault shows in several columns, producers and topics. All that is unusual while anything is, or within a day of
event time after it, is one incident, as of the drift detectors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from streams.drift.data_quality.partition_counts import PartitionState
from streams.drift.data_quality.quality_reference import QualityReference
from streams.drift.data_quality.raw_events import RawEvent, WatchedTopic
from streams.drift.data_quality.topic_watch import Finding, TopicState, TopicWatch
from streams.drift.incidents import QUIET_MS


class QualityIncident(BaseModel):
    """The latest incident: the id of its first finding, and the event time (epoch ms) at which something was over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    latest_ms: int


class QualityAlert(NamedTuple):
    """A finding, and the incident that it belongs to."""

    finding: Finding
    incident: str


class QualityState(BaseModel):
    """The state, less that of the partitions."""

    model_config = ConfigDict(extra="forbid")

    reference: str
    topics: dict[str, TopicState] = {}
    incident: QualityIncident | None = None


class QualityWatch:
    """Watches the raw topics of a pipeline that the reference knows.

    Args:
        topics: The pipeline's topics.
        reference: What is usual of them.
        partitions: The number of partitions of each.
    """

    def __init__(self, topics: Sequence[WatchedTopic], reference: QualityReference, partitions: int) -> None:
        known = {one.topic: one for one in reference.topics}
        self.reference = reference
        self.topics = {
            topic.topic: TopicWatch(topic, known[topic.topic], reference.window, partitions)
            for topic in topics
            if topic.topic in known
        }
        self.incident: QualityIncident | None = None

    def observe(self, topic: str, event: RawEvent) -> list[QualityAlert]:
        """Count a record of a topic."""
        watch = self.topics[topic]
        return [self._alert(finding) for finding in watch.observe(event)]

    def advance(self, at_end: Mapping[str, Collection[int]], now_ms: int | None) -> list[QualityAlert]:
        """Look at hours and at the clock; see :meth:`TopicWatch.advance`.

        Args:
            at_end: The partitions of each topic of which everything was read.
            now_ms: The time, epoch ms; None where only events tell it.
        """
        found = [
            self._alert(finding)
            for topic, watch in self.topics.items()
            for finding in watch.advance(at_end.get(topic, ()), now_ms)
        ]
        newest = max((watch.newest_ms for watch in self.topics.values()), default=0)
        if self.incident is not None and any(watch.over for watch in self.topics.values()):
            self.incident = QualityIncident(id=self.incident.id, latest_ms=max(self.incident.latest_ms, newest))
        return found

    @property
    def open_incident(self) -> str | None:
        """The id of the incident that is not over."""
        newest = max((watch.newest_ms for watch in self.topics.values()), default=0)
        return None if self.incident is None or not self._is_open(newest) else self.incident.id

    def _is_open(self, time_ms: int) -> bool:
        assert self.incident is not None
        return any(watch.over for watch in self.topics.values()) or time_ms - self.incident.latest_ms <= QUIET_MS

    def _alert(self, finding: Finding) -> QualityAlert:
        # The finding itself is over by now: an incident goes on if another one is, too.
        others = sum(len(watch.over) for watch in self.topics.values()) > 1
        incident = self.incident
        if incident is None or not (others or finding.event_time - incident.latest_ms <= QUIET_MS):
            incident = QualityIncident(id=finding.finding_id, latest_ms=finding.event_time)
        self.incident = QualityIncident(id=incident.id, latest_ms=max(incident.latest_ms, finding.event_time))
        return QualityAlert(finding, incident.id)

    def state(self) -> QualityState:
        """The state to save, with those of :meth:`changed_partitions`."""
        return QualityState(
            reference=self.reference.hash,
            topics={topic: watch.state() for topic, watch in self.topics.items()},
            incident=self.incident,
        )

    def changed_partitions(self) -> Iterator[tuple[str, int, PartitionState]]:
        """The states of partitions that have changed since :meth:`saved`."""
        for topic, watch in self.topics.items():
            for number, state in watch.partition_states(watch.changed).items():
                yield topic, number, state

    def saved(self) -> None:
        """All changes were saved."""
        for watch in self.topics.values():
            watch.changed.clear()

    def restore(self, state: QualityState, partitions: Mapping[str, Mapping[int, PartitionState]]) -> None:
        """Go on from what was saved of the same reference.

        Raises:
            PenstockError: if it does not fit.
        """
        self.incident = state.incident
        for topic, watch in self.topics.items():
            watch.restore(state.topics.get(topic, TopicState()), partitions.get(topic, {}))
