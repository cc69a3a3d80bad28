"""Thresholds are rarely exceeded without a change, even by autocorrelated data, and low enough to detect one."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import pytest
from river.drift import PageHinkley

from penstock.errors import PenstockError
from streams.definitions.monitors import Monitors
from streams.drift.calibration import (
    BINS,
    MonitorSeries,
    bin_edges,
    calibrate,
    return_level,
)
from streams.drift.detectors import PAGE_HINKLEY_DELTA, MonitorDetectors, page_hinkley_statistic
from streams.drift.drift_reference import DriftReference, MonitorReference
from streams.drift.resampling import page_hinkley_peak

DAY_MS = 86_400_000
PER_DAY = 250
MONITORS = Monitors(inputs=("a.calm", "a.wave", "a.sticky"), score=False, window=200, false_alarm_every=10_000)


def stationary(days: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float64]]:
    """Independent values with nulls, values with a daily rhythm, and values autocorrelated over an hour or two."""
    rows = days * PER_DAY
    calm = rng.normal(5, 2, rows)
    calm[rng.random(rows) < 0.05] = np.nan
    wave = np.sin(np.arange(rows) * 2 * np.pi / PER_DAY) + rng.normal(0, 1, rows)
    sticky, noise = np.zeros(rows), rng.normal(0, 1, rows)
    for at in range(1, rows):
        sticky[at] = 0.9 * sticky[at - 1] + noise[at]
    return {"a.calm": calm, "a.wave": wave, "a.sticky": sticky}


def reference_of(values: dict[str, npt.NDArray[np.float64]], monitors: Monitors = MONITORS) -> DriftReference:
    rows = len(values["a.calm"])
    times = np.arange(rows) * (DAY_MS // PER_DAY)
    partitions = np.zeros(rows, dtype=np.int64)
    series = [MonitorSeries(name, times, partitions, value) for name, value in values.items()]
    return calibrate("p", "m", monitors, series, until_ms=int(times[-1]), warm_up_ms=0, seed=1)


def alarms(reference: MonitorReference, window: int, values: npt.NDArray[np.float64]) -> list[str]:
    detectors = MonitorDetectors(reference, window)
    return [crossing.detector for _, crossing in detectors.update(values)]


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    return reference_of(stationary(20, np.random.default_rng(7)))


def test_without_a_change_false_alarms_are_about_as_rare_as_requested(reference):
    rng, events = np.random.default_rng(8), 0
    found: list[str] = []
    for _ in range(8):
        values = stationary(20, rng)
        events += 20 * PER_DAY
        for monitor in reference.monitors:
            found += alarms(monitor, reference.window, values[monitor.name])
    # 40,000 events, for which four false alarms are permitted.
    assert events / MONITORS.false_alarm_every == 4
    assert len(found) <= 4, found


@pytest.mark.parametrize(
    ("name", "shift"), [("a.calm", 2.0), ("a.wave", 1.2), ("a.sticky", 4.5)], ids=["calm", "wave", "sticky"]
)
def test_a_shift_of_the_mean_is_detected_by_several_detectors(reference, name, shift):
    monitor = reference.monitor(name)
    values = stationary(4, np.random.default_rng(9))[name] + shift
    before = stationary(4, np.random.default_rng(10))[name]
    assert set(alarms(monitor, reference.window, np.concatenate([before, values]))) >= {"adwin", "psi"}


def test_more_missing_values_are_detected(reference):
    values = stationary(4, np.random.default_rng(9))["a.calm"]
    values[np.random.default_rng(1).random(len(values)) < 0.3] = np.nan
    assert "missing" in alarms(reference.monitor("a.calm"), reference.window, values)


def test_rarer_false_alarms_and_more_monitors_raise_the_thresholds():
    values = stationary(6, np.random.default_rng(7))
    few = reference_of(values, MONITORS.model_copy(update={"inputs": ("a.calm",)})).monitor("a.calm").thresholds
    many = reference_of(values).monitor("a.calm").thresholds
    rarer = (
        reference_of(values, MONITORS.model_copy(update={"false_alarm_every": 10_000_000})).monitor("a.calm").thresholds
    )
    assert few.psi < many.psi < rarer.psi
    assert few.page_hinkley < many.page_hinkley < rarer.page_hinkley
    assert few.adwin_delta >= many.adwin_delta >= rarer.adwin_delta


def test_autocorrelated_values_get_higher_thresholds_than_independent_ones(reference):
    calm, sticky = (reference.monitor(name).thresholds for name in ("a.calm", "a.sticky"))
    assert sticky.psi > 2 * calm.psi
    assert sticky.page_hinkley > 2 * calm.page_hinkley
    assert sticky.adwin_delta < calm.adwin_delta


def test_the_same_data_and_seed_give_the_same_reference():
    values = stationary(2, np.random.default_rng(7))
    assert reference_of(values).hash == reference_of(values).hash


def test_values_of_any_size_and_sign_are_watched_like_small_ones(reference):
    large = reference_of({name: 1e6 * value - 5e6 for name, value in stationary(20, np.random.default_rng(7)).items()})
    for one, other in zip(large.monitors, reference.monitors, strict=True):
        assert one.thresholds.model_dump() == pytest.approx(other.thresholds.model_dump(), rel=1e-6)
    shifted = stationary(20, np.random.default_rng(9))["a.wave"] + 1.2
    found = alarms(reference.monitor("a.wave"), reference.window, shifted)
    assert found
    assert alarms(large.monitor("a.wave"), large.window, 1e6 * shifted - 5e6) == found


def test_held_out_values_raise_no_alarm():
    rng = np.random.default_rng(3)
    rows = 10 * PER_DAY
    times, partitions = np.arange(rows) * (DAY_MS // PER_DAY), np.arange(rows) % 2
    learnt, unseen = rng.normal(0, 1, rows), rng.normal(0.6, 1, 600)
    late = slice(rows - 600, None)
    held_out = MonitorSeries("score", times[late], partitions[late], unseen)
    monitors = Monitors(window=100, false_alarm_every=10_000)
    with_it, without = (
        calibrate(
            "p", "m", monitors, [MonitorSeries("score", times, partitions, learnt, h)], until_ms=0, warm_up_ms=0, seed=0
        ).monitors[0]
        for h in (held_out, None)
    )
    psis = [[d for d in alarms(one, 100, unseen[::2]) if d in ("psi", "kl")] for one in (with_it, without)]
    assert psis[0] == []
    assert psis[1] != []


def test_the_warm_up_is_left_out_if_enough_rows_remain():
    rng = np.random.default_rng(3)
    rows = 10 * PER_DAY
    values = rng.normal(0, 1, rows)
    values[: 2 * PER_DAY] = 100.0  # windows that were filling up
    times = np.arange(rows) * (DAY_MS // PER_DAY)
    series = [MonitorSeries("score", times, np.zeros(rows, dtype=np.int64), values)]
    monitors = Monitors(window=100, false_alarm_every=10_000)
    settled, kept = (
        calibrate("p", "m", monitors, series, until_ms=0, warm_up_ms=warm_up, seed=0).monitors[0]
        for warm_up in (2 * DAY_MS, 8 * DAY_MS)
    )
    assert abs(settled.mean) < 0.1
    assert kept.mean > 10


def test_too_few_rows_are_an_error_that_names_the_monitor():
    series = [MonitorSeries("score", np.arange(50), np.zeros(50, dtype=np.int64), np.zeros(50))]
    with pytest.raises(PenstockError, match="score"):
        calibrate("p", "m", Monitors(), series, until_ms=0, warm_up_ms=0, seed=0)


def test_a_constant_or_empty_monitor_has_a_reference():
    rows = 2_000
    times, partitions = np.arange(rows) * 1_000, np.zeros(rows, dtype=np.int64)
    for values in (np.full(rows, 3.0), np.full(rows, np.nan)):
        monitors = Monitors(window=100, false_alarm_every=10_000)
        series = [MonitorSeries("score", times, partitions, values)]
        one = calibrate("p", "m", monitors, series, until_ms=0, warm_up_ms=0, seed=0).monitors[0]
        assert alarms(one, 100, values) == []
        assert alarms(one, 100, np.full(500, 9.0)) != []


def test_few_distinct_values_get_a_bin_each_and_many_get_equally_filled_bins():
    edges = bin_edges(np.array([0.0, 1.0, 1.0, 1.0]))
    assert np.searchsorted(edges, [-1.0, 0.0, 1.0, 2.0]).tolist() == [0, 1, 2, 3]
    assert bin_edges(np.array([])) == ()
    values = np.random.default_rng(1).normal(0, 1, 10_000)
    edges = bin_edges(values)
    counts = np.bincount(np.searchsorted(edges, values))
    assert len(counts) == BINS
    assert counts.min() > 900


def test_the_quantile_of_the_maximum_is_that_of_a_gumbel_distribution():
    maxima = np.random.default_rng(1).gumbel(10, 2, 20_000)
    # A level that is exceeded once in 10,000 records is exceeded by one in a hundred runs of 100 records.
    assert return_level(maxima, 100, 10_000) == pytest.approx(10 - 2 * np.log(-np.log(0.99)), rel=0.02)


def test_the_peak_of_page_hinkley_is_that_of_river():
    values = np.random.default_rng(1).normal(0, 1, 3_000).tolist()
    detector, peak = PageHinkley(delta=PAGE_HINKLEY_DELTA, threshold=1e9, alpha=1.0), 0.0
    for number, value in enumerate(values, start=1):
        detector.update(value)
        if number >= detector.min_instances:
            peak = max(peak, page_hinkley_statistic(detector))
    assert page_hinkley_peak(values) == pytest.approx(peak)


def ar1(days: int, correlated_days: float, seed: int) -> npt.NDArray[np.float64]:
    rng, kept = np.random.default_rng(seed), np.exp(-1 / (correlated_days * PER_DAY))
    values = rng.normal(size=days * PER_DAY)
    for at in range(1, len(values)):
        values[at] = kept * values[at - 1] + np.sqrt(1 - kept**2) * values[at]
    return values


def reference_of_one(values: npt.NDArray[np.float64], *, same_hour_of_week: bool = False) -> DriftReference:
    times = np.arange(len(values)) * (DAY_MS // PER_DAY)
    series = [MonitorSeries("score", times, np.zeros(len(values), dtype=np.int64), values)]
    monitors = Monitors(window=200, false_alarm_every=10_000, same_hour_of_week=same_hour_of_week)
    return calibrate("p", "m", monitors, series, until_ms=0, warm_up_ms=0, seed=0)


def test_values_correlated_for_days_are_refused_with_the_reference_that_they_take_and_never_fire():
    found = reference_of_one(ar1(30, 2.0, 1))
    (monitor,) = found.monitors
    assert {*monitor.refused} == {"adwin", "page_hinkley", "psi", "kl"}
    assert monitor.needs_ms > 30 * DAY_MS
    assert alarms(monitor, 200, np.full(2_000, 50.0)) == []
    assert "missing" in alarms(monitor, 200, np.full(2_000, np.nan))  # that no value was ever null is well known
    (refusal,) = found.refusals()
    assert "score by adwin, page_hinkley, psi, kl" in refusal
    assert "a reference of at least" in refusal


def test_the_reference_file_has_the_hash_that_the_reference_has_and_old_files_keep_theirs():
    for found in (reference_of_one(ar1(30, 2.0, 1)), reference_of_one(np.arange(2_000.0) % 7)):
        content = json.loads(found.artifacts()["drift.json"])
        assert DriftReference.model_validate(content).hash == found.hash
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == found.hash
    assert "refused" not in content["monitors"][0]


def test_with_the_same_hour_of_the_week_as_reference_a_rhythm_is_no_drift_and_its_loss_is():
    rng = np.random.default_rng(1)
    times = np.arange(63 * PER_DAY) * (DAY_MS // PER_DAY)
    rhythm = 4 * np.sin(2 * np.pi * times / DAY_MS)
    values = rhythm + rng.normal(size=len(times))
    before, live = values[: 42 * PER_DAY], slice(42 * PER_DAY, None)
    plain, by_hour = reference_of_one(before).monitors[0], reference_of_one(before, same_hour_of_week=True).monitors[0]
    assert by_hour.std == pytest.approx(1, abs=0.1)
    assert by_hour.thresholds.psi < plain.thresholds.psi / 2
    assert alarms(by_hour, 200, by_hour.less_rhythm(values[live], times[live])) == []
    # What is usual at noon, at night: within the range that training saw.
    flat = by_hour.less_rhythm(values[live] - rhythm[live], times[live])
    assert "psi" in alarms(by_hour, 200, flat)


def test_less_than_four_weeks_are_refused_for_the_same_hour_of_the_week():
    with pytest.raises(PenstockError, match="27 days are too few") as caught:
        reference_of_one(np.zeros(27 * PER_DAY + 1), same_hour_of_week=True)
    assert "28 days" in caught.value.next
