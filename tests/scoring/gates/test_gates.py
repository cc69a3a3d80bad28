"""The gates pass what is as good, refuse what is worse by the gate that sees it, and say when they cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from scoring.gates.gates import (
    Alert,
    Holdout,
    Limits,
    Result,
    Verdict,
    judge_calibration,
    judge_drift,
    judge_fairness,
    judge_freshness,
    judge_latency,
    judge_quality,
    judge_robustness,
    overall,
)
from scoring.gates.statistics import Interval

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
N = 6_000
SLICE = N // 5


def holdout(seed: int = 1, n: int = N, *, groups: dict[str, Sequence[object]] | None = None) -> Holdout:
    """Events whose true probability is known, with a present version that has it."""
    rng = np.random.default_rng(seed)
    truth = 1 / (1 + np.exp(-rng.normal(-1, 1.5, n)))
    labels = (rng.random(n) < truth).astype(np.float64)
    return Holdout(np.arange(n, dtype=np.int64), labels, truth.copy(), truth, 0.5, groups or {})


def worse(data: Holdout, rows: slice | np.ndarray, by: float = 0.5) -> Holdout:
    """The scores of these rows pulled towards the opposite."""
    scores = data.scores.copy()
    scores[rows] = (1 - by) * scores[rows] + by * (1 - data.labels[rows])
    return data._replace(scores=scores)


def failed(results: Sequence[Result]) -> set[tuple[str, str]]:
    return {(one.gate, one.where) for one in results if one.verdict is FAIL}


def test_the_present_versions_own_scores_pass_every_gate_of_quality() -> None:
    results = judge_quality(holdout(), Limits())
    assert {one.verdict for one in results} == {PASS}
    assert [one.where for one in results[::2]] == ["all events", *(f"slice {k} of 5" for k in range(1, 6))]


@pytest.mark.parametrize("loss", ["brier", "log"])
def test_a_version_that_is_worse_in_one_slice_only_is_refused_by_that_slice(loss: str) -> None:
    data = worse(holdout(), slice(2 * SLICE, 3 * SLICE), by=0.3)
    results = judge_quality(data, Limits(loss=loss, margin=0.2))
    assert ("quality", "slice 3 of 5") in failed(results)
    assert {where for _, where in failed(results)} <= {"slice 3 of 5", "all events"}


def test_a_version_that_is_slightly_worse_within_the_margin_passes_and_a_strict_margin_is_inconclusive() -> None:
    data = holdout()
    noisy = data._replace(scores=np.clip(data.scores + np.random.default_rng(2).normal(0, 0.03, N), 0.001, 0.999))
    assert {one.verdict for one in judge_quality(noisy, Limits(slices=1)) if one.gate == "quality"} == {PASS}
    (strict,) = (
        one for one in judge_quality(noisy.rows(slice(300)), Limits(slices=1, margin=0)) if one.gate == "quality"
    )
    assert strict.verdict is UNSURE


def test_equal_scores_are_refused_seldom_whatever_chance_does() -> None:
    def refused(seed: int) -> bool:
        data = holdout(seed, 1_000)
        rng = np.random.default_rng(seed + 1_000)
        both = [np.clip(data.scores + rng.normal(0, 0.05, 1_000), 0.001, 0.999) for _ in range(2)]
        return bool(failed(judge_quality(data._replace(scores=both[0], present=both[1]), Limits(margin=0.0))))

    # By alpha / 2 for each of quality and cost, over all events and over the slices together: at most 0.1.
    assert sum(refused(seed) for seed in range(200)) / 200 <= 0.1


def test_costs_of_wrong_decisions_decide_which_version_is_worse() -> None:
    data = holdout()
    eager = data._replace(scores=np.minimum(data.scores + 0.3, 0.999))
    costly, cheap = Limits(slices=1, false_positive_cost=10), Limits(slices=1, false_positive_cost=0)
    assert [one.verdict for one in judge_quality(eager, costly) if one.gate == "cost"] == [FAIL]
    assert [one.verdict for one in judge_quality(eager, cheap) if one.gate == "cost"] == [PASS]


def test_without_a_present_version_a_constant_score_must_be_beaten() -> None:
    data = holdout()._replace(present=None)
    assert {one.verdict for one in judge_quality(data, Limits(slices=1))} == {PASS}
    shuffled = data._replace(scores=np.random.default_rng(3).permutation(data.scores))
    assert ("quality", "all events") in failed(judge_quality(shuffled, Limits(slices=1)))


def test_calibrated_scores_pass_and_others_are_refused_by_slope_or_error() -> None:
    data = holdout()
    assert {one.verdict for one in judge_calibration(data, Limits())} == {PASS}
    logit = np.log(data.scores / (1 - data.scores))
    extreme, shifted = 1 / (1 + np.exp(-2 * logit)), 1 / (1 + np.exp(-(logit + 1)))
    slope, _ = judge_calibration(data._replace(scores=extreme), Limits())
    assert (slope.measured, slope.verdict) == ("slope", FAIL)
    _, error = judge_calibration(data._replace(scores=shifted), Limits())
    assert (error.measured, error.verdict) == ("error", FAIL)


def test_few_events_of_a_class_are_inconclusive() -> None:
    (only,) = judge_calibration(holdout(n=150), Limits())
    assert (only.gate, only.verdict) == ("calibration", UNSURE)


def test_a_version_that_is_unfair_to_one_group_is_refused_for_it_and_a_fair_one_is_not() -> None:
    group = np.where(np.arange(N) % 3 == 0, "x", "y")
    data = holdout(groups={"event.country": group.tolist()})
    assert failed(list(judge_fairness(data, Limits(fairness_ratio=0.6)))) == set()
    unfair = data._replace(scores=np.where(group == "x", np.minimum(data.scores + 0.3, 0.999), data.scores))
    found = failed(list(judge_fairness(unfair, Limits())))
    assert found == {("fairness", "event.country=x"), ("fairness", "event.country=y")}


def test_a_group_with_few_positive_events_is_inconclusive_and_one_group_alone_is_not_compared() -> None:
    rare = ["x"] * 50 + ["y"] * (N - 50)
    results = list(judge_fairness(holdout(groups={"event.country": rare}), Limits()))
    assert {one.verdict for one in results} == {UNSURE}
    assert list(judge_fairness(holdout(groups={"event.country": ["x"] * N}), Limits())) == []


def test_a_slow_version_is_refused_and_one_as_fast_passes() -> None:
    rng = np.random.default_rng(1)
    times = rng.normal(1, 0.01, 500)
    slow, same = (
        judge_latency({64: (1.5 * times, times)}, Limits(), "here", 1),
        judge_latency({64: (times, times)}, Limits(), "here", 1),
    )
    assert [one.verdict for one in (*slow, *same)] == [FAIL, PASS]
    assert slow[0].where == "64 rows, here"


@pytest.mark.parametrize(("days", "verdict"), [(1, PASS), (31, FAIL), (None, UNSURE)])
def test_an_old_training_is_refused(days: int | None, verdict: Verdict) -> None:
    newest = 100 * 86_400_000
    assert judge_freshness(None if days is None else newest - days * 86_400_000, newest, Limits()).verdict is verdict


def test_a_version_without_a_number_for_a_row_is_refused() -> None:
    results = judge_robustness({"only nulls": float("nan"), "zeros": 0.5}, np.array([0.5, np.nan]), {})
    assert failed(results) == {("robustness", "only nulls"), ("robustness", "all events")}


def test_the_worst_verdict_counts_and_nothing_is_inconclusive() -> None:
    def result(verdict: Verdict) -> Result:
        return Result("quality", "all events", verdict, 1, "x", Interval(0, 0, 0), "y")

    assert overall([result(PASS)]) is PASS
    assert overall([result(PASS), result(UNSURE)]) is UNSURE
    assert overall([result(UNSURE), result(FAIL), result(PASS)]) is FAIL
    assert overall([]) is UNSURE


@pytest.mark.parametrize(
    ("trained_to_ms", "closed", "verdict"),
    [(100, (), PASS), (99, (), UNSURE), (None, (), UNSURE), (99, ("a",), PASS), (49, ("a",), UNSURE)],
)
def test_a_drift_alert_is_open_until_a_training_includes_it_or_somebody_closed_it(
    trained_to_ms: int | None, closed: tuple[str, ...], verdict: Verdict
) -> None:
    alerts = [Alert("b", 50), Alert("a", 100)]
    assert judge_drift(alerts, trained_to_ms, Limits(closed_alerts=closed)).verdict is verdict


def test_an_open_drift_alert_is_named() -> None:
    found = judge_drift([Alert("a", 100), Alert("b", 50)], 10, Limits())
    assert found.measured == "2 open alerts since the training, the latest a"


def values(seed: int = 1, n: int = N) -> Holdout:
    """Values around their true means, far from probabilities, with a present version that gives these means."""
    rng = np.random.default_rng(seed)
    means = rng.normal(100, 20, n)
    labels = means + rng.normal(0, 5, n)
    return Holdout(np.arange(n, dtype=np.int64), labels, means.copy(), means, 110.0, {}, is_regression=True)


def test_a_regression_is_judged_by_its_squared_error_and_by_decisions_at_the_threshold() -> None:
    results = judge_quality(values(), Limits(loss="log"))
    assert {one.verdict for one in results} == {PASS}
    assert {one.measured for one in results} == {"squared error, difference", "cost of a decision, difference"}
    shifted = values()
    shifted = shifted._replace(scores=shifted.scores + np.where(np.arange(N) < SLICE, 8, 0))
    assert ("quality", "slice 1 of 5") in failed(judge_quality(shifted, Limits()))
    assert ("cost", "slice 1 of 5") in failed(judge_quality(shifted, Limits()))
    assert ("quality", "slice 2 of 5") not in failed(judge_quality(shifted, Limits()))


def test_without_a_present_version_a_regression_must_beat_the_mean() -> None:
    alone = values()._replace(present=None)
    assert failed(judge_quality(alone, Limits())) == set()
    assert ("quality", "all events") in failed(judge_quality(alone._replace(scores=np.zeros(N)), Limits()))


def test_calibration_and_fairness_are_not_judged_for_a_regression_and_do_not_decide() -> None:
    data = values()._replace(groups={"event.country": ["x", "y"] * (N // 2)})
    results = [*judge_calibration(data, Limits()), *judge_fairness(data, Limits())]
    assert [(one.gate, one.verdict, one.measured) for one in results] == [
        ("calibration", Verdict.NOT_JUDGED, "not for a regression"),
        ("fairness", Verdict.NOT_JUDGED, "not for a regression"),
    ]
    assert overall([*results, *judge_quality(data, Limits())]) is PASS
    assert overall(results) is UNSURE
