"""Redis, the online store: the latest vector of each entity, replaced only by a newer one."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import redis
from pydantic import Field

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.redis_client import EvictionUnknown, connect_redis, eviction_error, eviction_of
from penstock.settings import Settings
from schemas.codec import Undecodable, UnknownSchema
from schemas.columns import Columns, Mask, slices
from schemas.records import TIMER
from sinks.emitted_vectors import EmittedVector
from sinks.feature_batches import FeatureBatches
from sinks.store_interface import NO_MARKS, OffsetMark, StoreOptions, StoreType, StoreUnavailable
from sinks.vector_format import VectorFormat, time_to_live_ms
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import Duration, duration_ms
from streams.plan.model import PipelinePlan, ViewPlan
from streams.plan.project import Project

_log = logging.getLogger(__name__)

# Redis adds the time to live to the present time, in milliseconds of 64 bits.
_LONGEST_TTL_MS = 2**62
# Stores each vector only if its (epoch, seq, attempt, as_of) is greater than the stored one. ARGV[1] is the time to
# live of all, empty for none; then come the vectors. Lua's numbers are doubles, exact to 2**53 only, so the four 64-bit
# numbers are compared as eight of 32 bits.
_STORE_IF_NEWER = """
local unpack = struct.unpack
for i, key in ipairs(KEYS) do
  local new = ARGV[i + 1]
  local old = redis.pcall('GETRANGE', key, 1, 32)
  local newer = true
  if type(old) == 'string' and #old == 32 then
    newer = false
    for at = 1, 32, 4 do
      local format = at == 25 and '>i4' or '>I4'
      local a, b = unpack(format, new, at + 1), unpack(format, old, at)
      if a ~= b then
        newer = a > b
        break
      end
    end
  end
  if not newer then
    -- The stored vector stays.
  elseif ARGV[1] == '' then
    redis.call('SET', key, new)
  else
    redis.call('SET', key, new, 'PX', ARGV[1])
  end
end
return 0
"""
# A script holds up all other clients while it runs: a hundred vectors take half a millisecond.
_VECTORS_PER_CALL = 100

# Sets a partition's offset mark to ARGV[2] and returns -1. If the mark is below the expected offset (ARGV[1]), returns
# it unchanged. A sink that starts further back also sets the mark back, because a mark that is too low is safe.
# GETRANGE, because the sink's user may not GET; `call`, because an error must not pass for a missing mark.
_SET_MARK = """
local held = tonumber(redis.call('GETRANGE', KEYS[1], 0, -1)) or 0
if held < tonumber(ARGV[1]) then
  return held
end
redis.call('SET', KEYS[1], ARGV[2])
return -1
"""


def redis_key(plan: PipelinePlan, view: ViewPlan, entity: str) -> str:
    """The key of an entity's vector; its literal braces keep all views of an entity on one cluster node."""
    return f"penstock:{plan.pipeline}:{view.id}:{{{entity}}}"


def mark_key(plan: PipelinePlan, partition: Partition) -> str:
    """The key of a partition's offset mark; it differs from every vector's key, which has an ``@`` in this place."""
    return f"penstock:{plan.pipeline}:sink:{partition[0]}:{partition[1]}"


class StoredVector(NamedTuple):
    """A vector as Redis keeps it.

    Args:
        key: Its key.
        order: Its place among the vectors of this key; the greater is the newer.
        blob: What is stored, see :mod:`sinks.vector_format`.
        ttl_ms: Its time to live; empty for none.
    """

    key: bytes
    order: bytes
    blob: bytes
    ttl_ms: str


