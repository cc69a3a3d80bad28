"""Vectors read as columns, against the same vectors read one by one."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Pipeline, Source, View, count, last, max_, mean
from sinks.emitted_vectors import EmittedVector
from sinks.feature_reader import FeatureReader
from sinks.stores.redis import redis_key
from sinks.vector_format import VectorFormat, VectorState
from streams.plan.compiler import compile_plan
from tests.sinks.feature_batches import counts, doubles, longs, numbers, spendings, texts, trades
from tests.sinks.payments import CARD, SHOP, SPENDING, T0, TRADE, Payment, payments, spending, trade

SPEED = View(
    name="speed",
    version=2,
    entity=CARD,
    aggregates=(
        count(over=("1m", "1h", "lifetime")),
        mean("amount", over=("5m", "24h")),
        max_("amount", over="lifetime"),
        last("amount", over="1h"),
    ),
)
PLAN = compile_plan(
    Pipeline(
        name="columns",
        source=Source(topic="events.columns", contract=Payment, key="card", partitions=1),
        entities=(CARD, SHOP),
        views=(SPENDING, TRADE, SPEED),
        model=payments().model,
    )
)
FORMATS = {view.name: VectorFormat(view) for view in PLAN.views}
MINUTE = 60_000
ENTITIES = ("c1", "", "é" * 40)


class Held:
    """A Redis that holds these values, whose user may only MGET; counts the commands."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self._values = {key.encode(): value for key, value in values.items()}
        self.commands = 0

    def mget(self, keys: list[bytes]) -> list[bytes | None]:
        self.commands += 1
        return [self._values.get(key) for key in keys]


def reader_of(values: dict[str, bytes]) -> FeatureReader:
    return FeatureReader(PLAN, cast("redis.Redis", Held(values)))


def stored(view: str, record: dict[str, Any], newest_ms: int | None = None) -> dict[str, bytes]:
    plan = PLAN.view(view)
    vector = EmittedVector(plan, "e", 3, record, newest_ms)
    return {redis_key(PLAN, plan, vector.entity): FORMATS[view].pack(vector)}


def speed(entity: str = "c1", as_of: int = T0, **values: Any) -> dict[str, Any]:
    part = {"entity": entity, "epoch": 1, "seq": 2, "as_of": as_of, "late": False}
    features = {"count_1m": 1, "count_1h": 2, "count_lifetime": 9, "amount_mean_5m": 2.5, "amount_mean_24h": None}
    return part | features | {"amount_max_lifetime": 7.0, "amount_last_1h": 2.5} | values


times = st.integers(T0 - 48 * 60 * MINUTE, T0 + MINUTE)
speeds = st.fixed_dictionaries(
    {
        "entity": texts,
        "as_of": longs,
        "count_1m": counts,
        "count_lifetime": longs,
        "amount_mean_5m": doubles,
        "amount_mean_24h": doubles,
        "amount_last_1h": doubles,
    }
).map(lambda values: speed(**values))
GARBAGE = b"\x01" + bytes(60)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, bytes]:
    """Vectors of some entities and views, some of them from timers, and a value that is none."""
    found: dict[str, bytes] = {}
    for view, records in (("spending", spendings), ("trade", trades), ("speed", speeds)):
        for entity in ENTITIES:
            if draw(st.integers(0, 3)):
                as_of = draw(times)
                record = draw(records) | {"entity": entity, "as_of": as_of, "seq": draw(numbers.map(abs)), "epoch": 0}
                newest = draw(st.none() | st.integers(0, 3_600_000).map(lambda ms, as_of=as_of: as_of - ms))
                found |= stored(view, record, newest)
    if draw(st.booleans()):
        found[redis_key(PLAN, PLAN.view("trade"), "c1")] = GARBAGE
    return found


