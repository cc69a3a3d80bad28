"""The gates themselves: from a holdout with the scores of two versions to verdicts with their evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from penstock.counts import counted
from scoring.gates.statistics import (
    Interval,
    Numbers,
    calibration_error,
    mean_interval,
    quantile_ratio,
    ratio_of_rates,
    recalibration,
)

_LEAST = 1e-6
_DAY_MS = 86_400_000


class Verdict(Enum):
    """What a gate says. Too little evidence is neither a pass nor a failure.

    A skipped gate says nothing, and one that is not judged does not fit the kind of model.
    """

    PASS = "pass"  # noqa: S105 - no password
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"
    SKIPPED = "skipped"
    NOT_JUDGED = "not judged"


Skippable = Literal["quality", "cost", "calibration", "fairness", "latency", "freshness"]
"""Gates that a file of gates can leave out. The others cost nothing, and say whether the version can run at all."""


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] < bounds[1]:
        raise ValueError("must be the lower and the upper bound, both above 0")
    return bounds


class Limits(BaseModel):
    """What a version must keep. Files of gates have these fields.

    Args:
        alpha: The probability that chance alone refuses a version that is as good as the present one, for each gate.
        slices: Into how many parts of equally many events the holdout is cut, in time.
        loss: ``brier`` (squared error of the score) or ``log``; a regression is judged by its squared error.
        margin: By which part of the present version's mean loss, or cost, the new one's may be greater.
        false_positive_cost: What a positive decision on a negative event costs.
        false_negative_cost: What a negative decision on a positive event costs.
        slope: Between which bounds the slope of the recalibration must be.
        calibration_error: How great the calibration error may be (its root mean square over ten bins).
        groups: Columns of the backfill by which decisions are compared; if none, those that the pipeline's model
            declares.
        fairness_ratio: How small the rate of a group may be, divided by that of another.
        least_positives: With fewer positive events, a group is not judged.
        latency_ratio: By which factor the 99th percentile of a call may be longer than the present version's.
        oldest_days: How old the newest event of the training may be, compared with the newest of the holdout.
        closed_alerts: Ids of drift alerts that were looked into, and need no training.
        skip: Gates that are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    slices: int = Field(default=5, ge=1, le=50)
    loss: Literal["brier", "log"] = "brier"
    margin: float = Field(default=0.05, ge=0)
    false_positive_cost: float = Field(default=1.0, ge=0)
    false_negative_cost: float = Field(default=1.0, ge=0)
    slope: Annotated[tuple[float, float], AfterValidator(_ascending)] = (0.8, 1.25)
    calibration_error: float = Field(default=0.05, gt=0)
    groups: tuple[str, ...] = ()
    fairness_ratio: float = Field(default=0.8, gt=0, lt=1)
    least_positives: int = Field(default=100, ge=1)
    latency_ratio: float = Field(default=1.2, gt=1)
    oldest_days: float = Field(default=30.0, gt=0)
    closed_alerts: tuple[str, ...] = ()
    skip: tuple[Skippable, ...] = ()

    @model_validator(mode="after")
    def _costs_something(self) -> Limits:
        if self.false_positive_cost == self.false_negative_cost == 0 and "cost" not in self.skip:
            raise ValueError(
                'false_positive_cost and false_negative_cost are both 0: to leave them out, skip = ["cost"]'
            )
        return self


@dataclass(frozen=True)
class Result:
    """What one gate found.

    Args:
        gate: Its name: ``quality``, ``cost``, ``calibration``, ``fairness``, ``latency``, ``freshness``, ...
        where: The part of the data: all of it, a slice of time, a group.
        verdict: What it says.
        n: How many events or calls it saw.
        measured: What was measured, as words.
        interval: The estimate and its interval; NaN if there is none.
        limit: What would pass, as words.
    """

    gate: str
    where: str
    verdict: Verdict
    n: int
    measured: str
    interval: Interval
    limit: str


