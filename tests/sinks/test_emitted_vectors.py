"""The vectors in a feature record, and which of two is newer."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Undecodable
from sinks.emitted_vectors import EmittedVector, emitted_vectors, newest_per_entity
from tests.sinks.payments import PLAN, T0, features, spending, trade

VIEW = PLAN.view("spending")
ORDERS = st.tuples(*[st.integers(0, 2**63 - 1) | st.integers(0, 3)] * 3)


def vector(order: tuple[int, int, int], entity: str = "c1") -> EmittedVector:
    epoch, seq, attempt = order
    return EmittedVector(VIEW, "e", attempt, spending(entity, seq, epoch=epoch))


def test_a_record_has_one_vector_per_view_that_has_an_entity() -> None:
    both = emitted_vectors(PLAN, features(spending=spending(), trade=trade(), attempt=4))
    assert [(e.view.id, e.entity, e.attempt) for e in both] == [("spending@1", "c1", 4), ("trade@3", "s1", 4)]
    assert [e.view.id for e in emitted_vectors(PLAN, features(spending=spending()))] == ["spending@1"]


@pytest.mark.parametrize("negative", [{"epoch": -1}, {"seq": -1}])
def test_a_vector_with_a_negative_epoch_or_seq_is_refused(negative: dict[str, int]) -> None:
    with pytest.raises(Undecodable, match="spending@1"):
        emitted_vectors(PLAN, features(spending=spending() | negative))


@given(st.lists(ORDERS, min_size=1))
def test_the_newest_vector_is_the_greatest_by_epoch_then_seq_then_attempt(orders: list[tuple[int, int, int]]) -> None:
    assert [e.order[:3] for e in newest_per_entity(map(vector, orders))] == [max(orders)]


def test_a_timers_vector_replaces_that_of_the_entitys_last_event_and_gives_way_to_the_next() -> None:
    event, after = (features(spending=spending(seq=seq)) for seq in (3, 4))
    timer = features(trigger="timer", event_time=T0, spending=spending(seq=3, as_of=T0 + 5))
    found = {
        name: emitted_vectors(PLAN, record) for name, record in (("event", event), ("timer", timer), ("after", after))
    }
    assert found["timer"][0].newest_ms == T0
    assert newest_per_entity(found["timer"] + found["event"]) == found["timer"]
    assert newest_per_entity(found["after"] + found["timer"]) == found["after"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.tuples(st.just(0), st.integers(0, 3), st.integers(0, 2)))))
def test_the_order_of_arrival_does_not_matter(arrivals: list[tuple[str, tuple[int, int, int]]]) -> None:
    batch = [vector(order, entity) for entity, order in arrivals]
    kept = [{(e.entity, e.order) for e in newest_per_entity(some)} for some in (batch, batch[::-1])]
    assert kept[0] == kept[1]


def test_vectors_are_compared_only_within_an_entity_and_view() -> None:
    records = [features(spending=spending("x", seq)) for seq in (1, 2)] + [features(trade=trade("x", 1))]
    kept = newest_per_entity(itertools.chain.from_iterable(emitted_vectors(PLAN, record) for record in records))
    assert [(e.view.id, e.order) for e in kept] == [("spending@1", (0, 2, 0, T0)), ("trade@3", (0, 1, 0, T0))]
