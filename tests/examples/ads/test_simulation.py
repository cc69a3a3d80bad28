"""The world of the ads example is what its page says: positions, fatigue, the cap, pacing, creatives and delays."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice, pairwise
from statistics import mean

import numpy as np
import pytest

from examples.ads.simulation import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    POSITIONS,
    START_MS,
    Bandit,
    Impression,
    World,
    WorldConfig,
)

SEED, DAYS = 7, 10


@pytest.fixture(scope="module")
def world() -> World:
    return World(SEED, WorldConfig())


@pytest.fixture(scope="module")
def days(world: World) -> list[list[Impression]]:
    return list(islice(world.days(), DAYS))


@pytest.fixture(scope="module")
def shown(days: list[list[Impression]]) -> list[Impression]:
    return [impression for day in days for impression in day]


def click_rates(by: dict[object, list[Impression]]) -> dict[object, float]:
    return {of: mean(each.clicked_ms is not None for each in impressions) for of, impressions in by.items()}


def times_seen(shown: list[Impression]) -> list[int]:
    """How often the user had seen the campaign in the 24 hours before each impression."""
    seen: dict[tuple[int, int], list[int]] = defaultdict(list)
    found = []
    for each in shown:
        times = seen[each.user, each.campaign]
        found.append(sum(time > each.time_ms - DAY_MS for time in times))
        times.append(each.time_ms)
    return found


def test_the_same_seed_gives_the_same_days_in_order_of_time(days: list[list[Impression]]) -> None:
    assert list(islice(World(SEED, WorldConfig()).days(), 2)) == days[:2]
    for number, day in enumerate(days):
        times = [START_MS + number * DAY_MS, *(each.time_ms for each in day), START_MS + (number + 1) * DAY_MS]
        assert times == sorted(times)
        assert 1_700 < len(day) < 2_600


def test_the_click_rate_of_a_slot_depends_on_its_position(shown: list[Impression]) -> None:
    by: dict[object, list[Impression]] = defaultdict(list)
    for each in shown:
        by[each.position].append(each)
    rates = click_rates(by)
    assert sorted(POSITIONS, key=lambda position: -rates[position]) == [*POSITIONS]
    assert 0.06 < mean(each.clicked_ms is not None for each in shown) < 0.08


def test_a_user_tires_of_a_campaign_and_never_sees_it_more_often_than_the_cap(shown: list[Impression]) -> None:
    by: dict[object, list[Impression]] = defaultdict(list)
    seen = times_seen(shown)
    for times, each in zip(seen, shown, strict=True):
        by[times // 2].append(each)
    rates = click_rates(by)
    assert rates[0] > 1.3 * rates[1] > 1.3**2 * rates[2]
    assert max(seen) == WorldConfig().cap - 1


def test_a_campaign_spends_its_budget_evenly_over_the_day(days: list[list[Impression]]) -> None:
    shares = []
    for day in days:
        spent: dict[int, float] = defaultdict(float)
        for each in day:
            so_far = each.daily_budget * (each.time_ms % DAY_MS) / DAY_MS
            assert spent[each.campaign] < so_far
            spent[each.campaign] += each.paid_price / 1_000
        budget = {each.campaign: each.daily_budget for each in day}
        shares += [spent[campaign] / budget[campaign] for campaign in budget]
    # Some campaigns spend all, others win too little. The night is quiet, so that the last cents stay.
    assert 0.4 < mean(share > 0.9 for share in shares) < 0.95


def test_who_wins_bids_the_floor_at_least_and_pays_no_more_than_the_bid(shown: list[Impression]) -> None:
    assert all(each.floor_price <= each.paid_price <= each.bid_price for each in shown)


def test_better_creatives_are_shown_more_often(world: World, shown: list[Impression]) -> None:
    quality = world.creative_quality
    later = shown[len(shown) // 2 :]
    served = mean(quality[each.campaign, each.creative] for each in later)
    alike = mean(quality[each.campaign].mean() for each in later)
    assert served > 1.15 * alike


def test_a_click_counts_for_a_creative_when_it_comes() -> None:
    bandit = Bandit(1, 2)
    rng = np.random.default_rng(1)
    bandit.was_shown(0, 1, clicked_ms=50)
    bandit.choose(0, 49, rng)
    assert bandit.clicks.sum() == 0
    bandit.choose(0, 50, rng)
    assert bandit.clicks.tolist() == [[0, 1]]


def test_of_two_creatives_the_one_that_is_clicked_is_drawn() -> None:
    bandit = Bandit(1, 2)
    for number in range(200):
        bandit.was_shown(0, 0, None)
        bandit.was_shown(0, 1, number)
    assert {bandit.choose(0, 1_000, np.random.default_rng(seed)) for seed in range(20)} == {1}


def test_few_clicks_and_some_conversions_come_after_their_horizons(shown: list[Impression]) -> None:
    clicks = [each.clicked_ms - each.time_ms for each in shown if each.clicked_ms is not None]
    orders = [each.converted_ms - each.time_ms for each in shown if each.converted_ms is not None]
    assert 0.01 < mean(delay > 30 * MINUTE_MS for delay in clicks) < 0.05
    assert 0.1 < mean(delay > 3 * DAY_MS for delay in orders) < 0.25
    assert mean(delay < 12 * HOUR_MS for delay in orders) > 0.6


def test_only_who_clicked_converts_and_later(shown: list[Impression]) -> None:
    converted = [each for each in shown if each.converted_ms is not None]
    assert all(each.clicked_ms is not None and each.converted_ms > each.clicked_ms for each in converted)  # type: ignore[operator]
    assert {each.order_value is not None for each in converted} == {True}
    assert {each.order_value for each in shown if each.converted_ms is None} == {None}


@pytest.mark.parametrize("cap", [1, 3])
def test_the_cap_is_that_of_the_configuration(cap: int) -> None:
    day = next(World(SEED, WorldConfig(cap=cap)).days())
    assert max(times_seen(day)) == cap - 1


def test_every_campaign_has_all_its_creatives_and_every_device_occurs(shown: list[Impression]) -> None:
    creatives = {(each.campaign, each.creative) for each in shown}
    assert creatives == {(c, k) for c in range(WorldConfig().campaigns) for k in range(WorldConfig().creatives)}
    assert {each.device for each in shown if each.position == "side"} == {"desktop", "tablet"}


def test_without_fatigue_what_was_seen_before_says_nothing() -> None:
    days = islice(World(SEED, WorldConfig(fatigue=1.0)).days(), DAYS // 2)
    shown = [each for day in days for each in day]
    by: dict[object, list[Impression]] = defaultdict(list)
    for times, each in zip(times_seen(shown), shown, strict=True):
        by[times // 2].append(each)
    rates = click_rates(by)
    assert all(0.75 < rates[later] / rates[earlier] < 1.3 for earlier, later in pairwise(range(3)))