class Holdout(NamedTuple):
    """Labelled events that neither version was trained on, in order of event time.

    ``labels`` are 0 or 1, or the values of a regression, ``scores`` the version's to be judged, ``present`` the present
    version's, or None if there is no other. ``groups`` has the values of each column of groups.
    """

    times: NDArray[np.int64]
    labels: Numbers
    scores: Numbers
    present: Numbers | None
    threshold: float
    groups: Mapping[str, Sequence[object]]
    is_regression: bool = False

    @property
    def actual(self) -> NDArray[np.bool_]:
        """Which decisions should be positive: those on positive events, or on values of at least the threshold."""
        return self.labels >= self.threshold if self.is_regression else self.labels > 0

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Holdout:
        """Some of the events, without groups."""
        present = None if self.present is None else self.present[chosen]
        return self._replace(
            times=self.times[chosen],
            labels=self.labels[chosen],
            scores=self.scores[chosen],
            present=present,
            groups={},
        )


def judge_quality(holdout: Holdout, limits: Limits) -> list[Result]:
    """Loss and cost beside the present version's, over all events and in each slice of time.

    A pooled figure hides a break in one slice. Over all slices together, chance refuses with ``alpha``.
    """
    parts = [("all events", holdout, limits.alpha)]
    if limits.slices > 1:
        edges = np.linspace(0, len(holdout.times), limits.slices + 1).astype(int)
        parts += [
            (f"slice {number} of {limits.slices}", holdout.rows(slice(*ends)), limits.alpha / limits.slices)
            for number, ends in enumerate(pairwise(edges.tolist()), 1)
        ]
    return [
        result
        for where, part, alpha in parts
        for result in (
            _no_worse("quality", _loss_name(part, limits), where, part, _losses(part, limits), alpha, limits),
            _no_worse("cost", "cost of a decision", where, part, _costs(part, limits), alpha, limits),
        )
    ]


def judge_calibration(holdout: Holdout, limits: Limits) -> list[Result]:
    """The slope of the recalibration, and the calibration error."""
    if holdout.is_regression:
        return [_not_for_regression("calibration")]
    n, least = len(holdout.labels), limits.least_positives
    few = min(int(holdout.labels.sum()), int(n - holdout.labels.sum())) < least
    low, high = limits.slope
    slope_limit, error_limit = f"{low:g} to {high:g}", f"at most {limits.calibration_error:g}"
    if few:
        reason = f"fewer than {counted(least, 'event')} of a class"
        return [Result("calibration", "all events", Verdict.INCONCLUSIVE, n, reason, _NONE, f"{least} of each class")]
    slope = recalibration(holdout.scores, holdout.labels, limits.alpha).slope
    error = calibration_error(holdout.scores, holdout.labels, limits.alpha)
    verdict = _at_most(error, limits.calibration_error)
    return [
        Result("calibration", "all events", _between(slope, low, high), n, "slope", slope, slope_limit),
        Result("calibration", "all events", verdict, n, "error", error, error_limit),
    ]


