"""Checks rollouts: that each prediction is of the arm, under the policy, that the log says was effective at its offset.

The arm, its probability and the exploration are computed anew for each entity. :mod:`verify.check_shadows` checks what
was scored in shadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from penstock.kafka.reading import Record
from streams.plan.model import PipelinePlan
from verify.dead_letters import read_letter
from verify.findings import Findings
from verify.published import Position, Published
from verify.rollout_log import RolloutLog, read_log
from verify.rollout_policies import Due
from verify.run_data import RunData


@dataclass
class RolloutFindings(Findings):
    """Result of the check: the ``log``, and how many ``predictions`` name an arm.

    ``by_champion`` counts those of a candidate's arm that the champion has scored. ``explored`` are the events whose
    decision must be the exploration's, whatever their score.
    """

    log: RolloutLog = field(default_factory=RolloutLog)
    predictions: int = 0
    by_champion: int = 0
    explored: set[Position] = field(default_factory=set)


def check_rollout(plan: PipelinePlan, run: RunData) -> RolloutFindings:
    """Check the log by itself, and each prediction, marker and correction against it."""
    findings = RolloutFindings()
    log = findings.log = read_log(plan.pipeline, run.rollout_log, run.rollout, findings)
    for prediction in run.predictions:
        value, where = prediction.value, prediction.place_in("predictions")
        arm, place = value["rollout"], features_position(prediction)
        named = None if arm is None else arm["policy"]
        findings.predictions += named is not None
        expected = log.effective(*place[:2]) if value["features_topic"] == plan.features_topic else None
        if prediction.replayed is not None and named is not None:
            expected = named  # a replay comes later than the letter that it answers: nothing says under which policy
        if named != expected:
            findings.mismatch(f"{where}: names policy {named}, at {_text(place)} it should be {expected}")
        if expected is None:
            continue
        if expected not in log.policies:
            findings.mismatch(f"{where}: policy {expected} was never published")
            continue
        due = log.policies[expected].due(value["entity"], value["event_id"])
        if due is None:
            continue  # no arm has the entity: the log is wrong, which was said
        if named == expected:
            findings.by_champion += _is_by_champion(due, value)
            for wrong in _wrong_arm(due, value):
                findings.mismatch(f"{where}: {wrong}")
        if due.explored:
            findings.explored.add(prediction.position)
    _check_markers(plan, log, run, findings)
    _check_corrections(run.predictions, run.corrections, findings)
    return findings


def champion_of(log: RolloutLog, record: Published) -> str | None:
    """The champion's version at a feature record, without whose number an event is refused; None without a policy."""
    policy = log.policies.get(log.effective(record.partition, record.offset) or "")
    return None if policy is None else policy.champion


def features_position(prediction: Published) -> Position:
    """The partition and offset of the feature record that a prediction is of."""
    return Position(prediction.value["features_partition"], prediction.value["features_offset"])


def arm_version(value: Mapping[str, Any]) -> str:
    """The version of the pipeline's model that scored an event, also if the strong one of a cascade decided it."""
    return str(value["model_version"] if value["cascade"] is None else value["cascade"]["fast_version"])


def is_duration(milliseconds: float) -> bool:
    """Whether an arm can have taken so long."""
    return math.isfinite(milliseconds) and milliseconds >= 0


def _is_by_champion(due: Due, value: Mapping[str, Any]) -> bool:
    """Whether the champion has scored an event of a candidate's arm: so it does where the candidate gives no number."""
    return value["route"] == "fallback" and arm_version(value) == due.champion != due.version


def _wrong_arm(due: Due, value: Mapping[str, Any]) -> Iterator[str]:
    """What of a prediction is not as its policy says."""
    arm = value["rollout"]
    for name in ("arm", "probability", "explored", "propensity"):
        if arm[name] != getattr(due, name):
            yield f"{name} is {arm[name]!r}, should be {getattr(due, name)!r}"
    if arm_version(value) != due.version and not _is_by_champion(due, value):
        yield f"was scored by version {arm_version(value)}, arm {due.arm} is version {due.version}"
    if due.decision is not None and value["decision"] != due.decision:
        yield f"decision is {value['decision']!r}, that of explored events is {due.decision!r}"
    if not is_duration(arm["infer_ms"]):
        yield f"infer_ms is {arm['infer_ms']}"


def _check_markers(plan: PipelinePlan, log: RolloutLog, run: RunData, findings: RolloutFindings) -> None:
    """Check that at the first offset of each marker an event was answered: by a prediction, or by a dead letter."""
    begin: dict[int, int] = {}
    for record in run.features:
        begin[record.partition] = min(begin.get(record.partition, record.offset), record.offset)
    answered = {features_position(p) for p in run.predictions if p.value["features_topic"] == plan.features_topic}
    answered |= {*_refused(plan, run.unscored)}
    for where, marker in (placed for of_partition in log.holding.values() for placed in of_partition):
        place = Position(marker.partition, marker.first_offset)
        if not 0 <= marker.partition < plan.source.partitions:
            findings.mismatch(f"{where}: there is no partition {marker.partition}")
        # The log is kept for ever, and the topics are not.
        elif place.offset >= begin.get(place.partition, place.offset + 1) and place not in answered:
            findings.mismatch(f"{where}: no event was answered at {_text(place)}, where the marker begins")


def _text(place: Position) -> str:
    return f"features[{place.partition}]@{place.offset}"


def _refused(plan: PipelinePlan, letters: Iterable[Record]) -> Iterator[Position]:
    """The feature records that have a dead letter of the scorer."""
    for record in letters:
        with suppress(ValueError):  # `check_unscored` reports it
            letter = read_letter(record)
            if letter.topic == plan.features_topic:
                yield letter.position


def _check_corrections(
    predictions: Sequence[Published], corrections: Iterable[Published], findings: RolloutFindings
) -> None:
    """Check that each correction is of an event that has a prediction."""
    served = {prediction.position: prediction.value["event_id"] for prediction in predictions}
    for correction in corrections:
        if served.get(correction.position) != correction.value["event_id"]:
            where = correction.place_in("predictions.corrections")
            findings.mismatch(f"{where}: corrects event {correction.position}, which has no prediction")
