"""Reads the latest vector of an entity from Redis, for serving systems.

::

    from penstock.online import OnlineFeatures

    with OnlineFeatures("ads/pipeline.py") as features:
        vector = features.get("card_spend", features.entity("card_spend", "4111-1111"))
        vector.values["amount_sum_1h"]

Values are as of the time of the call: a window whose events have all left it reads as empty.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from penstock.redis_client import connect_redis
from penstock.settings import Settings
from sinks.feature_reader import FeatureReader
from sinks.vector_format import FeatureVector, VectorState
from streams.plan.entity_text import composite_text, entity_text, stored_entity_text
from streams.plan.project import open_project

__all__ = ["FeatureVector", "OnlineFeatures", "VectorState"]


class OnlineFeatures:
    """The online store of one pipeline. Do not share it between threads.

    Args:
        pipeline: The pipeline's file, folder, or the name of its folder, as on the command line.
        settings: The address of Redis and the key of personal data; by default from the environment.

    Raises:
        PenstockError: if there is no such pipeline.
    """

    def __init__(self, pipeline: str, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._plan = open_project(pipeline).plan
        self._client = connect_redis(self._settings.redis)
        self._reader = FeatureReader(self._plan, self._client)

    def entity(self, view: str, *values: str | int | bool) -> str:
        """The entity with these values, one for each of its columns, as the store names it.

        Personal values are hashed with the pipeline's key.

        Raises:
            KeyError: if there is no such view.
            ValueError: if the view's entity has another number of columns.
            PenstockError: if a value is personal and no key is set.
        """
        plan = self._plan.view(view)
        columns, personal = self._plan.key_columns(plan), self._plan.hashed_columns(plan)
        if len(values) != len(columns):
            raise ValueError(
                f"view {view} is keyed by {', '.join(columns)}: give {len(columns)} values, not {len(values)}"
            )
        text = entity_text(values[0]) if len(values) == 1 else composite_text(values)
        assert text is not None  # no value is None
        if not any(personal):
            return text
        return stored_entity_text(text, personal, self._settings.pii.require_key().get_secret_value().encode())

    def get(self, view: str, entity: str, at_ms: int | None = None) -> FeatureVector:
        """The vector of an entity as it reads at ``at_ms`` (event time in epoch ms; default: now).

        Raises:
            KeyError: if there is no such view.
            redis.RedisError: if Redis does not answer.
        """
        return self.get_many([(view, entity)], at_ms)[0]

    def get_many(self, keys: Sequence[tuple[str, str]], at_ms: int | None = None) -> list[FeatureVector]:
        """The vectors of several ``(view, entity)`` pairs, in order, in one round trip; otherwise as :meth:`get`."""
        return self._reader.get_many(keys, time.time_ns() // 1_000_000 if at_ms is None else at_ms)

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
