"""Inputs from views of other pipelines: what is served, what has its default, and outages of the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from penstock.kafka.records import Consumed
from schemas.categories import code_of
from schemas.codec import Encoder
from schemas.columns import FEWEST
from schemas.history import record_decoder
from scoring.batch import Candidates, FeatureReader, encode_results
from scoring.breaker import FIRST_S
from scoring.entity_keys import EntityKeys
from scoring.inference import Scores
from scoring.other_views import OtherViews, Wanted
from scoring.prediction_format import ModelIdentity
from scoring.predictions import PredictionWriter
from scoring.vectors import Vectorizer
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_decoder, features_schema
from tests.other_pipelines import INPUTS, resolved, taps
from tests.scoring.test_entity_keys import record

PIPELINE = taps()
PLAN = compile_plan(PIPELINE)
SCHEMA = features_schema(PLAN)
OTHERS = resolved(PIPELINE)
WRITER = PredictionWriter(PIPELINE, PLAN, ModelIdentity("taps", "1"), max_bytes=1 << 20)
VALUES = {"count_1m": 4, "count_1h": 9, "amount_sum_1h": 2.5, "country_last_1h": "NL", "busy": True, "count_10m": 3}
GATE, COUNT, OWN, COUNTRY, PAIR, BUSY = range(6)
assert INPUTS[COUNTRY] == "cards:by_card.country_last_1h"


class Read:
    """The vectors of one view, all of which have the same values."""

    def __init__(self, states: list[str], values: Mapping[str, Any]) -> None:
        self.states = np.array(states, np.str_)
        self._values = values

    def numbers(self, feature: str) -> Any:
        value = self._values[feature]
        return np.full(len(self.states), np.nan if value is None else float(value))

    def values(self, feature: str) -> list[Any]:
        return [self._values[feature]] * len(self.states)

    def emission(self, row: int) -> tuple[int, int, int]:
        assert self.states[row] != "MISSING"
        return 1, 5, 70


class Store:
    """A reader of vectors: those of each view, by the entity, have the given state."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.failure: redis.RedisError | None = None
        self.asked: list[list[tuple[str, str, list[str], list[int]]]] = []
        self.values: Mapping[str, Any] = VALUES

    def read(self, wanted: Sequence[Wanted]) -> list[Read]:
        self.asked.append([(one.pipeline, one.view, one.entities, one.at_ms.tolist()) for one in wanted])
        if self.failure is not None:
            raise self.failure
        return [Read([self.states.get(entity, "MISSING") for entity in one.entities], self.values) for one in wanted]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def views(store: Store, clock: Clock, **calls: Any) -> OtherViews:
    return OtherViews(OTHERS, INPUTS, PIPELINE.categories, store, clock=clock, **calls)


def candidates(*records: Mapping[str, Any]) -> Candidates:
    reader = FeatureReader(
        SCHEMA,
        features_decoder(PLAN, Path("nothing is committed")),
        ("events.taps",),
        Vectorizer(INPUTS, PIPELINE.categories),
        WRITER,
        EntityKeys(OTHERS, PLAN.passthrough),
    )
    values = [Encoder(SCHEMA).encode(dict(one)) for one in records]
    batch = [Consumed("features.taps", 0, n, b"k", value, []) for n, value in enumerate(values)]
    return reader.decode(batch, 0).candidates


def predictions(of: Candidates) -> list[dict[str, Any]]:
    n = len(of)
    scores = Scores(np.full(n, 0.9), np.empty((n, 0)), np.zeros(n, np.bool_), np.zeros(n, np.bool_))
    return [record_decoder("prediction").decode(one.value or b"") for one in encode_results(of, scores, WRITER, 0)[0]]


DEFAULTED = [np.float32(0), np.float32(code_of(b"??")), np.nan, np.float32(0)]


def inputs(row: Any) -> list[float]:
    return [row[COUNT], row[COUNTRY], row[PAIR], row[BUSY]]


def test_what_is_stored_is_put_into_the_vector_and_named_by_the_prediction(clock: Clock) -> None:
    store = Store(c1="PRESENT", **{"c1|7": "STALE"})
    completed = views(store, clock).complete(candidates(record("c1", 7, 1_000)))
    (one,) = predictions(completed)
    vector = np.frombuffer(one["vector"], "<f4")
    assert inputs(vector) == [4, np.float32(code_of(b"NL")), 3, 1]
    assert (vector[GATE], np.isnan(vector[OWN])) == (7, True)
    assert one["views"] == [
        {"view": "cards:by_card@2", "entity": "c1", "epoch": 1, "seq": 5, "as_of": 70},
        {"view": "cards:by_pair@1", "entity": "c1|7", "epoch": 1, "seq": 5, "as_of": 70},
    ]
    assert one["defaulted"] == []
    assert store.asked == [[("cards", "by_card", ["c1"], [1_000]), ("cards", "by_pair", ["c1|7"], [1_000])]]


