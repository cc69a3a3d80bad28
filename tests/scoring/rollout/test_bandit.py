"""The weights of a bandit are the probabilities of the best arm, above a floor, and the same in every process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.bandit import Rewards, bandit_weights, probabilities_of_best
from streams.definitions.rollout import PARTS, parts_of

counts = st.integers(0, 10**6).flatmap(lambda n: st.builds(Rewards, st.just(n), st.integers(0, n)))
tables = st.dictionaries(st.sampled_from("abcdef"), counts, min_size=1)


@settings(max_examples=15, deadline=None)
@given(rewards=tables)
def test_weights_sum_to_1_and_are_at_least_the_floor(rewards: dict[str, Rewards]) -> None:
    parts = {name: parts_of(weight) for name, weight in bandit_weights(rewards).items()}
    assert sum(parts.values()) == PARTS
    assert min(parts.values()) >= 500
    assert parts.keys() == rewards.keys()


@settings(max_examples=10, deadline=None)
@given(data=st.data(), rewards=tables)
def test_the_order_of_the_arms_changes_nothing(data: st.DataObject, rewards: dict[str, Rewards]) -> None:
    shuffled = {name: rewards[name] for name in data.draw(st.permutations(sorted(rewards)))}
    assert bandit_weights(shuffled) == bandit_weights(rewards)


@pytest.mark.parametrize(
    "rewards",
    [
        [Rewards(0, 0), Rewards(10, 3)],
        [Rewards(100, 5), Rewards(120, 9), Rewards(80, 2)],
        [Rewards(50_000, 1_000), Rewards(50_000, 1_050), Rewards(500, 12)],
    ],
)
def test_probabilities_are_those_that_draws_realise(rewards: list[Rewards]) -> None:
    rng = np.random.default_rng(3)
    draws = 400_000
    rates = [rng.beta(each.rewarded + 1, each.events - each.rewarded + 1, draws) for each in rewards]
    shares = np.bincount(np.argmax(rates, axis=0), minlength=len(rewards)) / draws
    assert probabilities_of_best(rewards) == pytest.approx(shares, abs=5 * 0.5 / np.sqrt(draws))


def test_two_arms_have_the_probability_that_a_sum_gives() -> None:
    # Of Beta(2, 1) and Beta(1, 1): the probability that the first is greater is the mean of the first.
    assert probabilities_of_best([Rewards(1, 1), Rewards(0, 0)]) == pytest.approx([2 / 3, 1 / 3], abs=1e-6)


def test_equal_arms_have_equal_weights() -> None:
    assert bandit_weights({name: Rewards(1_000, 20) for name in "abcd"}) == dict.fromkeys("abcd", 0.25)


def test_of_equal_arms_the_first_by_name_gets_the_part_that_is_left() -> None:
    for order in ("abc", "cba", "bca"):
        assert bandit_weights({name: Rewards(9, 2) for name in order}) == {"a": 0.3334, "b": 0.3333, "c": 0.3333}


def test_a_much_better_arm_has_all_but_the_floors() -> None:
    weights = bandit_weights({"a": Rewards(10**6, 10_000), "b": Rewards(10**6, 20_000), "c": Rewards(10**6, 5_000)})
    assert weights == {"a": 0.05, "b": 0.9, "c": 0.05}


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="11 of 10 events"):
        Rewards(10, 11)
    with pytest.raises(ValueError, match="1 to 20 arms, got 21"):
        bandit_weights({str(number): Rewards(0, 0) for number in range(21)})
    with pytest.raises(ValueError, match="got 0"):
        bandit_weights({})
