"""The detectors match river, numpy and scipy, and continue exactly from a restored state."""

from __future__ import annotations

import base64
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.drift import ADWIN, PageHinkley
from scipy.stats import entropy

from streams.drift.detectors import (
    CLEAR_FRACTION,
    PAGE_HINKLEY_DELTA,
    PRIOR,
    MonitorDetectors,
    MonitorState,
    SlidingHistogram,
    UnreadableStateError,
    divergences,
    smoothed,
    stride,
)
from tests.streams.drift.references import WINDOW, monitor_reference

SEQUENTIAL = ("adwin", "page_hinkley")
VALUES = st.one_of(st.floats(-50, 50, width=32), st.just(math.nan), st.sampled_from([8.0, 10.0, 12.0, 1e30]))


def normal(seed: int, count: int, mean: float = 10.0, deviation: float = 2.0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, deviation) for _ in range(count)]


def fired(detectors: MonitorDetectors, values: list[float]) -> list[tuple[int, str]]:
    return [(at, crossing.detector) for at, crossing in detectors.update(np.array(values))]


def test_adwin_and_page_hinkley_fire_where_those_of_river_do():
    values = normal(1, 600) + normal(2, 600, mean=14) + normal(3, 600, mean=9)
    found = fired(MonitorDetectors(monitor_reference(), WINDOW), values)
    adwin, ph = ADWIN(delta=0.002), PageHinkley(delta=PAGE_HINKLEY_DELTA, threshold=20.0, alpha=1.0)
    expected = []
    for at, value in enumerate(values):
        z = min(max((value - 10.0) / 2.0, -5.0), 5.0)
        adwin.update(z)
        ph.update(z)
        expected += [(at, "adwin")] * adwin.drift_detected + [(at, "page_hinkley")] * ph.drift_detected
    assert len(expected) >= 4
    assert [one for one in found if one[1] in SEQUENTIAL] == expected


def test_the_detectors_of_the_mean_ignore_nulls():
    values = normal(1, 600) + normal(2, 600, mean=14)
    rng = random.Random(4)
    with_nulls = [v for value in values for v in ([value] if rng.random() < 0.9 else [math.nan, value])]
    means = [
        [name for _, name in fired(MonitorDetectors(monitor_reference(), WINDOW), found) if name in SEQUENTIAL]
        for found in (values, with_nulls)
    ]
    assert means[0] == means[1]


def test_psi_and_kl_are_those_of_numpy_and_scipy():
    reference, values = monitor_reference(), [*normal(1, 400, mean=11), *[math.nan] * 20]
    detectors = MonitorDetectors(reference, WINDOW)
    detectors.update(np.array(values))
    window = np.array(values[-WINDOW:])
    counts = np.array(
        [
            (window <= 8).sum(),
            ((window > 8) & (window <= 10)).sum(),
            ((window > 10) & (window <= 12)).sum(),
            (window > 12).sum(),
            np.isnan(window).sum(),
        ]
    )
    p = (counts + PRIOR) / (counts + PRIOR).sum()
    q = np.array(reference.shares) * reference.rows + PRIOR
    q = q / q.sum()
    assert detectors.statistics["kl"] == pytest.approx(entropy(p, q))
    assert detectors.statistics["psi"] == pytest.approx(entropy(p, q) + entropy(q, p))
    assert detectors.statistics["missing"] == 0.2


def test_a_windowed_detector_fires_once_until_it_is_cleared():
    usual = [7.0] * 15 + [9.0] * 30 + [11.0] * 30 + [13.0] * 15 + [math.nan] * 10
    detectors = MonitorDetectors(monitor_reference(), WINDOW)
    phases = [fired(detectors, values) for values in (usual * 3, [13.0] * 300, usual * 3, [13.0] * 300)]
    assert [[d for _, d in found if d in ("psi", "kl")] for found in phases] == [[], ["psi", "kl"], [], ["psi", "kl"]]
    assert detectors.over >= {"psi", "kl"}


