"""The e-detector's false alarms are as rare as its theorem says, and it finds a change of the odds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.quality.e_detector import ODDS, EDetector, EDetectorState, _evidence


def labels_until_alarm(detector: EDetector, odds: float, base: float, most: int, seed: int) -> int | None:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 1 / base - 1, most)
    y = rng.random(most) < odds * p / (1 - p + odds * p)
    for number, (outcome, expected) in enumerate(zip(y.tolist(), p.tolist(), strict=True), start=1):
        if detector.update(float(outcome), expected) is not None:
            return number
    return None


@settings(derandomize=True, deadline=None)
@given(p=st.floats(0, 1), odds=st.sampled_from(ODDS))
def test_the_mean_evidence_is_at_most_one_while_the_probabilities_hold(p, odds):
    mean = p * _evidence(1.0, p, odds) + (1 - p) * _evidence(0.0, p, odds)
    assert 0 < mean <= 1 + 1e-12
    if 1e-6 <= p <= 1 - 1e-6:
        assert mean == pytest.approx(1, abs=1e-9)


@settings(derandomize=True, deadline=None)
@given(p=st.floats(1e-6, 1 - 1e-6), odds=st.sampled_from(ODDS), tolerance=st.floats(1, 3), part=st.floats(-1, 1))
def test_the_mean_evidence_is_at_most_one_while_the_odds_are_within_the_tolerance(p, odds, tolerance, part):
    factor = tolerance**part
    true = factor * p / (1 - p + factor * p)
    mean = true * _evidence(1.0, p, odds, tolerance) + (1 - true) * _evidence(0.0, p, odds, tolerance)
    assert 0 < mean <= 1 + 1e-9


def test_the_mean_number_of_labels_before_a_false_alarm_is_at_least_what_was_asked_for():
    # Cut off at ten times the run length, which only makes the mean smaller.
    every = 200
    runs = [labels_until_alarm(EDetector(every), 1.0, 0.1, 10 * every, seed) or 10 * every for seed in range(100)]
    lower = np.mean(runs) - 1.645 * np.std(runs) / len(runs) ** 0.5
    assert lower >= every


def test_outcomes_that_depend_on_the_past_raise_no_more_false_alarms():
    # The same probability for long stretches, as in correlated traffic.
    every, runs = 200, []
    for seed in range(60):
        rng, detector = np.random.default_rng(seed), EDetector(every)
        p = np.repeat(rng.choice([0.02, 0.3], 40), 50)
        alarms = (n for n, share in enumerate(p.tolist(), 1) if detector.update(float(rng.random() < share), share))
        runs.append(next(alarms, len(p)))
    assert np.mean(runs) - 1.645 * np.std(runs) / len(runs) ** 0.5 >= every


def test_doubled_odds_at_a_base_rate_of_one_percent_are_found_within_some_thousand_labels():
    found = [labels_until_alarm(EDetector(100_000), 2.0, 0.01, 8_000, seed) for seed in range(15)]
    assert 700 <= np.median([8_000 if one is None else one for one in found]) <= 2_500


def test_it_starts_over_after_an_alarm_and_names_the_change():
    detector = EDetector(1_000)
    alarms = [alarm for _ in range(200) if (alarm := detector.update(1.0, 0.1)) is not None]
    assert len(alarms) > 10
    assert {alarm.odds for alarm in alarms} == {4.0}
    assert all(alarm.statistic >= alarm.threshold == 1_000 for alarm in alarms)


def test_an_alarm_says_since_when_and_what_the_labels_were_instead_of_all_since_the_beginning():
    detector = EDetector(100_000)
    assert not any(detector.update(float(n % 10 == 0), 0.1) for n in range(5_000))
    found = next(alarm for n in range(1_000) if (alarm := detector.update(float(n % 3 == 0), 0.1)) is not None)
    assert found.labels - 5_000 - 20 < found.run.labels <= found.labels - 5_000 + 20
    assert found.run.outcomes / found.run.labels == pytest.approx(1 / 3, abs=0.05)
    assert found.run.expected / found.run.labels == pytest.approx(0.1)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(
    outcomes=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)), max_size=60), cut=st.integers(0, 60)
)
def test_restored_from_json_it_goes_on_as_if_it_had_never_stopped(outcomes, cut):
    whole, stopped = EDetector(50), EDetector(50)
    expected = [whole.update(y, p) for y, p in outcomes]
    found = [stopped.update(y, p) for y, p in outcomes[:cut]]
    resumed = EDetector(50)
    resumed.restore(EDetectorState.model_validate_json(stopped.state().model_dump_json()))
    assert found + [resumed.update(y, p) for y, p in outcomes[cut:]] == expected
    assert resumed.state() == whole.state()


@pytest.mark.parametrize(("y", "p"), [(float("nan"), 0.5), (0.0, float("nan")), (2.0, 0.5), (0.0, -0.1)])
def test_what_is_no_outcome_or_no_probability_is_refused_and_changes_nothing(y, p):
    detector = EDetector(100)
    detector.update(1.0, 0.2)
    before = detector.state()
    with pytest.raises(ValueError, match="from 0 to 1"):
        detector.update(y, p)
    assert detector.state() == before


@pytest.mark.parametrize(("every", "tolerance"), [(1, 1), (float("nan"), 1), (100, 0.9), (100, float("nan"))])
def test_a_budget_that_is_none_or_a_tolerance_below_one_is_refused(every, tolerance):
    with pytest.raises(ValueError, match="at least"):
        EDetector(every, tolerance)


def test_a_state_of_other_alternatives_is_refused():
    with pytest.raises(ValueError, match="alternatives"):
        EDetector(100).restore(EDetectorState(labels=1, sums=(1.0,), runs=()))
