"""Vectors of several pipelines are read together, each as of a time of its own."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import redis

from sinks.emitted_vectors import EmittedVector
from sinks.feature_reader import FeatureReader, PipelinesReader
from sinks.stores.redis import redis_key
from sinks.vector_format import VectorFormat
from streams.plan.compiler import compile_plan
from tests.sinks.payments import PLAN, T0, payments, spending, trade

OTHER = compile_plan(payments("other"))
HOUR = 3_600_000


class Wanted(NamedTuple):
    pipeline: str
    view: str
    entities: list[str]
    at_ms: Any


def wanted(pipeline: str, view: str, *entities: tuple[str, int]) -> Wanted:
    return Wanted(pipeline, view, [entity for entity, _ in entities], np.array([at for _, at in entities], np.int64))


class Redis:
    """Answers MGET, the only command that a reader's user may send, and remembers the keys."""

    def __init__(self, values: dict[bytes, bytes]) -> None:
        self.values = values
        self.asked: list[list[bytes]] = []

    def mget(self, keys: list[bytes]) -> list[bytes | None]:
        self.asked.append(keys)
        return [self.values.get(key) for key in keys]


def stored(plan: Any, view: str, record: dict[str, Any]) -> dict[bytes, bytes]:
    of_view = plan.view(view)
    blob = VectorFormat(of_view).pack(EmittedVector(of_view, "e", 3, record, None))
    return {redis_key(plan, of_view, record["entity"]).encode(): blob}


def reader(held: Redis) -> PipelinesReader:
    views = [(plan, plan.view(name)) for plan in (PLAN, OTHER) for name in ("spending", "trade")]
    return PipelinesReader(views, cast("redis.Redis", held))


def test_views_of_several_pipelines_are_one_request_that_asks_for_each_key_once() -> None:
    held = Redis(stored(PLAN, "spending", spending("c1", seq=4)) | stored(OTHER, "trade", trade("s1")))
    times = (T0, T0 + HOUR - 1, T0 + HOUR)
    one, other = reader(held).read(
        [
            wanted("payments", "spending", *(("c1", at) for at in times), ("c2", T0)),
            wanted("other", "trade", ("s1", T0)),
        ]
    )
    assert one.states.tolist() == ["PRESENT", "STALE", "EXPIRED", "MISSING"]
    assert one.numbers("count_1m").tolist() == [1, 0, 0, 0]
    assert one.values("shop_last_1h") == ["s1", "s1", None, None]
    assert one.emission(0) == (0, 4, T0)
    assert (other.states.tolist(), other.values("card_approx_distinct_10m")) == (["PRESENT"], [7])
    assert [len(keys) for keys in held.asked] == [3]


def test_each_vector_reads_as_one_alone_does() -> None:
    """Of one view at many times, and by the reader of one pipeline."""
    held = Redis(stored(PLAN, "spending", spending("c1")))
    alone = FeatureReader(PLAN, cast("redis.Redis", held))
    times = [T0 + minutes * 60_000 for minutes in range(0, 120, 7)]
    (together,) = reader(held).read([wanted("payments", "spending", *(("c1", at) for at in times))])
    expected = [alone.get("spending", "c1", at) for at in times]
    assert together.states.tolist() == [str(vector.state) for vector in expected]
    for name in ("count_1m", "count_1h", "shop_last_1h"):
        assert together.values(name) == [vector.values[name] for vector in expected]


def test_an_integer_is_exact() -> None:
    large = 2**53 + 1
    held = Redis(stored(PLAN, "spending", spending("c1", count_1h=large)))
    (found,) = reader(held).read([wanted("payments", "spending", ("c1", T0), ("c1", T0 + HOUR))])
    assert found.values("count_1h") == [large, 0]


def test_what_is_no_vector_reads_as_missing() -> None:
    held = Redis({redis_key(PLAN, PLAN.view("spending"), "c1").encode(): b"\x01" + bytes(60)})
    (found,) = reader(held).read([wanted("payments", "spending", ("c1", T0))])
    assert found.states.tolist() == ["MISSING"]


def test_nothing_is_asked_for_nothing() -> None:
    held = Redis({})
    (found,) = reader(held).read([wanted("payments", "spending")])
    assert (len(found.states), held.asked) == (0, [])
