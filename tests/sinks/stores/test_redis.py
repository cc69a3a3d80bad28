"""The Redis store without a server: what it writes of a batch of records, and its limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from schemas.codec import Undecodable, UnknownSchema
from schemas.columns import FEWEST
from sinks.emitted_vectors import EmittedVector, emitted_vectors
from sinks.stores.redis import RedisStore, StoredVector, newest_per_key, redis_key
from sinks.vector_format import VectorFormat
from streams.plan.project import Project
from tests.sinks.feature_batches import batches, values_of
from tests.sinks.payments import PLAN, T0, encoded_features, features, payments, spending, trade

PROJECT = Project.of(payments("payments"), Path("nothing is committed"))
STORE = RedisStore(PROJECT, redis.Redis(), 0)
VIEW = PLAN.view("spending")
ORDERS = st.tuples(*[st.integers(0, 2**63 - 1) | st.integers(0, 3)] * 3)


def stored(order: tuple[int, int, int], entity: str = "c1", as_of: int = T0) -> StoredVector:
    epoch, seq, attempt = order
    return STORE.stored(EmittedVector(VIEW, "e", attempt, spending(entity, seq, as_of, epoch)))


def test_a_time_to_live_that_redis_cannot_count_is_refused_before_anything_is_written() -> None:
    with pytest.raises(PenstockError, match="more than Redis can count") as refused:
        RedisStore(PROJECT, redis.Redis(), 2**62)
    assert "view spending@1" in str(refused.value)


def test_a_hundred_years_are_a_time_to_live() -> None:
    RedisStore(PROJECT, redis.Redis(), 100 * 365 * 86_400_000)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(batches())
def test_a_batch_is_stored_as_its_records_would_be_one_by_one(batch: list[dict[str, Any]]) -> None:
    formats = {view.id: VectorFormat(view) for view in PLAN.views}
    for record, found in zip(batch, STORE.decode("", values_of(batch)), strict=True):
        if isinstance(found, Undecodable | UnknownSchema):
            with pytest.raises(Undecodable, match=re.escape(found.what)):
                emitted_vectors(PLAN, record)
            continue
        vectors = emitted_vectors(PLAN, record)
        assert [(vector.key.decode(), vector.blob) for vector in found] == [
            (redis_key(PLAN, vector.view, vector.entity), formats[vector.view.id].pack(vector)) for vector in vectors
        ]
        assert found == [STORE.stored(vector) for vector in vectors]


@pytest.mark.parametrize("number", [3, FEWEST + 3])
def test_one_bad_record_leaves_the_rest_of_its_batch_as_it_is(number: int) -> None:
    good = [encoded_features("payments", features(n, spending=spending(f"c{n}"))) for n in range(number)]
    bad = [b"", b"no avro", good[0][:-1], good[0] + b"0", good[0][:2] + bytes(8) + good[0][10:]]
    found = STORE.decode("", [*good, *bad])
    assert found[:number] == STORE.decode("", good)
    kinds = [type(error) for error in found[number:]]
    assert kinds == [Undecodable, Undecodable, Undecodable, Undecodable, UnknownSchema]


@given(st.lists(ORDERS, min_size=1))
def test_the_newest_vector_is_the_greatest_by_epoch_then_seq_then_attempt(orders: list[tuple[int, int, int]]) -> None:
    assert list(newest_per_key(map(stored, orders))) == [stored(max(orders))]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_of_vectors_of_one_event_the_latest_is_the_newest(times: list[int]) -> None:
    vectors = [stored((0, 1, 0), as_of=time) for time in times]
    assert list(newest_per_key(vectors)) == [stored((0, 1, 0), as_of=max(times))]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.tuples(st.just(0), st.integers(0, 3), st.integers(0, 2)))))
def test_the_order_of_arrival_does_not_matter(arrivals: list[tuple[str, tuple[int, int, int]]]) -> None:
    batch = [stored(order, entity) for entity, order in arrivals]
    assert set(newest_per_key(batch)) == set(newest_per_key(batch[::-1]))


def test_vectors_are_compared_only_within_an_entity_and_view() -> None:
    records = [features(spending=spending("x", seq)) for seq in (1, 2)] + [features(trade=trade("x", 1))]
    vectors = [STORE.stored(vector) for record in records for vector in emitted_vectors(PLAN, record)]
    assert list(newest_per_key(vectors)) == vectors[1:]
