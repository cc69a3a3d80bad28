"""From what is known of an incident to its cause, and what to do about it: the rules. Pure.

=============================================  ========  ========  ===================================
inputs                                         expected  realised  cause
=============================================  ========  ========  ===================================
one column has a fault (nulls, unit, default)  any       any       upstream fault: do not retrain
labels have changed                            any       any       label fault: do not retrain
shifted                                        falls     falls     covariate shift: prepare a set
                                                         alike,
                                                         unknown
any                                            any       falls     concept drift: retrain
                                                         more
any                                            holds     holds     scores are biased: recalibrate
=============================================  ========  ========  ===================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from loop.label_changes import LabelChange, label_change
from loop.performance import Calibration, Errors, Estimate, bias, expected, realised
from loop.sample import Sample
from loop.shifts import Shift, contributions, is_shifted, shifted

Cause = Literal["upstream-fault", "label-fault", "covariate-shift", "concept-drift", "calibration", "unclear", "none"]
Action = Literal["mend-source", "mend-labels", "prepare", "retrain", "recalibrate", "wait", "nothing"]

ACTIONS: Mapping[Cause, Action] = {
    "upstream-fault": "mend-source",
    "label-fault": "mend-labels",
    "covariate-shift": "prepare",
    "concept-drift": "retrain",
    "calibration": "recalibrate",
    "unclear": "wait",
    "none": "nothing",
}

# Positives that come 1.3 times as often as scores say, or as seldom, make scores biased.
_LEAST_BIAS = float(np.log(1.3))
_SIGMAS = 4.0
# The share of the shift that the raw column at fault must explain.
_EXPLAINED = 0.6
# So many inputs are named that have shifted.
_NAMED = 3


@dataclass(frozen=True)
class Evidence:
    """What is known of an incident.

    Args:
        shifts: The inputs that have shifted, the most shifted first.
        scores_shifted: Whether the scores have.
        labels: What has changed about labels.
        expected_before: The area under the ROC curve that the scores of the reference promise; of a regression, the
            skill.
        expected: The area or skill that present scores promise.
        realised_before: The area or skill by the labels of the reference.
        realised: That by present labels; None if they are not mature yet.
        bias: The logarithm of present positives over those that scores promise; None of a regression, whose skill
            falls by it.
        measure: What of a model's quality is compared, in words.
    """

    shifts: Sequence[Shift]
    scores_shifted: bool
    labels: LabelChange | None
    expected_before: Estimate | None
    expected: Estimate | None
    realised_before: Estimate | None
    realised: Estimate | None
    bias: Estimate | None
    measure: str = "an area under the curve"

    @property
    def expected_falls(self) -> bool:
        """Whether the scores promise less than before."""
        if self.expected is None or self.expected_before is None:
            return False
        return self.expected.falls_below(self.expected_before)

    @property
    def realised_falls(self) -> bool | None:
        """Whether labels show less than before; None if they do not tell yet: they are few, or a fall may be unseen."""
        if self.realised is None or self.realised_before is None:
            return None
        falls = self.realised.falls_below(self.realised_before)
        return None if not falls and self.realised.may_fall_unseen(self.realised_before) else falls

    @property
    def falls_more(self) -> bool:
        """Whether labels show less than before, and less than present scores promise."""
        if self.realised is None or not self.realised_falls:
            return False
        return self.expected is None or self.realised.falls_below(self.expected)

    @property
    def is_biased(self) -> bool:
        """Whether there are more positives, or fewer, than scores say."""
        return self.bias is not None and abs(self.bias.value) > max(_LEAST_BIAS, _SIGMAS * self.bias.error)


@dataclass(frozen=True)
class Verdict:
    """The cause of an incident.

    Args:
        cause: The cause.
        why: The reasons, a sentence each.
        column: The raw column at fault, of an upstream fault; several if nothing tells which: ``amount or currency``.
        shares: The share of each input in the shift.
        fault: The shift with the fault, of an upstream fault.
    """

    cause: Cause
    why: Sequence[str]
    column: str | None = None
    shares: Mapping[str, float] | None = None
    fault: Shift | None = None

    @property
    def action(self) -> Action:
        """What to do."""
        return ACTIONS[self.cause]


def evidence_of(before: Sample, now: Sample) -> Evidence:
    """What two periods say: a reference in which all was well, and the present one."""
    if before.is_regression:
        return _evidence_of_values(before, now)
    known = before.matured()
    calibration = Calibration.of(known.scores, known.labels) if realised(before) is not None else None
    return Evidence(
        shifts=shifted(before, now),
        scores_shifted=is_shifted(before.scores, now.scores)[0],
        labels=label_change(before, now, calibration),
        expected_before=None if calibration is None else expected(before, calibration),
        expected=None if calibration is None else expected(now, calibration),
        realised_before=realised(before),
        realised=realised(now),
        bias=None if calibration is None else _bias(before, now, calibration),
    )


def _bias(before: Sample, now: Sample, calibration: Calibration) -> Estimate | None:
    """The bias with the error of the reference, too: a short one, or one in a wave, is badly calibrated itself."""
    found, own = bias(now, calibration), bias(before, calibration)
    if found is None or own is None:
        return None
    return replace(found, error=float(np.hypot(found.error, own.error)))


def _evidence_of_values(before: Sample, now: Sample) -> Evidence:
    errors = Errors.of(before.matured())
    return Evidence(
        shifts=shifted(before, now),
        scores_shifted=is_shifted(before.scores, now.scores)[0],
        labels=label_change(before, now, None),
        expected_before=None if errors is None else errors.expected(before),
        expected=None if errors is None else errors.expected(now),
        realised_before=None if errors is None else errors.realised(before),
        realised=None if errors is None else errors.realised(now),
        bias=None,
        measure="a skill (1 minus error over spread)",
    )


def diagnose(evidence: Evidence, roots: Mapping[str, frozenset[str]]) -> Verdict:
    """The cause of what was found.

    Args:
        evidence: What was found.
        roots: The raw columns that each input is computed from.
    """
    shares = contributions(list(evidence.shifts))
    for rule in (_upstream_fault, _label_fault, _covariate_shift, _concept_drift, _calibration, _unclear):
        if (verdict := rule(evidence, roots)) is not None:
            return replace(verdict, shares=shares)
    return Verdict("none", _moved(evidence) or ["nothing has changed that matters"], shares=shares)


def _upstream_fault(evidence: Evidence, roots: Mapping[str, frozenset[str]]) -> Verdict | None:
    """The fault whose raw column explains most of the shift; traffic that grows meanwhile does not hide it.

    Windows may be empty because nothing happened. So a fault of theirs counts only if an input that is the event's own
    value of the column has one, too, or the model has no such input.
    """
    total = sum(one.excess for one in evidence.shifts)
    faulty = {shift.column for shift in evidence.shifts if shift.fault is not None}
    for shift in evidence.shifts:
        columns = roots.get(shift.column, {shift.column})
        own = {name for name, of in roots.items() if name.startswith("event.") and of & columns}
        if shift.fault is None or (own and not own & faulty):
            continue
        explained = {
            column: sum(one.excess for one in evidence.shifts if column in roots.get(one.column, {one.column}))
            for column in columns
        }
        most = max(explained.values())
        if most >= _EXPLAINED * total:
            named = sorted(column for column, excess in explained.items() if excess == most)
            return Verdict("upstream-fault", [f"{shift.column}: {shift.detail}"], " or ".join(named), fault=shift)
    return None


def _label_fault(evidence: Evidence, _roots: object) -> Verdict | None:
    return None if evidence.labels is None else Verdict("label-fault", [evidence.labels.what])


def _covariate_shift(evidence: Evidence, _roots: object) -> Verdict | None:
    if evidence.expected is None or not (evidence.shifts and evidence.expected_falls):
        return None
    if evidence.realised_falls is False or evidence.falls_more:
        return None
    why = f"the scores promise {evidence.measure} of only {evidence.expected.value:.3f}"
    return Verdict("covariate-shift", [why, *_moved(evidence)])


def _concept_drift(evidence: Evidence, _roots: object) -> Verdict | None:
    if evidence.realised is None or not evidence.falls_more:
        return None
    promised = "" if evidence.expected is None else f"; the scores promise {evidence.expected.value:.3f}"
    why = f"labels show {evidence.measure} of only {evidence.realised.value:.3f}{promised}"
    return Verdict("concept-drift", [why, *_moved(evidence)])


def _calibration(evidence: Evidence, _roots: object) -> Verdict | None:
    if evidence.bias is None or not evidence.is_biased:
        return None
    ratio = float(np.exp(evidence.bias.value))
    why = f"there are {ratio:.2f} times as many positives as scores say, and scores rank as before"
    return Verdict("calibration", [why, *_moved(evidence)])


def _unclear(evidence: Evidence, _roots: object) -> Verdict | None:
    if evidence.realised_falls is not None or not (evidence.shifts or evidence.scores_shifted):
        return None
    return Verdict("unclear", ["too few labels are mature to say whether quality falls", *_moved(evidence)])


def _moved(evidence: Evidence) -> list[str]:
    named = evidence.shifts[:_NAMED]
    found = [f"{one.column} has shifted by {one.distance:.2f} (usual: {one.usual:.2f})" for one in named]
    more = len(evidence.shifts) - len(named)
    return [*found, f"and so {'has 1 more input' if more == 1 else f'have {more} more inputs'}"] if more else found