class RedisStore:
    """The store of ``penstock sink run redis``.

    A Redis server can lose what it acknowledged: it writes to disk once a second, may be flushed, and may fail over to
    a replica that is behind. All of these keep the order of writes. So if the offset mark that follows a batch is
    there, all vectors of the batch are.

    Args:
        project: The pipeline.
        client: Redis, see :func:`connect`.
        grace_ms: How long a vector is kept beyond its use, see :func:`sinks.vector_format.time_to_live_ms`.
    """

    name = "redis"

    def __init__(self, project: Project, client: redis.Redis, grace_ms: int) -> None:
        plan = self._plan = project.plan
        self.topics = _topics(project.pipeline)
        self._client = client
        self._batches = FeatureBatches(plan, project.features_decoder(), self._of_columns, self.stored)
        # One thread, so that writes are executed in their order while the sink decodes the next records.
        self._writer = ThreadPoolExecutor(1, "redis")
        self._formats = {view.id: VectorFormat(view) for view in plan.views}
        ahead_ms = max(source.max_future_ms for source in plan.sources)
        lives = {view.id: time_to_live_ms(view, ahead_ms, grace_ms) for view in plan.views}
        for name, ttl_ms in lives.items():
            if ttl_ms is not None and ttl_ms > _LONGEST_TTL_MS:
                raise PenstockError(
                    f"the longest window, max_future and --grace together ({ttl_ms} ms) are more than Redis can count",
                    where=f"view {name}",
                    safe="nothing was written",
                    next='over="lifetime" for a window that never ends; or a shorter --grace',
                )
        # The script takes an empty text for "no expiry".
        self._ttl_ms = {name: "" if ttl_ms is None else str(ttl_ms) for name, ttl_ms in lives.items()}
        self._store_if_newer = self._set_mark = ""

    def open(self) -> None:
        """Check that Redis keeps what it holds, and load the scripts.

        Raises:
            PenstockError: if Redis evicts keys when it is full. If its user may not ask, a warning says so instead.
        """
        try:
            self._check_eviction()
            self._store_if_newer = str(self._client.script_load(_STORE_IF_NEWER))
            self._set_mark = str(self._client.script_load(_SET_MARK))
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def decode(self, topic: str, values: Sequence[bytes]) -> list[list[StoredVector] | Undecodable | UnknownSchema]:  # noqa: ARG002 - there is one topic
        """The vectors of feature records."""
        return self._batches.decode(values)

    def stored(self, vector: EmittedVector) -> StoredVector:
        """The vector as it is written."""
        view = vector.view
        key, order = redis_key(self._plan, view, vector.entity).encode(), np.array([vector.order], ">i8")
        (sortable,) = _sortable(order)
        return StoredVector(key, sortable, self._formats[view.id].pack(vector), self._ttl_ms[view.id])

    def write(
        self, records: Sequence[Sequence[StoredVector]], marks: Mapping[Partition, OffsetMark] = NO_MARKS
    ) -> Future[Mapping[Partition, int]]:
        """Store the newest vector of each entity, unless Redis has a newer one; one round trip."""
        return self._writer.submit(self._write, records, marks)

    def close(self) -> None:
        """Disconnect."""
        self._writer.shutdown(cancel_futures=True)
        self._client.close()

    def _of_columns(self, view: ViewPlan, columns: Columns) -> tuple[list[StoredVector], Mask]:
        name, n = view.name, len(columns)
        order = np.empty((n, 4), ">i8")
        for place, field in enumerate((f"{name}.epoch", f"{name}.seq", "attempt", f"{name}.as_of")):
            order[:, place] = columns.integers(field)
        blobs = self._formats[view.id].pack_columns(
            columns.encoded(name), order, columns.integers("event_time"), columns.equals("trigger", TIMER)
        )
        before, _, after = redis_key(self._plan, view, "\0").encode().partition(b"\0")
        keys = [before + (entity or b"") + after for entity in columns.text_bytes(f"{name}.entity")]
        ttl_ms = self._ttl_ms[view.id]
        vectors = zip(keys, _sortable(order), blobs, itertools.repeat(ttl_ms, n), strict=True)
        return list(map(StoredVector._make, vectors)), np.ones(n, np.bool_)

    def _write(
        self, records: Sequence[Sequence[StoredVector]], marks: Mapping[Partition, OffsetMark]
    ) -> Mapping[Partition, int]:
        try:
            answers = self._run_scripts(records, marks)
            if answers is None:
                # The server was restarted, or its scripts were flushed: some calls did nothing. All can be repeated.
                self.open()
                answers = self._run_scripts(records, marks)
                if answers is None:
                    raise redis.exceptions.NoScriptError("the script is forgotten as soon as it is loaded")
        except redis.RedisError as error:
            raise self._unavailable(error) from error
        held = zip(marks, answers[len(answers) - len(marks) :], strict=True)
        return {partition: offset for partition, offset in held if offset >= 0}

    def _run_scripts(
        self, records: Sequence[Sequence[StoredVector]], marks: Mapping[Partition, OffsetMark]
    ) -> list[int] | None:
        """The answers of all calls, those of the marks at the end; None if the server lacked a script."""
        pipeline = self._client.pipeline(transaction=False)
        by_ttl: dict[str, list[StoredVector]] = defaultdict(list)
        for vector in newest_per_key(itertools.chain.from_iterable(records)):
            by_ttl[vector.ttl_ms].append(vector)
        for ttl_ms, vectors in by_ttl.items():
            for start in range(0, len(vectors), _VECTORS_PER_CALL):
                part = vectors[start : start + _VECTORS_PER_CALL]
                keys, blobs = [vector.key for vector in part], [vector.blob for vector in part]
                pipeline.evalsha(self._store_if_newer, len(part), *keys, ttl_ms, *blobs)
        for partition, mark in marks.items():
            key = mark_key(self._plan, partition)
            pipeline.evalsha(self._set_mark, 1, key, str(mark.expected), str(mark.new))
        answers = pipeline.execute(raise_on_error=False)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        for error in errors:
            if not isinstance(error, redis.exceptions.NoScriptError):
                raise error
        return None if errors else answers

    def _check_eviction(self) -> None:
        try:
            policy = eviction_of(self._client)
        except EvictionUnknown as unknown:
            _log.warning(
                "not checked whether Redis at %s evicts keys when it is full (maxmemory-policy must be noeviction): %s",
                self._address,
                unknown,
            )
            return
        if policy is not None:
            raise eviction_error(policy, self._address)

    @property
    def _address(self) -> str:
        where = self._client.connection_pool.connection_kwargs
        return f"{where.get('host')}:{where.get('port')}"

    def _unavailable(self, error: redis.RedisError) -> StoreUnavailable:
        return StoreUnavailable(
            f"Redis does not take writes: {error}",
            where=self._address,
            safe="features stay in their topic and are tried again",
            next="penstock status, or set PENSTOCK_REDIS_URL (and _USERNAME, _PASSWORD_FILE)",
        )


