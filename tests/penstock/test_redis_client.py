"""Whether Redis evicts keys, as its INFO says."""

from __future__ import annotations

from typing import Any, cast

import pytest
import redis

from penstock.redis_client import EvictionUnknown, eviction_error, eviction_of


class FakeRedis:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    def info(self, section: str) -> dict[str, Any]:
        assert section == "memory"
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def asked(answer: dict[str, Any] | Exception) -> str | None:
    return eviction_of(cast("redis.Redis", FakeRedis(answer)))


@pytest.mark.parametrize(
    ("limit", "policy", "evicts"),
    [
        (0, "volatile-lru", None),
        (1, "noeviction", None),
        (1, "volatile-lru", "volatile-lru"),
        (1, "allkeys-random", "allkeys-random"),
    ],
)
def test_redis_evicts_with_a_limit_and_any_policy_but_noeviction(limit: int, policy: str, evicts: str | None) -> None:
    assert asked({"maxmemory": limit, "maxmemory_policy": policy}) == evicts


@pytest.mark.parametrize(
    "answer", [redis.exceptions.NoPermissionError("no permissions"), redis.ResponseError("unknown command"), {}]
)
def test_a_server_that_does_not_say_is_not_taken_for_safe(answer: dict[str, Any] | Exception) -> None:
    with pytest.raises(EvictionUnknown):
        asked(answer)


def test_an_outage_is_no_answer() -> None:
    with pytest.raises(redis.ConnectionError):
        asked(redis.ConnectionError("down"))


def test_a_volatile_policy_is_said_to_evict_the_vectors_alone() -> None:
    assert "evicts the vectors, and keeps the offsets" in str(eviction_error("volatile-ttl", "r:1"))
    assert "vectors as well as the offsets" in str(eviction_error("allkeys-lru", "r:1"))
