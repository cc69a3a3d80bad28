"""Checks the alarms that labels do not agree with scores: gives every final label to a detector again, and compares.

The detector is that of docs/concepts/drift.md, computed from there: for each of six changes of the odds of a positive,
a sum that becomes (sum + 1) times the likelihood ratio. Labels count in order of event time and id, but for those that
the engine says it has seen otherwise: each of these must be a prediction and a label that there are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.counts import counted
from penstock.kafka.reading import Record
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder
from streams.definitions.pipeline import Pipeline
from verify.findings import Findings

DETECTOR = "e_detector"
_ODDS = (0.25, 0.5, 1 / 1.5, 1.5, 2.0, 4.0)
_TOLERATED = 1.3
_LEAST = 1e-6
_REST_MS = 86_400_000
_CLOSE = 1e-9


class FinalLabel(NamedTuple):
    """What is known in the end of an event that the pipeline's own model was served for."""

    time: int
    event_id: str
    version: str
    score: float
    positive: bool


@dataclass
class LabelAlarms:
    """What the topics say of the watch.

    Args:
        note: The note of the histograms.
        odd: The records of events that the engine has seen otherwise, by id.
        finals: The final labels that are known.
        served: What was served, by event id.
        could_be: Whether an event ever had this score, and this outcome.
        alerts: The records of the drift topic.
        unchecked: What could not be checked, in words.
    """

    note: Mapping[str, Any]
    odd: Mapping[str, bytes]
    finals: Sequence[FinalLabel]
    served: Mapping[str, Mapping[str, Any]]
    could_be: Callable[[str, float, bool], bool]
    alerts: Iterable[Record]
    unchecked: list[str] = field(default_factory=list)


def check_label_alarms(pipeline: Pipeline, of: LabelAlarms, findings: Findings) -> None:
    """Compare the published alarms, and the saved state, with those that the records give."""
    published = _read(of.alerts)
    if pipeline.monitors is None or not pipeline.monitors.labels:
        of.unchecked += ["alarms on labels: the definition does not watch labels any more"] if published else []
        return
    fingerprint, state = str(of.note["fingerprint"]), of.note.get("watch", {})
    current = [alert for alert in published if alert["alert_id"].endswith(f":{fingerprint}")]
    if earlier := len(published) - len(current):
        of.unchecked.append(f"alarms on labels: {counted(earlier, 'alarm')} of another definition")
    if lost := state.get("odd_lost", 0):
        of.unchecked.append(f"alarms on labels: {counted(lost, 'label')} came out of order, too many to keep")
        return
    odd = _odd(of, findings)
    expected: dict[str, dict[str, Any]] = {}
    held = state.get("versions", {})
    finals: dict[str, list[FinalLabel]] = {}
    for one in sorted(of.finals):
        if one.event_id not in odd:
            finals.setdefault(one.version, []).append(one)
    for version in sorted({*finals, *held, *(one.version for _, one in odd.values())}):
        sequence = finals.get(version, [])
        for place, one in sorted((place, one) for place, one in odd.values() if one.version == version):
            sequence.insert(place, one)
        replay = _Replay(2.0 * pipeline.monitors.false_alarm_every)
        for one in sequence:
            replay.take(one)
        for name, value in replay.state(len(sequence)).items():
            found = _at(held.get(version), name)
            if not _alike(found, value):
                findings.mismatch(f"labels of version {version}: {name} is {found}, a second computation gives {value}")
        for alarm in replay.alarms:
            source = of.served[alarm.pop("event_id")]["source"]
            where = {name: source[name] for name in ("topic", "partition", "offset")} | {"model_version": version}
            raw = f"{source['topic']}-{source['partition']}-{source['offset']}"
            expected[f"{raw}:labels:{DETECTOR}:{fingerprint}"] = alarm | where
    _compare(expected, current, findings)


def _compare(
    expected: Mapping[str, Mapping[str, Any]], published: Sequence[Mapping[str, Any]], findings: Findings
) -> None:
    names = [alert["alert_id"] for alert in published]
    for name in sorted({*expected, *names}):
        if names.count(name) != (name in expected):
            findings.mismatch(f"alarm {name} is there {names.count(name)} times, should be {int(name in expected)}")
    for alert in published:
        for field_, value in expected.get(alert["alert_id"], {}).items():
            if not _alike(alert[field_], value):
                findings.mismatch(f"alarm {alert['alert_id']}: {field_} is {alert[field_]!r}, should be {value!r}")


