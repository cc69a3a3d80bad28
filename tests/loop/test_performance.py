from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from loop.performance import Calibration, Errors, Estimate, expected, realised
from tests.loop.worlds import values_world, world


def test_scores_that_promise_no_positive_at_all_rank_nothing():
    before = world(1, 4_000)
    low = replace(before, scores=np.full(len(before), 1e-9))
    calibration = Calibration(np.array([0.01]), np.array([0.0, 0.3]))
    found = expected(low, calibration)
    assert found is not None
    assert found.value == 0.5


EVENTS = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=60)


@settings(derandomize=True, deadline=None)
@given(EVENTS)
def test_a_calibration_is_the_isotonic_regression_of_its_bins(events):
    scores, labels = (np.array(values, float) for values in zip(*events, strict=True))
    found = Calibration.of(scores, labels)
    bins = np.searchsorted(found.edges, scores, side="left").astype(float)
    assert found(scores) == pytest.approx(IsotonicRegression().fit(bins, labels).predict(bins))


def test_what_scores_promise_is_what_labels_show_while_scores_mean_the_same():
    before, now = world(1, 40_000), world(2, 40_000, spread=0.6)
    calibration = Calibration.of(before.scores, before.labels)
    promised, shown = expected(now, calibration), realised(now)
    assert promised is not None
    assert shown is not None
    assert abs(promised.value - shown.value) < 3 * np.hypot(promised.error, shown.error) + 0.01


def test_without_thirty_of_each_class_nothing_is_said():
    assert realised(world(1, 300)) is None


def test_a_fall_is_more_than_chance_and_enough_to_matter():
    assert Estimate(0.80, 0.005).falls_below(Estimate(0.85, 0.005))
    assert not Estimate(0.80, 0.02).falls_below(Estimate(0.85, 0.02))
    assert not Estimate(0.849, 0.0).falls_below(Estimate(0.85, 0.0))


def test_the_skill_that_values_promise_is_what_labels_show_while_errors_depend_on_the_value_as_before():
    errors = Errors.of(values_world(1, 20_000))
    assert errors is not None
    for moved in (0.0, 1.0):
        now = values_world(2, 20_000, moved=moved)
        promised, shown = errors.expected(now), errors.realised(now)
        assert promised is not None
        assert shown is not None
        assert abs(promised.value - shown.value) < 3 * np.hypot(promised.error, shown.error)
        oracle = np.abs(now.labels - now.scores).mean() / errors.spread
        assert shown.value == pytest.approx(1 - oracle)


def test_of_too_few_labels_or_of_labels_that_are_all_alike_no_skill_is_said():
    assert Errors.of(values_world(1, 59)) is None
    same = values_world(1, 100)
    assert Errors.of(replace(same, labels=np.ones(100))) is None
