"""The measures agree with scikit-learn within the width of bins, and their intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from scoring.quality.histograms import Entry, Histogram
from scoring.quality.measures import Classes, auc_resolution, expect, measure
from tests.scoring.quality.quality_worlds import facts

FACTS = facts()


def histogram(scores, truth, decided=None):
    found = Histogram()
    for place, (score, positive) in enumerate(zip(scores, truth, strict=True)):
        rest = FACTS.bin_of(score), round(score * 1e9), bool(score >= 0.5 if decided is None else decided[place])
        found.add(Entry("scored", *rest))
        found.add(Entry("positive" if positive else "negative", *rest))
    return found


def world(seed, n=4_000, rate=-2.0, noise=1.0):
    """Calibrated scores of a rare class, and their outcomes."""
    rng = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-rng.normal(rate, noise, n)))
    return scores, rng.random(n) < scores


@pytest.mark.parametrize(("seed", "rate", "noise"), [(1, -2.0, 1.0), (2, -5.0, 1.5), (3, 0.0, 3.0), (4, -1.0, 0.05)])
def test_measures_are_those_of_scikit_learn_within_the_binning(seed, rate, noise):
    scores, truth = world(seed, rate=rate, noise=noise)
    part = [("1", histogram(scores, truth))]
    found = measure(part, FACTS.first_positive)
    resolution = auc_resolution(part)
    assert abs(found["auc"].estimate - roc_auc_score(truth, scores)) <= resolution + 1e-12
    assert abs(found["auc"].estimate - roc_auc_score(truth, scores)) < 0.005
    assert resolution < 0.03 or noise < 0.1
    assert found["brier"].estimate == pytest.approx(brier_score_loss(truth, scores), abs=2e-4)
    assert found["log_loss"].estimate == pytest.approx(log_loss(truth, scores), abs=2e-3)
    assert found["average_precision"].estimate == pytest.approx(average_precision_score(truth, scores), abs=0.03)
    flagged = scores >= 0.5
    assert found["recall"].estimate == pytest.approx((flagged & truth).sum() / truth.sum(), abs=1e-12)
    if flagged.any():
        assert found["precision"].estimate == pytest.approx((flagged & truth).sum() / flagged.sum(), abs=1e-12)
    assert found["positive_rate"].estimate == pytest.approx(truth.mean(), abs=1e-12)
    assert found["decision_rate"].estimate == pytest.approx(flagged.mean(), abs=1e-12)
    assert found["cost"].estimate == pytest.approx((flagged != truth).mean(), abs=1e-12)


@pytest.mark.parametrize(("rate", "base"), [(-6.3, 0.01), (-9.2, 0.0007)])
def test_bins_are_fine_enough_for_the_scores_of_a_rare_class(rate, base):
    scores, truth = world(1, n=60_000, rate=rate, noise=2.0)
    assert truth.mean() == pytest.approx(base, rel=0.3)
    found = measure([("1", histogram(scores, truth))], FACTS.first_positive)["auc"].estimate
    assert abs(found - roc_auc_score(truth, scores)) < 0.001


def test_scores_that_are_centres_of_bins_give_scikit_learns_numbers_exactly():
    rng = np.random.default_rng(5)
    scores = rng.choice([0.02, 0.2, 0.4, 0.7, 0.95], 500)
    truth = rng.random(500) < scores
    found = measure([("1", histogram(scores, truth))], FACTS.first_positive, (1.0, 5.0))
    assert found["auc"].estimate == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found["average_precision"].estimate == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found["brier"].estimate == pytest.approx(brier_score_loss(truth, scores), abs=1e-9)
    assert found["log_loss"].estimate == pytest.approx(log_loss(truth, scores), abs=1e-9)
    by_score = [(scores == s).sum() * abs(truth[scores == s].mean() - s) for s in np.unique(scores)]
    assert found["calibration_error"].estimate == pytest.approx(sum(by_score) / 500, abs=1e-9)
    flagged = scores >= 0.5
    assert found["cost"].estimate == pytest.approx((1 * (flagged & ~truth) + 5 * (~flagged & truth)).mean())


@pytest.fixture(scope="module")
def many_worlds():
    """Of all events of a world, and of 60 samples of it."""
    first = FACTS.first_positive
    whole = measure([("1", histogram(*world(99, n=30_000, rate=-1.0)))], first)
    return whole, [measure([("1", histogram(*world(seed, n=400, rate=-1.0)))], first) for seed in range(60)]


@pytest.mark.parametrize("name", ["auc", "brier", "log_loss", "recall", "positive_rate", "cost", "average_precision"])
def test_an_interval_has_the_truth_in_about_95_of_100_worlds(many_worlds, name):
    whole, samples = many_worlds
    inside = sum(one[name].low <= whole[name].estimate <= one[name].high for one in samples)
    assert 52 <= inside <= 60


def test_what_is_expected_of_calibrated_scores_is_what_comes():
    scores, truth = world(7, n=20_000, rate=-1.0)
    one = histogram(scores, truth)
    found, expected = measure([("1", one)], FACTS.first_positive), expect([one], FACTS.first_positive)
    for name, interval in expected.items():
        assert interval.estimate == pytest.approx(found[name].estimate, abs=0.02), name


def test_what_is_expected_does_not_see_that_the_outcome_has_changed_its_meaning():
    scores, truth = world(7, n=4_000)
    assert expect([histogram(scores, truth)], FACTS.first_positive) == expect(
        [histogram(scores, ~truth)], FACTS.first_positive
    )


def test_explored_events_stand_for_those_whose_outcome_is_hidden():
    scores, truth = world(12, n=20_000, rate=0.0)
    rng = np.random.default_rng(1)
    is_high = scores >= 0.5
    explored = is_high & (rng.random(len(scores)) < 0.1)
    seen, hidden = ~is_high, is_high & ~explored
    parts = [("1", histogram(scores[seen], truth[seen])), ("0.1", histogram(scores[explored], truth[explored]))]
    parts.append(("hidden", histogram(scores[hidden], truth[hidden])))
    found, of_all = (
        measure(parts, FACTS.first_positive),
        measure([("1", histogram(scores, truth))], FACTS.first_positive),
    )
    for name in ("auc", "recall", "precision", "positive_rate", "brier"):
        estimate, low, high = found[name]
        assert abs(estimate - of_all[name].estimate) <= 0.75 * (high - low), name
    naive = measure(parts[:1], FACTS.first_positive)
    assert abs(naive["auc"].estimate - of_all["auc"].estimate) > 0.05


def test_a_stratum_of_a_tenth_weighs_ten_times():
    one = histogram([0.1, 0.9], [False, True])
    classes = Classes.of([("0.1", one), ("hidden", one), ("other", one)])
    assert classes.weights.sum() == pytest.approx(20)
    assert classes.effective == pytest.approx((1, 1))


def test_without_events_of_a_class_there_is_no_auc_and_without_any_nothing():
    empty = measure([], FACTS.first_positive)
    assert all(np.isnan(interval.estimate) for interval in empty.values())
    negative = measure([("1", histogram([0.1, 0.2], [False, False]))], FACTS.first_positive)
    assert np.isnan(negative["auc"].estimate)
    assert negative["positive_rate"].estimate == 0


def test_a_perfect_auc_of_few_events_has_a_wide_interval():
    found = measure([("1", histogram([0.1] * 5 + [0.9] * 5, [False] * 5 + [True] * 5))], FACTS.first_positive)["auc"]
    assert (found.estimate, found.high) == (1, 1)
    assert found.low < 0.7


def test_the_interval_of_the_auc_is_delongs_pair_by_pair():
    rng = np.random.default_rng(3)
    scores = rng.choice([0.1, 0.3, 0.8], 60)
    truth = rng.random(60) < scores
    positive, negative = scores[truth], scores[~truth]
    pairs = (positive[:, None] > negative[None, :]) + (positive[:, None] == negative[None, :]) / 2
    auc = pairs.mean()
    error = np.sqrt(sum(pairs.mean(axis=axis).var(ddof=1) / pairs.shape[1 - axis] for axis in (0, 1)))
    logit, reach = np.log(auc / (1 - auc)), 1.959964 * error / (auc * (1 - auc))
    found = measure([("1", histogram(scores, truth))], FACTS.first_positive)["auc"]
    expected = (auc, 1 / (1 + np.exp(reach - logit)), 1 / (1 + np.exp(-logit - reach)))
    assert tuple(found) == pytest.approx(expected, abs=1e-6)