@pytest.mark.parametrize("state", ["EXPIRED", "MISSING"])
def test_a_vector_of_which_nothing_is_left_has_the_defaults_and_is_flagged(clock: Clock, state: str) -> None:
    completed = views(Store(**{"c1": state, "c1|7": state}), clock).complete(candidates(record()))
    (one,) = predictions(completed)
    np.testing.assert_array_equal(inputs(np.frombuffer(one["vector"], "<f4")), DEFAULTED)
    assert one["defaulted"] == [{"view": view, "reason": state} for view in ("cards:by_card", "cards:by_pair")]
    assert one["views"] == []


def test_an_event_that_names_no_entity_asks_for_none(clock: Clock) -> None:
    store = Store(c1="PRESENT")
    completed = views(store, clock).complete(candidates(record(card=None), record(gate=None)))
    of_none, of_card = predictions(completed)
    assert [one["reason"] for one in of_none["defaulted"]] == ["NO_ENTITY", "NO_ENTITY"]
    assert of_card["defaulted"] == [{"view": "cards:by_pair", "reason": "NO_ENTITY"}]
    assert [[entities for _, _, entities, _ in batch] for batch in store.asked] == [[["c1"], []]]


def test_a_whole_batch_is_one_request(clock: Clock) -> None:
    store, seconds = Store(c1="PRESENT"), []
    completed = views(store, clock, on_request=seconds.append).complete(candidates(*[record()] * 2 * FEWEST))
    assert len(store.asked) == len(seconds) == 1
    assert (completed.vectors[:, COUNT] == 4).all()


def test_null_is_nan_and_a_double_beyond_float32_is_an_infinity(clock: Clock) -> None:
    store = Store(c1="PRESENT")
    store.values = {**VALUES, "count_1m": 1e300, "country_last_1h": None, "busy": None}
    (row,) = views(store, clock).complete(candidates(record())).vectors
    np.testing.assert_array_equal([row[COUNT], row[COUNTRY], row[BUSY]], [np.inf, np.nan, np.nan])


def test_the_states_of_a_batch_are_counted(clock: Clock) -> None:
    counted: list[Mapping[str, int]] = []
    other = views(Store(c1="PRESENT", **{"c1|7": "EXPIRED"}), clock, on_read=counted.append)
    other.complete(candidates(record(), record("c2", None)))
    assert counted == [{"PRESENT": 1, "EXPIRED": 1, "MISSING": 1, "NO_ENTITY": 1}]


def test_what_was_decoded_is_not_changed(clock: Clock) -> None:
    before = candidates(record())
    views(Store(c1="PRESENT"), clock).complete(before)
    assert np.isnan(before.vectors[0, COUNT])


def test_while_redis_is_down_the_inputs_have_their_defaults_and_it_is_told_once_in_30_s(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(c1="PRESENT")
    store.failure = redis.ConnectionError("refused")
    other = views(store, clock)
    with caplog.at_level(logging.INFO):
        for _ in range(60):
            (one,) = predictions(other.complete(candidates(record())))
            assert {each["reason"] for each in one["defaulted"]} == {"UNREACHABLE"}
            np.testing.assert_array_equal(inputs(np.frombuffer(one["vector"], "<f4")), DEFAULTED)
            clock.now += 1
    assert len(caplog.records) == 2
    assert "refused" in caplog.text


def test_the_breaker_saves_batches_the_deadline_and_a_probe_finds_that_redis_is_back(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(c1="PRESENT")
    store.failure = redis.TimeoutError("late")
    other = views(store, clock)
    for _ in range(10):
        other.complete(candidates(record()))
    assert len(store.asked) == 3
    store.failure = None
    clock.now += FIRST_S
    with caplog.at_level(logging.INFO):
        (one,) = predictions(other.complete(candidates(record())))
    assert one["defaulted"] == [{"view": "cards:by_pair", "reason": "MISSING"}]
    assert "Redis answers again" in caplog.text
