"""The limits of the Redis store."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from penstock.errors import PenstockError
from sinks.stores.redis import RedisStore
from streams.plan.project import Project
from tests.sinks.payments import payments

PROJECT = Project.of(payments("payments"), Path("nothing is committed"))


def test_a_time_to_live_that_redis_cannot_count_is_refused_before_anything_is_written() -> None:
    with pytest.raises(PenstockError, match="more than Redis can count") as refused:
        RedisStore(PROJECT, redis.Redis(), 2**62)
    assert "view spending@1" in str(refused.value)


def test_a_hundred_years_are_a_time_to_live() -> None:
    RedisStore(PROJECT, redis.Redis(), 100 * 365 * 86_400_000)
