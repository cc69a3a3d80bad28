"""Watches final labels for a lasting difference from the scores: an e-detector for each version that serves. Pure.

Each event counts once, with what was known of it when its label was final; or, where nothing was known then, as soon as
something is. A bet that is made cannot be taken back: a label that is corrected or withdrawn later is counted anew in
the histograms, and not here. So what the detector has seen depends a little on the order in which records were read.
Where it differs from what the records say in the end, in order of event time and id, the difference is kept as
*odd*: with it, everything else follows from the records, and the verifier computes it again.

After an alarm the detector of the version rests for a day of event time: what lasts is one alarm a day, and not one for
each thousand labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from pydantic import Field

from penstock.counts import counted
from scoring.quality.e_detector import Disagreement, EDetector, EDetectorState
from scoring.quality.histograms import DAY_MS, Outcome
from streams.definitions.base import Definition

TOLERANCE = 1.3
"""The odds may differ by this factor from what scores say: a smaller bias is of no interest (loop/causes.py)."""
MOST_ODD = 10_000
"""So many odd events are kept; with more, the verifier cannot compute the alarms again."""
# Half of the budget is for labels, the drift detectors aim at a tenth of it.
_SHARE = 0.5
# Before every event.
_NEVER = (-(2**63), "")


class Matured(NamedTuple):
    """What became known of a prediction that was served, when its label was final.

    These come in order of event time, then id. ``source`` is partition and offset of the raw event,
    ``topic`` its topic; empty where the events of one only are scored.
    """

    event_id: str
    event_time_ms: int
    version: str
    arm: str
    score: float
    outcome: Outcome
    source: tuple[int, int]
    topic: str = ""


class Taken(NamedTuple):
    """What a detector has seen of an event: the ``place``-th label of the version, from 0."""

    version: str
    place: int
    score: float
    positive: bool


class VersionWatch(Definition):
    """The state of one version.

    Args:
        detector: The detector's state.
        taken: How many labels it was given, those while it rested included.
        latest: The greatest event time that it was given, epoch ms, and the greatest id of that time.
        rests_until_ms: The event time before which labels are passed over.
        alarms: How many alarms there were.
    """

    detector: EDetectorState
    taken: int = 0
    latest: tuple[int, str] = _NEVER
    rests_until_ms: int | None = None
    alarms: int = 0


class WatchState(Definition):
    """The state of all versions.

    Args:
        versions: By version.
        odd_lost: How many odd events were too many to keep.
    """

    versions: Mapping[str, VersionWatch] = Field(default_factory=dict)
    odd_lost: int = 0


class LabelAlarm(NamedTuple):
    """Outcomes of a version do not agree with its scores.

    Attributes:
        at: The event at which it was found.
        found: What the detector says.
    """

    at: Matured
    found: Disagreement

    @property
    def observed(self) -> float:
        """The share of positives since the change began."""
        return self.found.run.outcomes / self.found.run.labels

    @property
    def expected(self) -> float:
        """What the scores of the same events said."""
        return self.found.run.expected / self.found.run.labels

    def __str__(self) -> str:
        labels = counted(self.found.run.labels, "label")
        return f"{self.observed:.4g} of the last {labels} are positive, scores say {self.expected:.4g}"


class LabelWatch:
    """The detectors of all versions.

    Args:
        false_alarm_every: The events for each false alarm that the monitors allow; None to watch nothing.
        state: What was saved.
        odd: The odd events that were saved, by id.

    Attributes:
        alarms: Those that are not saved.
        odd: The events of which the detectors saw something else than the records say, by id.
        changed_odd: The ids of those that are not saved.
    """

    def __init__(
        self, false_alarm_every: int | None, state: WatchState | None = None, odd: Mapping[str, Taken] | None = None
    ) -> None:
        self._threshold = None if false_alarm_every is None else false_alarm_every / _SHARE
        state = state or WatchState()
        self._versions: dict[str, _Version] = {}
        if self._threshold is not None:
            self._versions = {name: _Version.of(held, self._threshold) for name, held in state.versions.items()}
        self._odd_lost = state.odd_lost
        self.odd: dict[str, Taken] = dict(odd or {})
        self.alarms: list[LabelAlarm] = []
        self.changed_odd: set[str] = set()

    def take(self, one: Matured) -> Taken | None:
        """Give a label to the detector of its version, if there is one; returns what the detector has seen."""
        # Other models of a cascade, whose versions have the model's name, judge the unclear cases alone.
        if self._threshold is None or one.outcome not in ("positive", "negative") or ":" in one.version:
            return None
        version = self._versions.setdefault(one.version, _Version(EDetector(self._threshold, TOLERANCE)))
        taken = Taken(one.version, version.taken, one.score, one.outcome == "positive")
        place = one.event_time_ms, one.event_id
        if place < version.latest:
            self._is_odd(one.event_id, taken)
        version.latest = max(version.latest, place)
        version.taken += 1
        alarm = version.bet(one, taken.positive)
        if alarm is not None:
            self.alarms.append(alarm)
        return taken

    def changed(self, taken: Taken, event_id: str, now: Matured | None) -> None:
        """What is known of an event has changed, perhaps, after a detector has seen it."""
        seen = taken.version, taken.score, "positive" if taken.positive else "negative"
        if now is None or (now.version, now.score, now.outcome) != seen:
            self._is_odd(event_id, taken)

    def state(self) -> WatchState:
        """What is to be saved, beside the odd events."""
        return WatchState(
            versions={name: one.state() for name, one in sorted(self._versions.items())}, odd_lost=self._odd_lost
        )

    def saved(self) -> None:
        """All that has changed is saved."""
        self.alarms.clear()
        self.changed_odd.clear()

    def content(self) -> dict[str, dict[str, float]]:
        """Of each version how many labels it was given, its alarms, and how far the next one is: it comes at 1."""
        return {
            name: {
                "labels": one.taken,
                "alarms": one.alarms,
                "part": one.detector.statistic / one.detector.threshold,
            }
            for name, one in sorted(self._versions.items())
        }

    def _is_odd(self, event_id: str, taken: Taken) -> None:
        if event_id in self.odd:
            return
        if len(self.odd) >= MOST_ODD:
            self._odd_lost += 1
            return
        self.odd[event_id] = taken
        self.changed_odd.add(event_id)


@dataclass
class _Version:
    """A detector and what belongs to it; the fields are those of VersionWatch."""

    detector: EDetector
    taken: int = 0
    latest: tuple[int, str] = _NEVER
    rests_until_ms: int | None = None
    alarms: int = 0

    @classmethod
    def of(cls, held: VersionWatch, threshold: float) -> Self:
        detector = EDetector(threshold, TOLERANCE)
        detector.restore(held.detector)
        return cls(detector, **{name: getattr(held, name) for name in VersionWatch.model_fields if name != "detector"})

    def bet(self, one: Matured, positive: bool) -> LabelAlarm | None:
        """Give an event to the detector, unless it rests."""
        if self.rests_until_ms is not None and one.event_time_ms < self.rests_until_ms:
            return None
        found = self.detector.update(float(positive), one.score)
        if found is None:
            return None
        self.alarms += 1
        self.rests_until_ms = one.event_time_ms + DAY_MS
        return LabelAlarm(one, found)

    def state(self) -> VersionWatch:
        """What is to be saved."""
        fields = {name: getattr(self, name) for name in VersionWatch.model_fields if name != "detector"}
        return VersionWatch(detector=self.detector.state(), **fields)
