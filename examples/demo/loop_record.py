"""What happened between the first alert and the end: incidents, one story, and how good predictions were. Pure.

All times are seconds since the pipeline's run began, of the clock and not of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from loop.incidents import Incident
from loop.story import Line
from verify.loop_quality import Area, area_of

# Labelled predictions whose area under the curve is one point of a plot.
_OF_A_POINT = 2_000


class _RecordModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class ShownIncident(_RecordModel):
    """An incident: its alerts, its cause, why, and what was proposed; ``at_s`` is when it was opened."""

    id: str
    at_s: float
    is_open: bool
    alerts: int
    cause: str
    column: str | None
    first: str | None
    why: tuple[str, ...]
    proposal: str | None
    ended: str | None


class Told(_RecordModel):
    """A line of the story of an incident, as ``penstock audit`` tells it."""

    at_s: float
    what: str
    text: str


class Stretch(_RecordModel):
    """Labelled predictions of one version that were scored one after the other, and their area under the curve."""

    from_s: float
    to_s: float
    version: int
    area: Area


class Loop(_RecordModel):
    """The incidents of a pipeline, the story of the one that the demo is about, and the quality over time.

    ``drift_s`` is when the first drifted event was scored, and ``alert_s`` when the first alert of that incident was
    published; None if there was none.
    """

    incidents: tuple[ShownIncident, ...]
    told_of: str
    story: tuple[Told, ...]
    stretches: tuple[Stretch, ...]
    drift_s: float | None
    alert_s: float | None


class Scored(BaseModel):
    """A served prediction whose label is final: when it was scored (epoch ms), by whom, its score, and its label."""

    at_ms: int
    version: int
    score: float
    truth: bool


def shown(incident: Incident, began_ms: int) -> ShownIncident:
    """An incident for the report; the run began at ``began_ms``, epoch ms."""
    diagnosis = incident.diagnosis
    return ShownIncident(
        id=incident.id,
        at_s=_seconds(incident.opened_ms, began_ms),
        is_open=incident.is_open,
        alerts=len(incident.signals),
        # What a training was proposed for; the last diagnosis is of the time after it, too.
        cause=incident.proposals[-1].cause if incident.proposals else diagnosis.cause if diagnosis else "unknown",
        column=None if diagnosis is None else diagnosis.column,
        first=None if diagnosis is None else diagnosis.first,
        why=() if diagnosis is None else diagnosis.why,
        proposal=incident.proposals[-1].proposal if incident.proposals else None,
        ended=None if incident.closed is None else incident.closed.reason,
    )


def told(lines: Iterable[Line], began_ms: int) -> tuple[Told, ...]:
    """The lines of a story for the report."""
    return tuple(Told(at_s=_seconds(line.time_ms, began_ms), what=line.what, text=line.text) for line in lines)


def stretches(scored: Sequence[Scored], began_ms: int) -> tuple[Stretch, ...]:
    """The area under the curve of every few thousand predictions of each version; the last ones make a point, too."""
    found = []
    for version in sorted({one.version for one in scored}):
        own = sorted((one for one in scored if one.version == version), key=lambda one: one.at_ms)
        parts = max(1, round(len(own) / _OF_A_POINT))
        for part in range(parts):
            some = own[part * len(own) // parts : (part + 1) * len(own) // parts]
            area = area_of([one.truth for one in some], [one.score for one in some])
            if area is not None:
                from_s, to_s = (_seconds(one.at_ms, began_ms) for one in (some[0], some[-1]))
                found.append(Stretch(from_s=from_s, to_s=to_s, version=version, area=area))
    return tuple(found)


def _seconds(time_ms: int, began_ms: int) -> float:
    return round((time_ms - began_ms) / 1_000, 3)