def newest_per_key(vectors: Iterable[StoredVector]) -> Iterable[StoredVector]:
    """Only the newest vector of each key; of equals the first."""
    newest: dict[bytes, StoredVector] = {}
    for vector in vectors:
        held = newest.setdefault(vector.key, vector)
        if vector.order > held.order:
            newest[vector.key] = vector
    return newest.values()


def _sortable(order: npt.NDArray[np.int64]) -> list[bytes]:
    """Each row (epoch, seq, attempt, as_of), of which only the last may be negative, as bytes that sort like it."""
    shifted = order.astype(">i8")
    shifted[:, 3] ^= np.iinfo(np.int64).min
    return slices(shifted.tobytes(), 32)


class RedisOptions(StoreOptions):
    """The options of ``penstock sink run redis``."""

    grace: Duration = Field(
        duration_ms("7d"),
        description="Keep a vector this long after its longest window has passed: "
        "raise it for replays that pause longer.",
    )


def _topics(pipeline: Pipeline) -> tuple[str, ...]:
    """The topics that the store keeps."""
    return (pipeline.features_topic,)


def _create(project: Project, settings: Settings, options: RedisOptions) -> RedisStore:
    return RedisStore(project, connect_redis(settings.redis), options.grace)


STORE = StoreType(
    name=RedisStore.name,
    summary="Keep the latest vector of every entity in Redis.",
    options=RedisOptions,
    topics=_topics,
    create=_create,
    # Fresher vectors would cost Kafka and Redis a request for each event.
    wait_ms=20,
)
