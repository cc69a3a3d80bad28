"""Reads vectors from Redis, the online store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import redis

from schemas.codec import Undecodable, UnknownSchema
from sinks.stores.redis import redis_key
from sinks.vector_format import FeatureVector, VectorFormat
from streams.plan.model import PipelinePlan

_log = logging.getLogger(__name__)


class FeatureReader:
    """Reads vectors of a pipeline's views. Not to be shared between threads.

    Args:
        plan: The pipeline's plan.
        client: Redis, see :func:`sinks.stores.redis.connect`.
    """

    def __init__(self, plan: PipelinePlan, client: redis.Redis) -> None:
        self._plan = plan
        self._client = client
        self._formats = {view.name: VectorFormat(view) for view in plan.views}

    def get_many(self, wanted: Sequence[tuple[str, str]], now_ms: int) -> list[FeatureVector]:
        """The vectors of ``(view name, entity)`` as they read at ``now_ms`` (event time), in order; one round trip.

        A stored value that is no vector of this version of the view reads as MISSING, and is logged: one bad key must
        not fail a whole batch.

        Raises:
            KeyError: if there is no such view.
            redis.RedisError: if Redis does not answer.
        """
        if not wanted:
            return []
        keys = [redis_key(self._plan, self._plan.view(view), entity) for view, entity in wanted]
        blobs = cast("list[bytes | None]", self._client.mget(keys))
        return [self._read(view, entity, blob, now_ms) for (view, entity), blob in zip(wanted, blobs, strict=True)]

    def get(self, view: str, entity: str, now_ms: int) -> FeatureVector:
        """As :meth:`get_many`, for one."""
        return self.get_many([(view, entity)], now_ms)[0]

    def _read(self, view: str, entity: str, blob: bytes | None, now_ms: int) -> FeatureVector:
        try:
            return self._formats[view].read(entity, blob, now_ms)
        except (Undecodable, UnknownSchema) as error:
            _log.warning("read as MISSING: %s", error)
            return self._formats[view].read(entity, None, now_ms)
