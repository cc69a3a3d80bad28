"""The drift detectors keep their budget of false incidents, or refuse it: the quick form of ``make bench-drift``."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.drift import BUDGET, Calm, Kind, calm, delay_of, kept
from tests.bench.drift_peers import equal_threshold, incidents

# A tenth of the records of the benchmark, with as long a reference and budget in days.
PER_DAY, WINDOW, EVERY = 50, 100, 10_000


@pytest.mark.parametrize("stream", ["independent", "ar1_6h", "seasonal", "heavy_tails", "rare_categories"])
def test_the_budget_of_false_incidents_is_kept(stream):
    found = kept([calm(Kind(stream, per_day=PER_DAY, window=WINDOW), seed, EVERY) for seed in range(3)])
    assert found["incidents_mean"] <= BUDGET, found


@pytest.mark.parametrize(("stream", "days"), [("ar1_2d", 2), ("ar1_10d", 10)])
def test_a_budget_that_six_weeks_cannot_support_is_refused_with_the_time_that_it_takes(stream, days):
    courses = [calm(Kind(stream, per_day=PER_DAY, window=WINDOW), seed, EVERY) for seed in range(3)]
    assert all(one.is_refused for one in courses)
    assert np.median([one.needs_days for one in courses]) > 10 * days


def test_the_bound_of_courses_without_an_incident_is_that_of_a_poisson_mean():
    found = kept([Calm(0, (), 0.0)] * 30)
    assert (found["incidents_mean"], found["incidents_upper95"]) == (0, pytest.approx(3 / 30, abs=0.01))
    assert (found["refused"], found["needs_days"]) == (0, None)


def test_a_change_that_most_courses_miss_has_no_median_delay():
    assert delay_of([10, None, None]) == {"records_median": None, "found": pytest.approx(1 / 3)}
    assert delay_of([10, 30, None])["records_median"] == 30


def test_a_peer_at_equal_false_alarms_gives_no_more_incidents_than_are_allowed():
    rng = np.random.default_rng(1)
    places, calms = range(500, 20_001, 50), [rng.normal(size=391).tolist() for _ in range(4)]
    threshold = equal_threshold(places, calms, 3)
    assert sum(incidents(places, one, threshold) for one in calms) <= 3
    assert sum(incidents(places, one, threshold - 0.5) for one in calms) > 3
