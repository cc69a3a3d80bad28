"""Redis, the online store: the latest vector of each entity, kept by one atomic compare, read with one MGET."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.kafka.lag import Partition
from penstock.sections import RedisSettings
from schemas.codec import Undecodable, UnknownSchema
from sinks.emissions import Emission, emissions, newest
from sinks.store import NO_REACH, Reach, StoreUnavailable
from sinks.vectors import Vector, VectorFormat, time_to_live_ms
from streams.plan.feature_records import FeaturesDecoder, features_schema
from streams.plan.model import PipelinePlan, ViewPlan

_log = logging.getLogger(__name__)

# Stored only if (epoch, seq, attempt, as_of) is greater than what is there. Lua's numbers are doubles, exact to 2**53
# only, so the four 64-bit numbers are compared as eight of 32 bits. One key per call: it runs as it is on a cluster.
_STORE_IF_NEWER = """
local old = redis.pcall('GETRANGE', KEYS[1], 1, 32)
if type(old) == 'string' and #old == 32 then
  local a = {struct.unpack('>I4I4I4I4I4I4i4I4', ARGV[1], 2)}
  local b = {struct.unpack('>I4I4I4I4I4I4i4I4', old, 1)}
  local newer = false
  for i = 1, 8 do
    if a[i] ~= b[i] then
      newer = a[i] > b[i]
      break
    end
  end
  if not newer then
    return 0
  end
end
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
"""

# How far a partition is held, set to ARGV[2] unless that is less than it should be (ARGV[1]): then what is held is the
# answer, else -1. It is set back, too, if a sink begins again further back: that claims less, and is never wrong.
# Read as the sink's user may read; an error must not pass for a note that is gone.
_NOTE_REACH = """
local held = tonumber(redis.call('GETRANGE', KEYS[1], 0, -1)) or 0
if held < tonumber(ARGV[1]) then
  return held
end
redis.call('SET', KEYS[1], ARGV[2])
return -1
"""


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that answers or fails within seconds: waiting for better times is the runner's work.

    Raises:
        PenstockError: if a file with the password cannot be read.
    """
    password, tls = settings.secret("password"), settings.encryption
    files = {} if tls is None else {"ca_certs": tls.ca_file, "certfile": tls.certificate_file, "keyfile": tls.key_file}
    return redis.Redis.from_url(
        settings.url,
        username=settings.username,
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


def reach_key(plan: PipelinePlan, partition: Partition) -> str:
    """Where Redis notes how far it holds a partition; no view's key, as those have an ``@`` here."""
    return f"penstock:{plan.pipeline}:sink:{partition[0]}:{partition[1]}"


class RedisStore:
    """The store of ``penstock sink run redis``.

    What a server acknowledged it can lose: it writes to disk once a second, may be flushed, and may fall back to a
    replica that is behind. All of these keep the order of writes, so the note behind a batch tells of its vectors.

    Args:
        plan: The pipeline's plan.
        client: Redis, see :func:`connect`.
        grace_ms: How long a vector is kept beyond its use, see :func:`sinks.vectors.time_to_live_ms`.
        decoder: Reads the features topic; by default the records of ``plan`` alone.
    """

    name = "redis"

    def __init__(
        self, plan: PipelinePlan, client: redis.Redis, grace_ms: int, decoder: FeaturesDecoder | None = None
    ) -> None:
        self.topics: tuple[str, ...] = (plan.features_topic,)
        self._plan = plan
        self._client = client
        self._decoder = decoder or FeaturesDecoder(features_schema(plan))
        self._formats = {view.id: VectorFormat(view) for view in plan.views}
        ahead_ms = max(source.max_future_ms for source in plan.sources)
        lives = {view.id: time_to_live_ms(view, ahead_ms, grace_ms) for view in plan.views}
        # An empty text keeps the vector for good.
        self._ttl_ms = {name: "" if ttl_ms is None else str(ttl_ms) for name, ttl_ms in lives.items()}
        self._store_if_newer = self._note_reach = ""

    def open(self) -> None:
        """Load the scripts; this is also the first word with the server."""
        try:
            self._store_if_newer = str(self._client.script_load(_STORE_IF_NEWER))
            self._note_reach = str(self._client.script_load(_NOTE_REACH))
        except redis.RedisError as error:
            raise self._unavailable(error) from error

    def read(self, topic: str, value: bytes) -> list[Emission]:  # noqa: ARG002 - there is one topic
        """The vectors of a feature record."""
        return emissions(self._plan, self._decoder.decode(value))

    def write(
        self, items: Sequence[list[Emission]], reach: Mapping[Partition, Reach] = NO_REACH
    ) -> Mapping[Partition, int]:
        """Store the newest of each entity, unless the store has a newer one; one round trip."""
        try:
            answers = self._run(items, reach)
            if answers is None:
                # The server was restarted, or its scripts were flushed: some calls did nothing. All may be made again.
                self.open()
                answers = self._run(items, reach)
                if answers is None:
                    raise redis.exceptions.NoScriptError("the script is forgotten as soon as it is loaded")
        except redis.RedisError as error:
            raise self._unavailable(error) from error
        notes = zip(reach, answers[len(answers) - len(reach) :], strict=True)
        return {partition: held for partition, held in notes if held >= 0}

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _run(self, items: Sequence[list[Emission]], reach: Mapping[Partition, Reach]) -> list[int] | None:
        """The answers of all calls, the notes' at the end; None if the server lacked a script."""
        pipeline = self._client.pipeline(transaction=False)
        for emission in newest(itertools.chain.from_iterable(items)):
            view = emission.view
            key, value = redis_key(self._plan, view, emission.entity), self._formats[view.id].pack(emission)
            pipeline.evalsha(self._store_if_newer, 1, key, value, self._ttl_ms[view.id])
        for partition, (had, has) in reach.items():
            pipeline.evalsha(self._note_reach, 1, reach_key(self._plan, partition), str(had), str(has))
        answers = pipeline.execute(raise_on_error=False)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        for error in errors:
            if not isinstance(error, redis.exceptions.NoScriptError):
                raise error
        return None if errors else answers

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
