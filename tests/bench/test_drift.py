"""The drift detectors keep their budget of false incidents, or refuse it: the quick form of ``make bench-drift``."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.drift import delay_of, kept, report_of
from tests.bench.drift_courses import BUDGET, KINDS, Calm, Delay, Kind, calm
from tests.bench.drift_peers import equal_threshold, incidents
from tests.bench.drift_streams import CHANGES

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


def test_incidents_that_come_in_bursts_have_a_wider_bound_than_as_many_that_are_spread():
    spread, bursts = [Calm(1, (), 0.0)] * 30, [Calm(10 * (seed % 10 == 0), (), 0.0) for seed in range(30)]
    assert kept(spread)["incidents_mean"] == kept(bursts)["incidents_mean"] == 1
    assert 1.3 < kept(spread)["incidents_upper95"] < 1.5
    assert kept(bursts)["incidents_upper95"] > 1.9


def test_what_accepted_courses_gave_is_also_told_without_the_refused_ones():
    refused = Calm(0, ("adwin", "page_hinkley", "psi", "kl"), 63.0)
    found = kept([Calm(3, ("adwin",), 0.0), Calm(5, (), 0.0), *[refused] * 8])
    assert (found["incidents_mean"], found["accepted"]["incidents_mean"]) == (0.8, 4)
    assert (found["refused"], found["needs_days"]) == (8, 63)
    assert kept([refused, refused])["accepted"] is None


def test_a_change_that_most_courses_miss_has_no_median_delay():
    missed = [Delay(10, 0), Delay(None, 1), Delay(None, 0)]
    assert delay_of(missed)["records_median"] is None
    assert delay_of(missed)["found"] == pytest.approx(1 / 3)
    assert delay_of([Delay(10, 0), Delay(30, 0), Delay(None, 0)])["records_median"] == 30


def test_the_report_is_of_the_wanted_seeds_that_were_measured():
    kind, change = next(iter(KINDS)), next(iter(CHANGES))
    results = {("calm", kind, seed): Calm(seed, (), 0.0)._asdict() for seed in (1, 2, 9)}
    results |= {("change", change, seed): Delay(100 * seed, 0)._asdict() for seed in (1, 2)}
    scores = {"places": [2_000, 12_001, 1_000], "calm": [0.5] * 11}
    # Its default misses the change; with no more false incidents than Penstock, none, it finds it after 999 records.
    scored = {("evidently", change, 1): {**scores, "changed": [0.5, *[0.9] * 10]}}
    report = report_of(results, scored, [*KINDS], range(1, 4), range(1, 2))
    assert report["kinds"].keys() == {kind}
    assert (report["kinds"][kind]["incidents_mean"], report["kinds"][kind]["seeds"]) == (1.5, 2)
    assert report["delays"][change]["records_median"] == 100
    peer = report["peers"]["evidently"][change]
    assert (peer["penstock_records_median"], peer["default"]["records_median"]) == (100, None)
    assert peer["equal_false_alarms"]["records_median"] == 999
    assert peer["equal_false_alarms"]["false_incidents_per_budget"] == 0


def test_a_peer_at_equal_false_alarms_gives_no_more_incidents_than_are_allowed():
    rng = np.random.default_rng(1)
    places, calms = np.arange(500, 20_001, 50), [rng.normal(size=391) for _ in range(4)]
    threshold = equal_threshold(places, calms, 3)
    assert sum(incidents(places, one, threshold) for one in calms) <= 3
    assert sum(incidents(places, one, threshold - 0.5) for one in calms) > 3


def test_a_threshold_that_is_always_exceeded_is_not_taken_for_one_with_few_incidents():
    # Every third place stands out: four incidents between thresholds of 0 and 1, and a single one below 0.
    places, scores = np.arange(0, 6_000, 500), np.array([1.0, 0.0, 0.0] * 4)
    assert (incidents(places, scores, 0.5), incidents(places, scores, -1.0)) == (4, 1)
    assert equal_threshold(places, [scores], 3) == 1
