"""The band is the narrowest one, and what it promises of fresh events holds as often as it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scoring.cascade import Band, NoBand, _narrowest, _widened, choose_band, is_positive, least_events, upper_bound

LEAST = 2_995  # events without an error that certify 0.1 % at 95 %


def holdout(events: int, *differing: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Fast scores that run through 0 to 1 in each half, and strong ones that are equal but for these places."""
    fast = np.tile(np.linspace(0, 1, events // 2), 2)
    strong = fast.copy()
    for place, score in differing:
        fast[place], strong[place] = score, float(score < 0.5)
    return fast, strong


SCORES = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8, 0.9])
EVENTS = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=14)


def sizes_of_all_bands(events: list[tuple[float, bool]], missed: int) -> list[int]:
    """How many events are in each band beyond which at most so many differing ones are."""
    scores = sorted({score for score, _ in events})
    bands = [(low, high) for low in scores for high in [*scores, 1.0] if low <= high]
    return [
        sum(low <= score < high for score, _ in events)
        for low, high in bands
        if sum(differs for score, differs in events if not low <= score < high) <= missed
    ]


@given(events=EVENTS, missed=st.integers(0, 5))
def test_no_band_with_as_few_wrong_decisions_has_fewer_events(events: list[tuple[float, bool]], missed: int) -> None:
    scores, differs = (np.array(column) for column in zip(*events, strict=True))
    band = _narrowest(np.sort(scores), np.sort(scores[differs]), missed, 0.5)
    is_inside = band.contains(scores)
    assert (differs & ~is_inside).sum() <= missed
    assert is_inside.sum() == min(sizes_of_all_bands(events, missed))


@given(events=EVENTS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_wider_band_has_the_narrower_one_in_it(events: list[tuple[float, bool]], shares: tuple[float, float]) -> None:
    scores, differs = (np.array(column) for column in zip(*events, strict=True))
    narrowest = _narrowest(np.sort(scores), np.sort(scores[differs]), 0, 0.5)
    bands = [narrowest, *(_widened(np.sort(scores), narrowest, share) for share in sorted(shares))]
    for narrow, wide in itertools.pairwise(bands):
        assert wide.low <= narrow.low <= narrow.high <= wide.high
    assert _widened(np.sort(scores), narrowest, 1.0).contains(scores).all()


# More at either end than the 5 of 10,000 that the limit of the tests with them allows.
AT_BOTH_ENDS = [(4_000 + place, 0.4 if place % 2 else 0.6) for place in range(12)]


def test_the_band_holds_what_differs_and_ends_below_the_next_score() -> None:
    found = choose_band(*holdout(20_000, *AT_BOTH_ENDS), 0.5, limit=0.0005)
    assert found.band.contains(np.array([0.399, 0.4, 0.6, 0.6002])).tolist() == [False, True, True, False]
    assert (found.events, found.differing, found.strong) == (10_000, 0, 2_000)
    assert (found.strong_share, found.differing) == (0.2, 0)


def test_wrong_decisions_are_allowed_as_far_as_the_limit_goes() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=40_000)
    fast, strong = (1 / (1 + np.exp(-score)) for score in (z + 0.2 * rng.normal(size=40_000), z))
    found = [choose_band(fast, strong, 0.8, limit) for limit in (0.001, 0.01, 0.05)]
    strict, mild, loose = (one.strong_share for one in found)
    assert strict > mild > loose
    assert all(one.bound <= limit for one, limit in zip(found, (0.001, 0.01, 0.05), strict=True))
    assert found[1].differing > 0.005 * found[1].events


def test_models_that_decide_alike_need_no_strong_one() -> None:
    fast, strong = holdout(2 * LEAST)
    found = choose_band(fast, strong, 0.5)
    assert (found.band, found.strong, found.differing) == (Band(0.5, 0.5), 0, 0)
    assert found.times_cheaper(1.0, 20.0) == 20.0


def test_the_cascade_costs_the_fast_model_always_and_the_strong_one_in_the_band() -> None:
    found = choose_band(*holdout(20_000, *AT_BOTH_ENDS), 0.5, limit=0.0005)
    assert found.times_cheaper(1.0, 20.0) == 20 / (1 + 0.2 * 20)


def test_the_later_half_decides_what_the_earlier_one_proposes() -> None:
    """Where only the later half differs, the band of the earlier half, which is empty, is widened until it holds."""
    in_later = [(20_000 + place, 0.4) for place in range(20)]
    found = choose_band(*holdout(40_000, *in_later), 0.5, limit=0.0005)
    assert found.band.low < 0.4
    assert found.differing == 0


def test_testing_ends_with_the_first_band_that_fails() -> None:
    """Without 1 or 2 events, the narrowest bands reach from 0.1 to 0.85, and from 0.0001 to 0.11."""
    earlier = [(100 + place, score) for place, score in enumerate((0.0001, 0.1, 0.11, 0.8, 0.85))]
    later = [(10_100 + place, 0.05) for place in range(10)]
    found = choose_band(*holdout(20_000, *earlier, *later), 0.5, limit=0.0005)
    assert found.band.contains(np.array([0.05, 0.85])).all()


def test_a_score_at_the_threshold_is_a_positive_decision() -> None:
    fast, strong = np.tile(np.linspace(0, 0.4, 10_000), (2, 1))
    fast[::2], strong[::2] = 0.5, 0.6
    assert choose_band(fast, strong, 0.5).strong_share == 0
    assert choose_band(strong, fast, 0.5).strong_share == 0


