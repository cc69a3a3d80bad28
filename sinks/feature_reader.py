"""Reads vectors from Redis, the online store."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, cast

import redis

from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from sinks.stores.redis import redis_key
from sinks.vector_columns import ColumnFormat, FeatureColumns, NumberedColumns, Times
from sinks.vector_format import FeatureVector, VectorFormat
from streams.plan.model import PipelinePlan, ViewPlan
from streams.plan.project import Project

_log = logging.getLogger(__name__)

# How long a batch waits for Redis: the vectors of a thousand entities take it a few milliseconds.
_DEADLINE_S = 0.1


class FeatureReader:
    """Reads vectors of a pipeline's views. Not to be shared between threads.

    Args:
        plan: The pipeline's plan.
        client: Redis, see :func:`penstock.redis_client.connect_redis`; may be replaced later.
    """

    def __init__(self, plan: PipelinePlan, client: redis.Redis) -> None:
        self._plan = plan
        self.client = client
        self._views = {view.name: _View(plan, view) for view in plan.views}

    def get(self, view: str, entity: str, now_ms: int) -> FeatureVector:
        """As :meth:`get_many`, for one."""
        reader = self._view(view)
        (blob,) = self._blobs([reader.key(entity)])
        return reader.read(entity, blob, now_ms)

    def get_many(self, wanted: Sequence[tuple[str, str]], now_ms: int) -> list[FeatureVector]:
        """The vectors of ``(view name, entity)`` as they read at ``now_ms`` (event time), in order; one round trip.

        A stored value that is no vector of the entity in this version of the view reads as MISSING, and is logged: one
        bad key must not fail a whole batch.

        Raises:
            KeyError: if there is no such view.
            redis.RedisError: if Redis does not answer.
        """
        if not wanted:
            return []
        readers = [(self._view(view), entity) for view, entity in wanted]
        blobs = self._blobs([reader.key(entity) for reader, entity in readers])
        return [reader.read(entity, blob, now_ms) for (reader, entity), blob in zip(readers, blobs, strict=True)]

    def get_columns(self, wanted: Mapping[str, Sequence[str]], now_ms: int) -> FeatureColumns:
        """The vectors of n entities of each view, as columns: row i has those of each view's entity i. One round trip.

        Values, and what cannot be read, are as of :meth:`get_many`.

        Raises:
            KeyError: if there is no such view.
            ValueError: if no view is given, or the views have different numbers of entities.
            redis.RedisError: if Redis does not answer.
        """
        readers = [(self._view(view), entities) for view, entities in wanted.items()]
        if len({len(entities) for _, entities in readers}) != 1:
            given = ", ".join(f"{view}: {len(entities)}" for view, entities in wanted.items()) or "no view"
            raise ValueError(f"each view needs an entity for each row, so that all have the same number: {given}")
        blobs = iter(self._blobs([reader.key(entity) for reader, entities in readers for entity in entities]))
        return FeatureColumns.beside(
            [reader.columns.read(entities, [next(blobs) for _ in entities], now_ms) for reader, entities in readers]
        )

    def _blobs(self, keys: list[bytes]) -> list[bytes | None]:
        # MGET for one key, too: it is the only command that a reader's user needs to be permitted.
        return cast("list[bytes | None]", self.client.mget(keys)) if keys else []

    def _view(self, name: str) -> _View:
        reader = self._views.get(name)
        return reader if reader is not None else self._views[self._plan.view(name).name]


class Wanted(Protocol):
    """The vectors to read of a view: of n entities, each as it reads at an event time (epoch ms)."""

    @property
    def pipeline(self) -> str: ...  # noqa: D102
    @property
    def view(self) -> str: ...  # noqa: D102
    @property
    def entities(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def at_ms(self) -> Times: ...  # noqa: D102


class PipelinesReader:
    """Reads vectors of views of several pipelines together. Not to be shared between threads.

    Args:
        views: The views, each with its pipeline.
        client: Redis.
    """

    def __init__(self, views: Iterable[tuple[PipelinePlan, ViewPlan]], client: redis.Redis) -> None:
        self._views = {(plan.pipeline, view.name): _View(plan, view) for plan, view in views}
        self._client = client

    def read(self, wanted: Sequence[Wanted]) -> list[NumberedColumns]:
        """The vectors of each view, in order; one round trip, in which each key is asked for once.

        What cannot be read is as of :meth:`FeatureReader.get_many`.

        Raises:
            redis.RedisError: if Redis does not answer.
        """
        readers = [self._views[one.pipeline, one.view] for one in wanted]
        keys = [list(map(reader.key, one.entities)) for reader, one in zip(readers, wanted, strict=True)]
        distinct = list(dict.fromkeys(itertools.chain.from_iterable(keys)))
        found = self._client.mget(distinct) if distinct else []
        blobs = dict(zip(distinct, cast("list[bytes | None]", found), strict=True))
        return [
            reader.columns.numbered(one.entities, [blobs[key] for key in of_view], one.at_ms)
            for reader, one, of_view in zip(readers, wanted, keys, strict=True)
        ]


def other_views_reader(project: Project, settings: Settings) -> PipelinesReader:
    """A reader of the views of other pipelines from which a pipeline's model takes inputs; it connects when it reads.

    Raises:
        PenstockError: if a file with the password cannot be read.
    """
    views = [(other.plan, other.view) for other in project.other_views]
    return PipelinesReader(views, connect_redis(settings.redis, deadline_s=_DEADLINE_S))


class _View:
    """What does not change from one vector of a view to the next."""

    def __init__(self, plan: PipelinePlan, view: ViewPlan) -> None:
        self._before, _, self._after = redis_key(plan, view, "\0").encode().partition(b"\0")
        self.format = VectorFormat(view)
        self.columns = ColumnFormat(view, self.format)

    def key(self, entity: str) -> bytes:
        """The key of an entity's vector."""
        return self._before + entity.encode() + self._after

    def read(self, entity: str, blob: bytes | None, now_ms: int) -> FeatureVector:
        """The vector in a blob."""
        try:
            return self.format.read(entity, blob, now_ms)
        except (Undecodable, UnknownSchema) as error:
            _log.warning("read as MISSING: %s", error)
            return self.format.read(entity, None, now_ms)
