"""Reads the latest vector of an entity from Redis, for serving systems.

::

    from penstock.online import OnlineFeatures

    with OnlineFeatures("ads/pipeline.py") as features:
        vector = features.get("card_spend", features.entity("card_spend", "4111-1111"))
        vector.values["amount_sum_1h"]
        columns = features.get_columns({"card_spend": cards, "terminal_risk": terminals})
        columns.values  # a matrix with a row for each of these payments

Values are as of the time of the call: a window whose events have all left it reads as empty.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Self, TypeVar

from penstock.redis_client import connect_redis
from penstock.settings import Settings
from sinks.feature_reader import FeatureReader
from sinks.vector_columns import FeatureColumns
from sinks.vector_format import FeatureVector, VectorState
from streams.plan.entity_text import composite_text, entity_text, stored_entity_text
from streams.plan.project import open_project

__all__ = ["FeatureColumns", "FeatureVector", "OnlineFeatures", "VectorState"]

_Answer = TypeVar("_Answer")


class OnlineFeatures:
    """The online store of one pipeline, over one connection, which the first read opens.

    Do not share it between threads. A process that was forked opens a connection of its own.

    Args:
        pipeline: The pipeline's file, folder, or the name of its folder, as on the command line.
        settings: The address of Redis and the key of personal data; by default from the environment.

    Raises:
        PenstockError: if there is no such pipeline, or a file with the password cannot be read.
    """

    def __init__(self, pipeline: str, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._plan = open_project(pipeline).plan
        self._reader = FeatureReader(self._plan, connect_redis(self._settings.redis))
        self._connected_in: int | None = None  # the process

    def entity(self, view: str, *values: str | int | bool) -> str:
        """The entity with these values, one for each of its columns, as the store names it.

        Personal values are hashed with the pipeline's key.

        Raises:
            KeyError: if there is no such view.
            ValueError: if the view's entity has another number of columns, or a value is None.
            PenstockError: if a value is personal and no key is set.
        """
        plan = self._plan.view(view)
        columns, personal = self._plan.key_columns(plan), self._plan.hashed_columns(plan)
        if len(values) != len(columns):
            raise ValueError(
                f"view {view} is keyed by {', '.join(columns)}: give {len(columns)} values, not {len(values)}"
            )
        if None in values:
            raise ValueError(f"view {view} is keyed by {', '.join(columns)}: an entity has a value for each, not None")
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
        return self._read(lambda reader: reader.get(view, entity, _now_ms() if at_ms is None else at_ms))

    def get_many(self, keys: Sequence[tuple[str, str]], at_ms: int | None = None) -> list[FeatureVector]:
        """The vectors of several ``(view, entity)`` pairs, in order, in one round trip; otherwise as :meth:`get`."""
        return self._read(lambda reader: reader.get_many(keys, _now_ms() if at_ms is None else at_ms))

    def get_columns(self, entities: Mapping[str, Sequence[str]], at_ms: int | None = None) -> FeatureColumns:
        """The vectors of many entities as columns, in one round trip: for batches, and for the matrix of a model.

        Row i holds the vectors of entity i of each view, with the same values as :meth:`get_many` gives them. Redis
        serves nobody else while it looks up the keys of one call: some thousands are a millisecond.

        Args:
            entities: The n entities of each view; n is the same for all views.
            at_ms: As in :meth:`get`.

        Returns:
            A matrix (n, k) of the k features of all views that are numbers or booleans, with null as NaN, the other
            features as object columns, and state and ``as_of`` (epoch ms) of each vector.

        Raises:
            KeyError: if there is no such view.
            TypeError: if the entities of a view are one text, or have no order.
            ValueError: if no view is given, or one has another number of entities than the others.
            redis.RedisError: if Redis does not answer.
        """
        for view, given in entities.items():
            if isinstance(given, str | AbstractSet):
                raise TypeError(f"entities of view {view}: give a list of texts, not a {type(given).__name__}")
        return self._read(lambda reader: reader.get_columns(entities, _now_ms() if at_ms is None else at_ms))

    def _read(self, read: Callable[[FeatureReader], _Answer]) -> _Answer:
        if self._connected_in != os.getpid():
            # Also after a fork: two processes on one connection would take each other's answers.
            self.close()
            self._reader.client = connect_redis(self._settings.redis, one_connection=True)
            self._connected_in = os.getpid()
        try:
            return read(self._reader)
        except BaseException:
            # Also after an interrupt: an answer that is still on its way would pass for that of the next read.
            self.close()
            raise

    def close(self) -> None:
        """Disconnect; a later read connects again."""
        self._reader.client.close()
        self._connected_in = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