def _odd(of: LabelAlarms, findings: Findings) -> dict[str, tuple[int, FinalLabel]]:
    """The events that were seen otherwise, with their place among the labels of their version."""
    found = {}
    for event_id, value in of.odd.items():
        try:
            version, place, score, positive = json.loads(value)
        except (ValueError, TypeError) as error:
            findings.mismatch(f"event {event_id}: what a detector has seen of it cannot be read: {error}")
            continue
        if not of.could_be(event_id, score, positive):
            findings.mismatch(f"event {event_id}: no prediction and label there is could be seen as {value.decode()}")
            continue
        found[event_id] = place, FinalLabel(of.served[event_id]["event_time"], event_id, version, score, positive)
    return found


class _Replay:
    """One version's detector."""

    def __init__(self, threshold: float) -> None:
        self.alarms: list[dict[str, Any]] = []
        self._threshold, self._rests_until = threshold, -math.inf
        self._begin()

    def _begin(self) -> None:
        self._sums, self._labels = [0.0] * len(_ODDS), 0
        # Of each change: how much better it has fitted since it began to, and these labels.
        self._better: list[float] = [0.0] * len(_ODDS)
        self._since: list[list[FinalLabel]] = [[] for _ in _ODDS]

    def take(self, one: FinalLabel) -> None:
        if one.time < self._rests_until:
            return
        self._labels += 1
        for change, odds in enumerate(_ODDS):
            ratio = _ratio(one.positive, one.score, odds)
            self._sums[change] = (self._sums[change] + 1) * ratio
            if self._better[change] <= 1:
                self._better[change], self._since[change] = 1.0, []
            self._better[change] *= ratio
            self._since[change].append(one)
        statistic = math.fsum(self._sums) / len(_ODDS)
        if statistic >= self._threshold:
            since = self._since[max(range(len(_ODDS)), key=lambda change: self._sums[change])]
            self.alarms.append(
                {
                    "event_id": one.event_id,
                    "event_time": one.time,
                    "statistic": statistic,
                    "threshold": self._threshold,
                    "reference": sum(label.score for label in since) / len(since),
                    "current": sum(label.positive for label in since) / len(since),
                }
            )
            self._rests_until = one.time + _REST_MS
            self._begin()

    def state(self, taken: int) -> dict[str, Any]:
        return {
            "taken": taken,
            "alarms": len(self.alarms),
            "detector.labels": self._labels,
            "detector.sums": self._sums,
        }


def _ratio(positive: bool, score: float, odds: float) -> float:
    """The likelihood of an outcome under changed odds, divided by that under the worst odds that are tolerated."""
    p = min(max(score, _LEAST), 1 - _LEAST)
    if p != score and (p > score) == (odds < 1):
        return 1.0
    of_p = p / (1 - p) * (_TOLERATED if odds > 1 else 1 / _TOLERATED)
    of_q = of_p * odds
    before, after = of_p / (1 + of_p), of_q / (1 + of_q)
    return after / before if positive else (1 - after) / (1 - before)


def _at(state: Any, name: str) -> Any:
    for part in name.split("."):
        state = state.get(part) if isinstance(state, Mapping) else None
    return state


def _alike(found: Any, value: Any) -> bool:
    if isinstance(value, list):
        return (
            isinstance(found, Sequence)
            and len(found) == len(value)
            and all(_alike(one, other) for one, other in zip(found, value, strict=True))
        )
    if isinstance(value, float) and isinstance(found, int | float):
        return math.isclose(found, value, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return bool(found == value)


def _read(records: Iterable[Record]) -> list[Mapping[str, Any]]:
    """The alarms on labels; what is no alert, check_drift tells."""
    decoder = record_decoder("drift_alert")
    found: list[Mapping[str, Any]] = []
    for record in records:
        try:
            alert = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue
        if alert["detector"] == DETECTOR:
            found.append(alert)
    return found