def test_an_alert_of_missing_values_states_their_share():
    detectors = MonitorDetectors(monitor_reference(), WINDOW)
    rng = random.Random(1)
    values = [math.nan if rng.random() < (0.1 if at < 300 else 0.5) else 10.0 for at in range(600)]
    crossings = [c for _, c in detectors.update(np.array(values)) if c.detector == "missing"]
    assert len(crossings) == 1
    assert crossings[0].reference == 0.1
    assert crossings[0].current == crossings[0].statistic > 0.3


def test_no_windowed_detector_fires_before_the_window_is_full():
    detectors = MonitorDetectors(monitor_reference(), WINDOW)
    assert [d for at, d in fired(detectors, [100.0] * (WINDOW - 1)) if d in ("psi", "kl", "missing")] == []
    assert detectors.statistics == {}


def test_a_single_outlier_is_no_drift():
    values = [*normal(1, 500), *normal(2, 500)]
    without, with_one = (
        fired(MonitorDetectors(monitor_reference(), WINDOW), found)
        for found in (values, [*values[:500], 1e30, *values[500:]])
    )
    assert [name for _, name in with_one] == [name for _, name in without]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(values=st.lists(VALUES, max_size=400), data=st.data())
def test_a_state_saved_and_restored_anywhere_gives_the_same_results(values, data):
    reference = monitor_reference()
    whole = MonitorDetectors(reference, WINDOW)
    expected = [whole.update(np.array([value])) for value in values]
    stopped, found = MonitorDetectors(reference, WINDOW), []
    cuts = data.draw(st.sets(st.integers(0, len(values)), max_size=4))
    for at, value in enumerate(values):
        if at in cuts:
            text = stopped.state().model_dump_json()
            stopped = MonitorDetectors(reference, WINDOW)
            stopped.restore(MonitorState.model_validate_json(text))
        found.append(stopped.update(np.array([value])))
    assert found == expected
    assert stopped.state() == whole.state()


@pytest.mark.parametrize(
    "changes",
    [
        {"adwin": "not base64!"},
        {"adwin": base64.b64encode(b"\x00" * 7).decode()},
        {"bins": base64.b64encode(bytes([9])).decode()},
        {"bins": base64.b64encode(bytes(WINDOW + 1)).decode()},
        {"page_hinkley": (1.0,) * 3},
        {"evaluate_in": 0},
        {"evaluate_in": 3},
    ],
)
def test_an_invalid_state_is_refused_and_no_code_in_it_is_run(changes):
    state = MonitorDetectors(monitor_reference(), WINDOW).state().model_copy(update=changes)
    with pytest.raises(UnreadableStateError):
        MonitorDetectors(monitor_reference(), WINDOW).restore(state)


def test_adwin_of_another_river_version_starts_over_and_the_others_continue():
    before = MonitorDetectors(monitor_reference(), WINDOW)
    fired(before, normal(1, 300))
    after = MonitorDetectors(monitor_reference(), WINDOW)
    after.restore(before.state().model_copy(update={"adwin": "AAAA"}), with_adwin=False)
    assert after.mean == 10.0
    assert after.state().page_hinkley == before.state().page_hinkley
    assert after.state().bins == before.state().bins


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), max_size=150), max_size=4))
def test_the_histogram_counts_the_latest_records(blocks):
    histogram, numbers = SlidingHistogram(5, 100), []
    for block in blocks:
        stops = range(0, len(block) + 1, 7)
        full_at, counts_at = histogram.add(np.array(block, np.uint8), stops)
        assert list(full_at) == [stop for stop in stops if len(numbers) + stop >= 100]
        for stop, counts in zip(full_at, counts_at.tolist(), strict=True):
            assert counts == [[*numbers, *block[:stop]][-100:].count(number) for number in range(5)]
        numbers += block
    assert histogram.counts.tolist() == [numbers[-100:].count(number) for number in range(5)]
    assert list(histogram.bins()) == numbers[-100:]


def test_equal_shares_have_a_divergence_of_zero():
    shares = smoothed(np.array([3, 0, 5]))
    assert divergences(shares, shares) == (0.0, 0.0)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0


def test_the_statistics_are_evaluated_fifty_times_per_window():
    assert (stride(1_000), stride(100), stride(10)) == (20, 2, 1)
    assert 0 < CLEAR_FRACTION < 1