def judge_fairness(holdout: Holdout, limits: Limits) -> Iterator[Result]:
    """For each column of groups: every group's rates of decisions and errors beside those of all others."""
    if holdout.is_regression:
        if holdout.groups:
            yield _not_for_regression("fairness")
        return
    positive, actual = holdout.scores >= holdout.threshold, holdout.actual
    rates = (
        ("positive decisions", positive, np.ones_like(actual)),
        ("false positives", positive & ~actual, ~actual),
        ("false negatives", ~positive & actual, actual),
    )
    for column, values in holdout.groups.items():
        names = np.array([str(value) for value in values])
        found = sorted(set(names.tolist()))
        for name in found if len(found) > 1 else ():
            of_group = names == name
            where = f"{column}={name}"
            if min(int((actual & of_group).sum()), int((actual & ~of_group).sum())) < limits.least_positives:
                text = f"{limits.least_positives} positive events in it and outside"
                n = int((actual & of_group).sum())
                yield Result("fairness", where, Verdict.INCONCLUSIVE, n, "too few positive events", _NONE, text)
                continue
            for what, hits, of in rates:
                alpha = limits.alpha / len(rates) / len(found)
                own, own_of, other, other_of = (
                    int((part & chosen).sum()) for chosen in (of_group, ~of_group) for part in (hits, of)
                )
                ratio = ratio_of_rates(own, own_of, other, other_of, alpha)
                verdict = _between(ratio, limits.fairness_ratio, 1 / limits.fairness_ratio)
                limit = f"{limits.fairness_ratio:g} to {1 / limits.fairness_ratio:g} times the rate of all others"
                yield Result("fairness", where, verdict, own_of, what, ratio, limit)


def judge_latency(times: Mapping[int, tuple[Numbers, Numbers]], limits: Limits, where: str, seed: int) -> list[Result]:
    """The 99th percentile of a call beside the present version's; ``times`` has both by the number of rows."""
    limit = f"at most {limits.latency_ratio:g} times the present version's"
    results = []
    for rows, (own, present) in times.items():
        ratio = quantile_ratio(own, present, 0.99, limits.alpha / len(times), seed)
        verdict = _at_most(ratio, limits.latency_ratio)
        results.append(
            Result("latency", f"{counted(rows, 'row')}, {where}", verdict, len(own), "p99 of a call", ratio, limit)
        )
    return results


def judge_freshness(trained_to_ms: int | None, newest_ms: int, limits: Limits) -> Result:
    """How much older the training's newest event is than the holdout's."""
    limit = f"at most {limits.oldest_days:g} days"
    if trained_to_ms is None:
        return Result("freshness", "training", Verdict.INCONCLUSIVE, 0, "its end is not known", _NONE, limit)
    days = (newest_ms - trained_to_ms) / _DAY_MS
    verdict = Verdict.PASS if days <= limits.oldest_days else Verdict.FAIL
    return Result("freshness", "training", verdict, 1, "age in days", Interval(days, days, days), limit)


class Alert(NamedTuple):
    """A drift alert: its id, and the event time at which it was raised, in epoch ms."""

    alert_id: str
    event_time_ms: int


def judge_drift(alerts: Sequence[Alert], trained_to_ms: int | None, limits: Limits) -> Result:
    """Whether drift was seen after the training's end; a training that includes it, or a gates file, closes an alert.

    An alert may be false, so an open one does not refuse the version: somebody must look into it.
    """
    end = -1 if trained_to_ms is None else trained_to_ms
    found = [one for one in alerts if one.event_time_ms > end and one.alert_id not in limits.closed_alerts]
    limit = "a training on the events until then, or their ids in closed_alerts of the gates file"
    if not found:
        return Result("drift", "alerts", Verdict.PASS, len(alerts), "no open alert since the training", _NONE, limit)
    latest = max(found, key=lambda one: one.event_time_ms)
    text = f"{counted(len(found), 'open alert')} since the training, the latest {latest.alert_id}"
    return Result("drift", "alerts", Verdict.INCONCLUSIVE, len(found), text, _NONE, limit)


def judge_robustness(scores: Mapping[str, float], of_holdout: Numbers, failures: Mapping[str, str]) -> list[Result]:
    """Whether the version gives a number for extreme rows, whose scores are here by name, and for the whole holdout.

    ``failures`` has what the version raised, by the name of the row, or for ``all events``; its scores are NaN there.
    """
    without = int((~np.isfinite(of_holdout)).sum())
    on_events = Result(
        "robustness",
        "all events",
        Verdict.FAIL if without else Verdict.PASS,
        len(of_holdout),
        "events without a number",
        Interval(without, without, without),
        "none",
    )
    return [
        on_events,
        *(
            Result(
                "robustness",
                name,
                Verdict.PASS if np.isfinite(score) else Verdict.FAIL,
                1,
                "score",
                Interval(score, score, score),
                "a finite number",
            )
            for name, score in scores.items()
            if name not in failures
        ),
        *(
            Result("robustness", where, Verdict.FAIL, 1, f"it failed: {error}", _NONE, "a finite number")
            for where, error in failures.items()
        ),
    ]


