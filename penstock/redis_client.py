"""Connections to Redis."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.sections import RedisSettings


def connect_redis(settings: RedisSettings) -> redis.Redis:
    """A client that answers or fails within seconds; the sink's runner does the retries.

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
