"""Redis, the online store: the latest vector of each entity, kept by one atomic compare, read with one MGET."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.settings import Settings
from schemas.codec import Decoder, Undecodable, UnknownSchema
from schemas.records import features_schema
from sinks.emissions import Emission, emissions, newest
from sinks.runner import StoreUnavailable
from sinks.vectors import Vector, VectorFormat, time_to_live_ms
from streams.plan import PipelinePlan, ViewPlan

_log = logging.getLogger(__name__)

# Stored only if (epoch, seq, attempt) is greater than what is there. Lua's numbers are doubles, exact to 2**53 only, so
# the three 64-bit numbers are compared as six of 32 bits. One key per call: it runs as it is on a cluster.
_STORE_IF_NEWER = """
local old = redis.pcall('GETRANGE', KEYS[1], 1, 24)
if type(old) == 'string' and #old == 24 then
  local a = {struct.unpack('>I4I4I4I4I4I4', ARGV[1], 2)}
  local b = {struct.unpack('>I4I4I4I4I4I4', old, 1)}
  local newer = false
  for i = 1, 6 do
    if a[i] ~= b[i] then
      newer = a[i] > b[i]
      break
    end
  end
  if not newer then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


def connect(settings: Settings) -> redis.Redis:
    """A client that answers or fails within seconds: waiting for better times is the runner's work.

    Raises:
        PenstockError: if a file with the password cannot be read.
    """
    password, tls = settings.secret("redis_password"), settings.tls("redis")
    files = {} if tls is None else {"ca_certs": tls.ca_file, "certfile": tls.certificate_file, "keyfile": tls.key_file}
    return redis.Redis.from_url(
        settings.redis_url,
        username=settings.redis_username,
        password=None if password is None else password.get_secret_value(),
        socket_timeout=5,
        socket_connect_timeout=3,
        # One retry: a pooled connection that the server has closed meanwhile is no outage.
        retry=Retry(NoBackoff(), 1),
        **{f"ssl_{name}": str(path) for name, path in files.items() if path is not None},
    )


def redis_key(plan: PipelinePlan, view: ViewPlan, entity: str) -> str:
    """Where an entity's vector is; the braces, taken literally, keep all views of an entity on one cluster node."""
    return f"penstock:{plan.pipeline}:{view.id}:{{{entity}}}"


class RedisStore:
    """The store of ``penstock sink run redis``.

    Args:
        plan: The pipeline's plan.
        client: Redis, see :func:`connect`.
        grace_ms: How long a vector is kept beyond its use, see :func:`sinks.vectors.time_to_live_ms`.
    """

    name = "redis"

    def __init__(self, plan: PipelinePlan, client: redis.Redis, grace_ms: int) -> None:
        self.topics: tuple[str, ...] = (plan.features_topic,)
        self._plan = plan
        self._client = client
        self._decoder = Decoder(features_schema(plan))
        self._formats = {view.id: VectorFormat(view) for view in plan.views}
        self._ttl_ms = {view.id: time_to_live_ms(view, plan.source.max_future_ms, grace_ms) for view in plan.views}
        self._script = ""

    def open(self) -> None:
        """Load the script; this is also the first word with the server."""
        try:
            self._script = str(self._client.script_load(_STORE_IF_NEWER))
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def read(self, topic: str, value: bytes) -> list[Emission]:  # noqa: ARG002 - there is one topic
        """The vectors of a feature record."""
        return emissions(self._plan, self._decoder.decode(value))

    def write(self, items: Sequence[list[Emission]]) -> None:
        """Store the newest of each entity, unless the store has a newer one; one round trip."""
        calls = [
            (redis_key(self._plan, e.view, e.entity), self._formats[e.view.id].pack(e), self._ttl_ms[e.view.id])
            for e in newest(itertools.chain.from_iterable(items))
        ]
        try:
            if self._run(calls):
                # The server was restarted, or its scripts were flushed: some calls did nothing. All may be made again.
                self.open()
                if self._run(calls):
                    raise redis.exceptions.NoScriptError("the script is forgotten as soon as it is loaded")
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _run(self, calls: Sequence[tuple[str, bytes, int]]) -> bool:
        """Make the calls; true if the server lacked the script."""
        pipeline = self._client.pipeline(transaction=False)
        for key, value, ttl_ms in calls:
            pipeline.evalsha(self._script, 1, key, value, str(ttl_ms))
        errors = [answer for answer in pipeline.execute(raise_on_error=False) if isinstance(answer, Exception)]
        for error in errors:
            if not isinstance(error, redis.exceptions.NoScriptError):
                raise error
        return bool(errors)

    def _unavailable(self, error: redis.RedisError) -> StoreUnavailable:
        where = self._client.connection_pool.connection_kwargs
        return StoreUnavailable(
            f"Redis does not take writes: {error}",
            where=f"{where.get('host')}:{where.get('port')}",
            safe="features stay in their topic and are tried again",
            next="penstock status, or set PENSTOCK_REDIS_URL (and _USERNAME, _PASSWORD_FILE)",
        )


class FeatureReader:
    """Reads vectors of a pipeline's views. Not to be shared between threads."""

    def __init__(self, plan: PipelinePlan, client: redis.Redis) -> None:
        self._plan = plan
        self._client = client
        self._formats = {view.name: VectorFormat(view) for view in plan.views}

    def get_many(self, wanted: Sequence[tuple[str, str]], now_ms: int) -> list[Vector]:
        """The vectors of ``(view name, entity)`` as they read at ``now_ms`` (event time), in order; one round trip.

        A stored value that is no vector of this version of the view reads as MISSING, and is logged: one bad key must
        not take down a batch.

        Raises:
            KeyError: if there is no such view.
            redis.RedisError: if Redis does not answer.
        """
        if not wanted:
            return []
        keys = [redis_key(self._plan, self._plan.view(view), entity) for view, entity in wanted]
        blobs = cast("list[bytes | None]", self._client.mget(keys))
        return [self._read(view, entity, blob, now_ms) for (view, entity), blob in zip(wanted, blobs, strict=True)]

    def get(self, view: str, entity: str, now_ms: int) -> Vector:
        """As :meth:`get_many`, for one."""
        return self.get_many([(view, entity)], now_ms)[0]

    def _read(self, view: str, entity: str, blob: bytes | None, now_ms: int) -> Vector:
        try:
            return self._formats[view].read(entity, blob, now_ms)
        except (Undecodable, UnknownSchema) as error:
            _log.warning("read as MISSING: %s", error)
            return self._formats[view].read(entity, None, now_ms)
