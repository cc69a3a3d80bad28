"""Connections to Redis, and whether it may evict what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.errors import PenstockError
from penstock.sections import RedisSettings


def connect_redis(
    settings: RedisSettings, *, one_connection: bool = False, deadline_s: float | None = None
) -> redis.Redis:
    """A client that answers or fails within seconds; the sink's runner does the retries.

    Args:
        settings: Where Redis is, and the access to it.
        one_connection: Connect now, and send every command over this connection: a read then costs a quarter less
            than over one that a pool hands out and checks each time. For one thread of one process. Who interrupts a
            command must close the client, because the answer would pass for that of the next command.
        deadline_s: How long Redis may take to accept a connection, and to go on with an answer; no late one is retried.

    Raises:
        PenstockError: if a file with the password cannot be read.
        redis.RedisError: with ``one_connection``, if Redis does not answer.
    """
    password, tls = settings.secret("password"), settings.encryption
    files = {} if tls is None else {"ca_certs": tls.ca_file, "certfile": tls.certificate_file, "keyfile": tls.key_file}
    return redis.Redis.from_url(
        settings.url,
        username=settings.username,
        password=None if password is None else password.get_secret_value(),
        socket_timeout=deadline_s or 5,
        socket_connect_timeout=deadline_s or 3,
        single_connection_client=one_connection,
        # One retry: a pooled connection that the server has closed meanwhile is no outage.
        retry=Retry(NoBackoff(), 1) if deadline_s is None else Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        **{f"ssl_{name}": str(path) for name, path in files.items() if path is not None},
    )


def eviction_of(client: redis.Redis) -> str | None:
    """The policy by which Redis evicts keys when it is full; None if it evicts none (no limit, or ``noeviction``).

    Asks with INFO, because managed servers seldom permit CONFIG.

    Raises:
        EvictionUnknown: if the user may not ask, or the server does not say.
        redis.RedisError: if Redis does not answer.
    """
    try:
        memory = cast("Mapping[str, Any]", client.info("memory"))
    except redis.ResponseError as error:  # no permission, or the command was renamed
        raise EvictionUnknown(str(error)) from error
    if "maxmemory" not in memory or "maxmemory_policy" not in memory:
        raise EvictionUnknown("INFO does not name maxmemory and maxmemory_policy")
    policy = str(memory["maxmemory_policy"])
    return None if int(memory["maxmemory"]) == 0 or policy == "noeviction" else policy


class EvictionUnknown(Exception):  # noqa: N818 - a condition
    """It cannot be told whether Redis evicts keys."""


def eviction_error(policy: str, where: str) -> PenstockError:
    """The error for a Redis that evicts keys by this policy."""
    what = "evicts the vectors, and keeps" if policy.startswith("volatile") else "evicts vectors as well as"
    return PenstockError(
        f"Redis evicts keys when it is full (maxmemory-policy {policy}): it {what} the offsets that show a loss, so "
        "readers would find entities missing without a word",
        where=where,
        safe="nothing was written",
        next="redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration or parameter group",
    )
