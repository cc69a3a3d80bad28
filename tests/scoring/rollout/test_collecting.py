"""What was read counts once, under its own policy, in whatever order and batches it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.rollout.judge_state import Call, Column, JudgeState
from scoring.rollout.observations import Label
from scoring.rollout.policy_log import Marker, Refusal
from scoring.rollout.seen import Seen, events_of, subjects
from streams.definitions.rollout import Rollout
from tests.scoring.rollout.observed import (
    SECOND,
    change,
    complete,
    experiment,
    facts,
    in_shadow_only,
    judge,
    letter,
    live,
    shadow,
    step,
    tried,
)

CANARY = change(0.5)
SHADOW = change(0, 0.5)
OTHER = change(0.5, salt="other")


def column(state: JudgeState, place: int) -> list[float]:
    return [each for each in state.entities.rows["values"][:, place].tolist() if not np.isnan(each)]


def labels_of(state: JudgeState) -> list[float]:
    return [each for each in Seen(state, facts()).label.tolist() if not np.isnan(each)]


def calls(state: JudgeState, place: int) -> list[float]:
    return [each for each in state.calls.rows["values"][:, place].tolist() if not np.isnan(each)]


def all_of(state: JudgeState) -> dict[str, bytes]:
    return state.records()


def observations() -> Iterator[tuple[str, Any]]:
    """What happens in a minute of a step in shadow: each entity has two events, one in ten is a dead letter."""
    for number in range(60):
        entity = f"entity-{number // 2}"
        if number % 10 == 3:
            yield "letters", letter(number, entity=entity)
            continue
        yield "live", live(number, SHADOW, entity=entity)
        if number % 7:
            yield "shadow", shadow(number, SHADOW, entity=entity)
        if number % 3:
            yield "labels", Label(f"event-{number}", float(number % 2), number * SECOND)
        if number % 5 == 0:
            yield "labels", Label(f"event-{number}", 1.0, number * SECOND + 1)
    yield "entries", Marker(partition=1, first_offset=3, policy=SHADOW.policy.hash)
    yield "entries", Marker(partition=1, first_offset=2, policy=SHADOW.policy.hash)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 100), again=st.booleans())
def test_order_batches_and_repetitions_make_no_difference(seed: int, batch: int, *, again: bool) -> None:
    judging, everything = judge(), [*observations()]
    shuffled = [everything[place] for place in np.random.default_rng(seed).permutation(len(everything))]
    shuffled += shuffled[:20] if again else []

    def observed(parts: list[list[tuple[str, Any]]]) -> JudgeState:
        state = judging.begin(SHADOW)
        for part in parts:
            by_topic = {name: [one for topic, one in part if topic == name] for name, _ in part}
            state = judging.observe(state, **by_topic)
        return judging.observe(state, complete=complete(60))

    at_once = observed([everything])
    in_parts = observed([shuffled[begin : begin + batch] for begin in range(0, len(shuffled), batch)])
    assert all_of(at_once) == all_of(in_parts)
    assert judging.report(at_once) == judging.report(in_parts)
    now = 10**9
    assert judging.decide(at_once, SHADOW, now) == judging.decide(in_parts, SHADOW, now)


def test_events_of_another_policy_or_of_an_unknown_arm_are_ignored() -> None:
    judging = judge()
    begun = judging.begin(CANARY)
    state = judging.observe(
        begun,
        live=[live(1, OTHER), live(2, CANARY, arm="third")],
        shadow=[shadow(4, CANARY, version=9)],
        entries=[Marker(partition=0, first_offset=1, policy=OTHER.policy.hash)],
    )
    assert all_of(state) == all_of(begun)


def test_shadow_predictions_of_another_policy_are_ignored() -> None:
    begun = judge().begin(SHADOW)
    state = judge().observe(begun, shadow=[shadow(3, change(0, 0.5, salt="other")), shadow(4, SHADOW, version=9)])
    assert all_of(state) == all_of(begun)


def test_an_entity_counts_once_with_its_first_event() -> None:
    state = judge().observe(
        judge().begin(CANARY),
        live=[live(number, CANARY, entity="one", score=number / 10) for number in (3, 2, 5)],
    )
    assert column(state, Column.SCORE) == [0.2]
    assert len(state.calls.rows) == 3


def test_an_entity_counts_again_after_a_declared_time() -> None:
    judging = judge(Rollout(entity_again=10 * SECOND))
    seconds = (1, 9, 10, 19, 20)
    state = judging.observe(
        judging.begin(CANARY), live=[live(number, CANARY, entity="one", score=number / 100) for number in seconds]
    )
    assert sorted(column(state, Column.SCORE)) == [0.01, 0.10, 0.20]


def test_an_event_without_an_entity_is_one_of_its_own() -> None:
    state = judge().observe(judge().begin(CANARY), live=[live(number, CANARY, entity=None) for number in range(3)])
    assert len(state.entities.rows) == 3


def test_a_score_of_the_champion_in_place_of_the_candidate_is_a_failure_and_no_score_of_it() -> None:
    state = judge().observe(judge().begin(CANARY), live=[tried(1, CANARY, version=1, is_fallback=True)])
    assert column(state, Column.ARM) == [1.0]
    assert column(state, Column.SCORE) == []
    assert calls(state, Call.IS_FAILED) == [1.0]


def test_predictions_of_an_event_from_two_topics_become_one_row_whichever_comes_first() -> None:
    served, silent = {"live": [live(1, SHADOW, score=0.2)]}, {"shadow": [shadow(1, SHADOW, score=0.3)]}
    for first, second in ((served, silent), (silent, served)):
        state = judge().observe(judge().observe(judge().begin(SHADOW), **first), **second)
        assert len(state.entities.rows) == len(state.calls.rows) == 1
        assert Seen(state, facts()).shadow_score(0).tolist() == [0.3]
        assert column(state, Column.SCORE) == [0.2]


def test_a_shadow_prediction_of_another_event_of_the_entity_is_not_joined() -> None:
    state = judge().observe(
        judge().begin(SHADOW),
        live=[live(1, SHADOW, entity="one"), live(2, SHADOW, entity="one")],
        shadow=[shadow(2, SHADOW, entity="one")],
    )
    assert np.isnan(Seen(state, facts()).shadow_score(0)).all()


def test_a_label_finds_its_event_whichever_comes_first() -> None:
    event, label = {"live": [live(1, CANARY)]}, {"labels": [Label("event-1", 1.0, 5)]}
    for first, second in ((event, label), (label, event)):
        state = judge().observe(judge().observe(judge().begin(CANARY), **first), **second)
        assert labels_of(state) == [1.0]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_latest_label_of_an_event_counts(order: tuple[int, ...]) -> None:
    labels = [Label("event-1", 1.0, 5), Label("event-1", 0.0, 9)]
    state = judge().observe(judge().begin(CANARY), live=[live(1, CANARY)])
    for place in order:
        state = judge().observe(state, labels=[labels[place]])
    assert labels_of(state) == [0.0]


@pytest.mark.parametrize(("time_ms", "expected"), [(4, [1.0]), (6, [])])
def test_a_label_without_a_value_withdraws_those_before_it(time_ms: int, expected: list[float]) -> None:
    labels = [Label("event-1", 1.0, 5), Label("event-1", None, time_ms)]
    assert labels_of(judge().observe(judge().begin(CANARY), live=[live(1, CANARY)], labels=labels)) == expected


def test_a_label_of_the_first_event_does_not_stay_with_an_earlier_one() -> None:
    state = judge().observe(
        judge().begin(CANARY), live=[live(5, CANARY, entity="one")], labels=[Label("event-5", 1.0, 5)]
    )
    state = judge().observe(state, live=[live(2, CANARY, entity="one")])
    assert labels_of(state) == []


def test_a_dead_letter_counts_from_the_marker_of_its_partition_on() -> None:
    state = judge().observe(judge().begin(CANARY), letters=[letter(4), letter(8), letter(9)])
    assert not Seen(state, facts()).is_call.any()
    state = judge().observe(state, entries=[Marker(partition=0, first_offset=2, policy=CANARY.policy.hash)])
    state = judge().observe(state, entries=[Marker(partition=0, first_offset=5, policy=CANARY.policy.hash)])
    seen = Seen(state, facts())
    assert state.calls.rows["offset"][seen.is_call].tolist() == [2]
    assert seen.is_failed.all()


def test_a_dead_letter_belongs_to_the_arm_that_its_entity_has() -> None:
    whole = change(1.0)
    state = judge().observe(judge().begin(whole), letters=[letter(4)])
    assert calls(state, Call.ARM) == [1.0]


def test_a_shadow_prediction_is_missing_only_where_all_have_been_handed_over() -> None:
    state = judge().observe(judge().begin(SHADOW), live=[live(number, SHADOW) for number in range(8)])
    assert not Seen(state, facts()).is_complete.any()
    state = judge().observe(state, complete={0: 1, 3: 2})
    state = judge().observe(state, complete={0: 0})
    rows = state.calls.rows[Seen(state, facts()).is_complete]
    assert sorted(zip(rows["partition"].tolist(), rows["offset"].tolist(), strict=True)) == [(0, 0), (3, 0), (3, 1)]


def test_the_reason_of_a_refusal_is_kept_and_that_of_another_policy_is_not() -> None:
    def refusal(of: Any, reason: str) -> Refusal:
        return Refusal(instance="a", policy=of.policy.hash, reason=reason, time_ms=1)

    state = judge().observe(judge().begin(CANARY), entries=[refusal(OTHER, "no"), refusal(CANARY, "it is broken")])
    assert state.refusal == "scorer a: it is broken"
    assert judge().observe(state, live=[live(1, CANARY)]).refusal == state.refusal


def test_memory_is_bounded_and_the_number_of_events_is_still_known() -> None:
    judging = judge(Rollout(most_entities=1_000))
    state = judging.begin(CANARY)
    for begin in range(0, 6_000, 2_000):
        numbers = range(begin, begin + 2_000)
        state = judging.observe(
            state, live=[(tried if number % 4 == 0 else live)(number, CANARY) for number in numbers]
        )
    assert len(state.calls.rows) <= 1_000
    assert len(state.entities.rows) <= 1_000
    assert events_of(state, subjects(state)[0]) == pytest.approx(1_500, rel=0.15)


def test_a_small_arm_has_as_much_room_as_a_large_one() -> None:
    few = change(0.05)
    judging = judge(Rollout(most_entities=1_000))
    state = judging.begin(few)
    state = judging.observe(state, live=[live(number, few) for number in range(8_000)])
    in_pools = np.bincount(state.entities.rows["pool"])
    assert in_pools[1] > 300  # of the 400 that the policy gives to the candidate
    assert state.entities.halvings[1] == 0 < state.entities.halvings[0]


def test_events_are_counted_exactly_while_all_are_remembered() -> None:
    state = judge().observe(
        judge().begin(SHADOW),
        live=[live(number, SHADOW) for number in range(9)],
        shadow=[shadow(number, SHADOW) for number in range(7)],
    )
    assert events_of(state, subjects(state)[0]) == 7


def test_a_bandit_counts_the_events_of_its_earlier_weights() -> None:
    first = experiment("bandit")
    judging = judge()
    state = judging.observe(
        judging.begin(first),
        live=[(tried if number % 2 else live)(number, first) for number in range(40)],
        labels=[Label(f"event-{number}", float(number % 2), number) for number in range(40)],
    )
    following = judging.decide(state, first, Rollout().reweight_every)
    assert following is not None
    state = judging.begin(following, state)
    state = judging.observe(state, live=[tried(41, first)], labels=[Label("event-41", 1.0, 41)])
    assert labels_of(state).count(1.0) == 21
    assert len(state.calls.rows) == 0


def test_a_step_of_a_canary_begins_anew() -> None:
    state = judge().observe(judge().begin(SHADOW), live=[live(1, SHADOW)])
    other = SHADOW.model_copy(update={"policy": change(0, 0.5, 1).policy})
    assert len(judge().begin(other, state).calls.rows) == 0


def test_a_change_of_the_status_alone_goes_on_with_what_was_seen() -> None:
    state = judge().observe(judge().begin(CANARY), live=[live(1, CANARY)])
    assert judge().begin(CANARY.model_copy(update={"status": "paused"}), state) is state


def test_another_definition_begins_anew() -> None:
    state = judge().observe(judge().begin(CANARY), live=[live(1, CANARY)])
    with_groups = judge(groups=("event.country",), places=(0,))
    assert len(with_groups.begin(CANARY, state).calls.rows) == 0
    assert len(judge(Rollout(most_entities=5_000)).begin(CANARY, state).calls.rows) == 0


def test_versions_beside_a_canary_are_told_apart() -> None:
    beside = change(0, 0.5, shadow=(7, 5), steps=(step(0), step(0.5)))
    state = judge().observe(
        judge().begin(beside),
        live=[live(1, beside)],
        shadow=[shadow(1, beside, version=version, score=version / 10) for version in (5, 7, 2)],
    )
    found = {each.version: Seen(state, facts()).shadow_score(each.place)[0] for each in subjects(state)}
    assert found == {2: 0.2, 5: 0.5, 7: 0.7}
    assert [each.version for each in subjects(state) if each.is_candidate] == [2]
    assert [each.is_candidate for each in subjects(judge().begin(in_shadow_only(5, 7)))] == [False, False]
