"""Gathers firings into incidents: what is one change to a person is one incident, however many detectors see it.

A firing belongs to the open incident of its partition. The incident is over, and the next firing begins another one,
once nothing is over its threshold and nothing has fired or cleared for ``QUIET_WINDOWS`` windows of records and for
``QUIET_MS`` of event time. Incidents of several partitions and topics that touch in event time are one. The budget of
false alarms, ``false_alarm_every``, counts incidents. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

QUIET_WINDOWS = 2
QUIET_MS = 86_400_000


class PartitionIncident(BaseModel):
    """The latest incident of one partition, as it is saved with the track.

    ``id`` is that of its first alert. ``over`` names what fired and has not cleared, as ``monitor:detector``. ``count``
    and ``event_time`` (epoch ms) are what the partition had reached when something last fired or cleared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    over: tuple[str, ...]
    count: int
    event_time: int

    def is_open(self, window: int, count: int, event_time: int) -> bool:
        """Whether a firing at that many records, and at that event time, belongs to it."""
        is_quiet = count - self.count > QUIET_WINDOWS * window and event_time - self.event_time > QUIET_MS
        return bool(self.over) or not is_quiet

    def cleared(self, name: str, count: int, event_time: int) -> PartitionIncident:
        """The incident after ``name`` (``monitor:detector``) has cleared."""
        if name not in self.over:
            return self
        return PartitionIncident(
            id=self.id, over=tuple(other for other in self.over if other != name), count=count, event_time=event_time
        )


def fired(
    latest: PartitionIncident | None,
    alert_id: str,
    name: str,
    window: int,
    count: int,
    event_time: int,
    *,
    stays_over: bool,
) -> PartitionIncident:
    """The partition's incident after a firing: the latest one if it is still open, else one that begins here.

    Args:
        latest: The partition's latest incident; None before the first.
        alert_id: Of the firing's alert.
        name: ``monitor:detector``.
        window: Records in a window.
        count: Records that the partition's detectors have seen.
        event_time: The greatest event time of the partition so far, epoch ms.
        stays_over: Whether the detector stays over its threshold until it clears.
    """
    if latest is None or not latest.is_open(window, count, event_time):
        latest = PartitionIncident(id=alert_id, over=(), count=count, event_time=event_time)
    over = tuple(sorted({*latest.over, name})) if stays_over else latest.over
    return PartitionIncident(id=latest.id, over=over, count=count, event_time=event_time)


class Incident(NamedTuple):
    """One change, over all partitions and topics of a model version.

    ``id`` is that of its first alert, which lies at ``topic``, ``partition`` and ``offset``. ``begin_ms`` and
    ``latest_ms`` are the event times of its first and latest alert. ``members`` has how many alerts each monitor and
    detector gave. ``ended`` is false as long as one of its partitions' incidents is open.
    """

    id: str
    model: str
    model_version: str
    begin_ms: int
    latest_ms: int
    topic: str
    partition: int
    offset: int
    partitions: tuple[tuple[str, int], ...]
    members: Mapping[tuple[str, str], int]
    ended: bool

    @property
    def alerts(self) -> int:
        """The number of its alerts."""
        return sum(self.members.values())


def incidents_of(alerts: Iterable[Mapping[str, Any]], open_ids: Collection[str] = ()) -> list[Incident]:
    """The incidents of decoded alerts, by their begin.

    The order of the alerts does not matter, and an alert that is there twice counts once. An alert of an earlier
    release, which names no incident, is one by itself until others touch it.

    Args:
        alerts: The records of the drift topic.
        open_ids: The incidents that are open by the partitions' saved states.
    """
    distinct = {(alert["model"], alert["model_version"], alert["alert_id"]): alert for alert in alerts}
    parts: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for alert in sorted(distinct.values(), key=_place):
        name = alert.get("incident") or alert["alert_id"]
        parts.setdefault((alert["model"], alert["model_version"], name), []).append(alert)
    gathered: list[tuple[list[Mapping[str, Any]], set[str]]] = []
    current: dict[tuple[str, str], tuple[list[Mapping[str, Any]], set[str]]] = {}
    for (model, version, name), members in parts.items():
        begun = current.get((model, version))
        if begun is None or not _touches(begun, members, open_ids):
            begun = current[model, version] = ([], set())
            gathered.append(begun)
        begun[0].extend(members)
        begun[1].add(name)
    return [_incident(sorted(members, key=_place), names.isdisjoint(open_ids)) for members, names in gathered]


def _touches(
    begun: tuple[list[Mapping[str, Any]], set[str]], members: list[Mapping[str, Any]], open_ids: Collection[str]
) -> bool:
    latest = max(alert["event_time"] for alert in begun[0])
    return not begun[1].isdisjoint(open_ids) or members[0]["event_time"] - latest <= QUIET_MS


def _place(alert: Mapping[str, Any]) -> tuple[int, str]:
    return alert["event_time"], alert["alert_id"]


def _incident(alerts: list[Mapping[str, Any]], ended: bool) -> Incident:
    first = alerts[0]
    members: dict[tuple[str, str], int] = {}
    for alert in alerts:
        member = alert["monitor"], alert["detector"]
        members[member] = members.get(member, 0) + 1
    return Incident(
        first["alert_id"],
        first["model"],
        first["model_version"],
        first["event_time"],
        max(alert["event_time"] for alert in alerts),
        first["topic"],
        first["partition"],
        first["offset"],
        tuple(sorted({(alert["topic"], alert["partition"]) for alert in alerts})),
        members,
        ended,
    )
