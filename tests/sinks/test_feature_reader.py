"""Vectors of several pipelines are read together, each as of a time of its own."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import redis

from sinks.emitted_vectors import EmittedVector
from sinks.feature_reader import PipelinesReader
from sinks.stores.redis import redis_key
from sinks.vector_format import VectorFormat, VectorState
from streams.plan.compiler import compile_plan
from tests.sinks.payments import PLAN, T0, payments, spending, trade

OTHER = compile_plan(payments("other"))
HOUR = 3_600_000


class Wanted(NamedTuple):
    pipeline: str
    view: str
    entity: str
    at_ms: int


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


def test_views_of_several_pipelines_are_one_request_that_asks_for_each_key_once() -> None:
    held = Redis(stored(PLAN, "spending", spending("c1")) | stored(OTHER, "trade", trade("s1")))
    views = [(PLAN, PLAN.view("spending")), (OTHER, OTHER.view("trade"))]
    found = PipelinesReader(views, cast("redis.Redis", held)).get_many(
        [
            Wanted("payments", "spending", "c1", T0),
            Wanted("other", "trade", "s1", T0),
            Wanted("payments", "spending", "c1", T0 + HOUR - 1),
            Wanted("payments", "spending", "c1", T0 + HOUR),
            Wanted("payments", "spending", "c2", T0),
        ]
    )
    present, stale, expired, missing = (VectorState(name) for name in ("PRESENT", "STALE", "EXPIRED", "MISSING"))
    assert [vector.state for vector in found] == [present, present, stale, expired, missing]
    assert [vector.values.get("count_1m") for vector in found] == [1, None, 0, 0, 0]
    assert [len(keys) for keys in held.asked] == [3]


def test_what_is_no_vector_reads_as_missing() -> None:
    view = PLAN.view("spending")
    held = Redis({redis_key(PLAN, view, "c1").encode(): b"\x01" + bytes(60)})
    (found,) = PipelinesReader([(PLAN, view)], cast("redis.Redis", held)).get_many(
        [Wanted("payments", "spending", "c1", T0)]
    )
    assert found.state == VectorState.MISSING