def cell(value: Any) -> Any:
    """A value as the matrix has it."""
    return math.nan if value is None else float(value)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    contents(),
    st.lists(st.tuples(*[st.sampled_from([*ENTITIES, "nobody"])] * 3), max_size=5),
    st.integers(T0 - 60 * MINUTE, T0 + 26 * 60 * MINUTE),
)
def test_columns_hold_what_the_vectors_read_one_by_one_hold(
    values: dict[str, bytes], rows: list[tuple[str, ...]], now_ms: int
) -> None:
    names = ("spending", "trade", "speed")
    wanted = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns = reader_of(values).get_columns(wanted, now_ms)
    assert columns.views == ("spending@1", "trade@3", "speed@2")
    assert len(columns) == len(rows)
    for row, entities in enumerate(rows):
        vectors = reader_of(values).get_many(list(zip(names, entities, strict=True)), now_ms)
        assert columns.states[row].tolist() == [vector.state for vector in vectors]
        for place, vector in enumerate(vectors):
            if vector.as_of is None:
                assert np.isnat(columns.as_of.view("datetime64[ms]")[row, place])
            else:
                assert columns.as_of[row, place] == vector.as_of
        features = {
            f"{name}.{feature}": value
            for name, vector in zip(names, vectors, strict=True)
            for feature, value in vector.values.items()
        }
        assert features.keys() == {*columns.names, *columns.objects}
        matrix = [cell(features[name]) for name in columns.names]
        np.testing.assert_array_equal(columns.values[row], np.array(matrix))
        assert {name: column[row] for name, column in columns.objects.items()} == {
            name: features[name] for name in columns.objects
        }


def test_texts_and_lists_are_objects_and_the_rest_is_the_matrix() -> None:
    columns = reader_of(stored("spending", spending())).get_columns({"spending": ["c1", "nobody"]}, T0)
    assert columns.names == (
        "spending.count_1m",
        "spending.count_1h",
        "spending.amount_mean_1h",
        "spending.busy",
    )
    assert columns["spending.shop_last_k_1h"].tolist() == [["s1", ""], None]
    assert columns["spending.shop_last_1h"].tolist() == ["s1", None]
    assert columns["spending.amount_histogram_1h"].tolist() == [[0, 2, 0], [0, 0, 0]]
    assert columns["spending.count_1h"].tolist() == [2, 0]
    assert columns.states.tolist() == [[VectorState.PRESENT], [VectorState.MISSING]]


def test_a_boolean_is_one_zero_or_nan() -> None:
    values = stored("trade", trade("s1", is_new=True)) | stored("trade", trade("s2", is_new=False))
    values |= stored("trade", trade("s3"))
    columns = reader_of(values).get_columns({"trade": ["s1", "s2", "s3"]}, T0)
    np.testing.assert_array_equal(columns["trade.is_new"], [1, 0, math.nan])


def test_all_views_are_read_with_one_command() -> None:
    held = Held({})
    FeatureReader(PLAN, cast("redis.Redis", held)).get_columns({"spending": ["a", "b"], "trade": ["c", "d"]}, T0)
    assert held.commands == 1


def test_no_rows_are_columns_without_a_command() -> None:
    held = Held({})
    columns = FeatureReader(PLAN, cast("redis.Redis", held)).get_columns({"spending": [], "speed": []}, T0)
    assert (columns.values.shape, columns.states.shape, held.commands) == ((0, 4 + 7), (0, 2), 0)


@pytest.mark.parametrize("wanted", [{}, {"spending": ["a"], "trade": ["b", "c"]}])
def test_rows_of_different_numbers_are_refused(wanted: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"have the same number: (no view|spending: 1, trade: 2)"):
        reader_of({}).get_columns(wanted, T0)


def test_an_unknown_view_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match="no view 'spendings'; it has spending, "):
        reader_of({}).get_columns({"spendings": ["a"]}, T0)


def test_an_unknown_feature_is_refused_with_those_that_there_are() -> None:
    columns = reader_of({}).get_columns({"trade": ["a"]}, T0)
    with pytest.raises(KeyError, match=r"no feature is_new; there are trade\.card"):
        columns["is_new"]


def test_a_value_that_is_no_vector_of_the_entity_reads_as_missing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (vector,) = stored("speed", speed("another")).values()
    values = {redis_key(PLAN, PLAN.view("speed"), "c1"): vector}
    assert reader_of(values).get_columns({"speed": ["c1"]}, T0).states.tolist() == [["MISSING"]]
    assert reader_of(values).get("speed", "c1", T0).state is VectorState.MISSING
    assert caplog.text.count("the stored vector is that of another entity") == 2