def overall(results: Sequence[Result]) -> Verdict:
    """The worst verdict of the gates that judged; inconclusive if there are none."""
    found = {result.verdict for result in results} - {Verdict.SKIPPED, Verdict.NOT_JUDGED}
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE


def without_skipped(results: Sequence[Result], limits: Limits) -> list[Result]:
    """The results of the gates that are not left out, and one for each that is."""
    skipped = [
        Result(gate, "", Verdict.SKIPPED, 0, "left out by the file of gates", _NONE, "")
        for gate in dict.fromkeys(limits.skip)
    ]
    return [*(one for one in results if one.gate not in limits.skip), *skipped]


_NONE = Interval(float("nan"), float("nan"), float("nan"))


def _not_for_regression(gate: str) -> Result:
    return Result(gate, "all events", Verdict.NOT_JUDGED, 0, "not for a regression", _NONE, "-")


def _loss_name(part: Holdout, limits: Limits) -> str:
    return "squared error" if part.is_regression else f"{limits.loss} loss"


def _losses(part: Holdout, limits: Limits) -> tuple[Numbers, Numbers]:
    loss = "brier" if part.is_regression else limits.loss
    return _loss(part.scores, part.labels, loss), _loss(_present(part), part.labels, loss)


def _costs(part: Holdout, limits: Limits) -> tuple[Numbers, Numbers]:
    def cost(scores: Numbers) -> Numbers:
        positive = scores >= part.threshold
        wrong = np.where(positive, limits.false_positive_cost, limits.false_negative_cost)
        return np.where(positive == part.actual, 0.0, wrong)

    return cost(part.scores), cost(_present(part))


def _present(part: Holdout) -> Numbers:
    """The scores to beat: the present version's, or the mean of the labels if there is none."""
    return np.full(len(part.labels), part.labels.mean()) if part.present is None else part.present


def _loss(scores: Numbers, labels: Numbers, loss: str) -> Numbers:
    if loss == "brier":
        return np.square(scores - labels)
    bounded = np.clip(scores, _LEAST, 1 - _LEAST)
    return -(labels * np.log(bounded) + (1 - labels) * np.log(1 - bounded))


def _no_worse(
    gate: str, what: str, where: str, part: Holdout, losses: tuple[Numbers, Numbers], alpha: float, limits: Limits
) -> Result:
    """Compare paired losses: the mean difference must be surely at most the margin."""
    own, present = losses
    margin = limits.margin * float(present.mean()) if len(present) else 0.0
    difference = mean_interval(own - present, alpha)
    against = "a constant score" if part.present is None else "the present version"
    of = "loss" if gate == "quality" else "cost"
    limit = f"at most {margin:.3g} more than {against}: {limits.margin:.0%} of its {of}"
    # Decisions that are all the same have no spread.
    verdict = Verdict.INCONCLUSIVE if len(own) < 2 else _at_most(difference, margin)
    return Result(gate, where, verdict, len(own), f"{what}, difference", difference, limit)


def _at_most(interval: Interval, limit: float) -> Verdict:
    if interval.high <= limit:
        return Verdict.PASS
    return Verdict.FAIL if interval.low > limit else Verdict.INCONCLUSIVE


def _between(interval: Interval, low: float, high: float) -> Verdict:
    if low <= interval.low and interval.high <= high:
        return Verdict.PASS
    return Verdict.FAIL if interval.low > high or interval.high < low else Verdict.INCONCLUSIVE