def test_too_few_events_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(NoBand, match="2,000 events are too few") as refused:
        choose_band(*holdout(2_000), 0.5)
    assert refused.value.events_needed == 2 * LEAST - 1
    assert "at least 5,989 events, allow more with a larger Cascade(differing=...), or declare" in str(refused.value)
    enough = np.linspace(0, 1, 5_989)
    assert choose_band(enough, enough, 0.5).events == LEAST
    with pytest.raises(NoBand):
        choose_band(enough[1:], enough[1:], 0.5)


def test_too_many_errors_for_the_events_are_refused_with_the_number_that_would_do() -> None:
    errors = [(5_000 + place, 0.001 if place % 2 else 0.999) for place in range(3)]
    with pytest.raises(NoBand, match="3 clear cases are decided otherwise") as refused:
        choose_band(*holdout(10_000, *errors), 0.5)
    needed = refused.value.events_needed
    assert needed is not None
    assert upper_bound(3 / 5_000 * needed / 2, needed // 2, 0.05) <= 0.001


def test_models_that_differ_everywhere_have_no_band_whatever_the_number_of_events() -> None:
    rng = np.random.default_rng(1)
    fast, strong = rng.random((2, 20_000))
    fast[10_000:] = rng.choice([-1.0, 2.0], 10_000)
    with pytest.raises(NoBand, match="decided otherwise") as refused:
        choose_band(fast, strong, 0.5)
    assert refused.value.events_needed is None


def test_no_events_are_too_few() -> None:
    with pytest.raises(NoBand, match="0 events are too few"):
        choose_band(np.empty(0), np.empty(0), 0.5)


def test_of_equal_scores_all_are_in_the_band_or_none() -> None:
    fast = np.full(8_000, 0.3)
    strong = np.where(np.arange(8_000) % 2, 0.9, 0.1)
    assert choose_band(fast, strong, 0.5).strong_share == 1.0
    assert choose_band(fast, fast, 0.5).strong_share == 0.0


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    for which, name in enumerate(("fast", "strong")):
        scores = np.tile(np.linspace(0, 1, 8_000), (2, 1))
        scores[which, 17] = score
        with pytest.raises(ValueError, match=f"the {name} model has a score that is no finite number"):
            choose_band(*scores, 0.5)


def test_scores_that_are_not_of_the_same_events_are_refused() -> None:
    with pytest.raises(ValueError, match="fast scores"):
        choose_band(np.zeros(3), np.zeros(4), 0.5)


def test_the_bounds_of_a_band_are_not_rounded_to_the_scores_type() -> None:
    last = np.float32(0.1)
    band = Band(float(last), float(np.nextafter(np.float64(last), 1)))
    assert band.contains(np.array([last])).tolist() == [True]


def test_a_threshold_is_not_rounded_to_the_scores_type_as_it_is_not_in_a_decision() -> None:
    assert is_positive(np.array([0.7], np.float32), 0.7).tolist() == [float(np.float32(0.7)) >= 0.7] == [False]


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (3, 10), (10, 10), (0, LEAST), (17, 40_000)])
def test_the_upper_bound_is_clopper_pearsons(hits: int, of: int) -> None:
    expected = stats.binomtest(hits, of, alternative="less").proportion_ci(0.95, method="exact").high
    assert upper_bound(hits, of, 0.05) == pytest.approx(expected)


def test_without_events_nothing_is_certain() -> None:
    assert upper_bound(0, 0, 0.05) == 1.0


@pytest.mark.parametrize(("share", "alpha"), [(0.0, 0.05), (0.0, 0.01), (0.0005, 0.05), (0.00095, 0.05)])
def test_the_events_needed_are_just_enough(share: float, alpha: float) -> None:
    enough = least_events(share, 0.001, alpha)
    assert upper_bound(share * enough, enough, alpha) <= 0.001
    assert upper_bound(share * (enough - 1), enough - 1, alpha) > 0.001
    assert least_events(0.0, 0.001, 0.05) == LEAST


def test_no_number_of_events_brings_a_share_below_itself() -> None:
    with pytest.raises(ValueError, match="not below"):
        least_events(0.001, 0.001, 0.05)


@pytest.mark.parametrize(("events", "limit", "alpha"), [(2_000, 0.02, 0.2), (4_000, 0.01, 0.1), (8_000, 0.001, 0.2)])
def test_fresh_decisions_differ_more_than_the_limit_in_no_more_than_alpha_of_the_runs(
    events: int, limit: float, alpha: float
) -> None:
    rng = np.random.default_rng(7)
    size = 400_000
    z = rng.normal(size=size)
    strong = 1 / (1 + np.exp(-z))
    # The fast model is right within a bound, but for a few events anywhere.
    noise = np.where(rng.random(size) < limit / 4, rng.normal(size=size) * 4, rng.uniform(-0.4, 0.4, size))
    fast = 1 / (1 + np.exp(-(z + noise)))
    order = np.argsort(fast)
    fast, strong = fast[order], strong[order]
    differing = np.concatenate([[0], np.cumsum((fast >= 0.7) != (strong >= 0.7))])
    runs, chosen, broken = 1_000, 0, 0
    for _ in range(runs):
        sample = rng.integers(0, size, events)
        try:
            band = choose_band(fast[sample], strong[sample], 0.7, limit, alpha).band
        except NoBand:
            continue
        chosen += 1
        first, end = np.searchsorted(fast, (band.low, band.high))
        broken += differing[-1] - (differing[end] - differing[first]) > limit * size
    assert broken <= stats.binom.ppf(1 - 1e-4, runs, alpha)
    assert chosen > runs / 2
