"""Redis: the online store."""

from __future__ import annotations

import shutil

import redis

from deploy.local.services.base import HOST, Layout, Program, Service, write
from penstock.errors import PenstockError


def redis_conf(layout: Layout) -> str:
    """The server's configuration."""
    settings = {
        "bind": HOST,
        "port": str(layout.ports.redis),
        "dir": f'"{layout.data("redis")}"',
        "daemonize": "no",
        # The append-only file survives a kill, snapshots on top of it would only cost.
        "save": '""',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory": "1gb",
        # Evicting features in silence would be a wrong answer; refusing writes is an error that somebody sees.
        "maxmemory-policy": "noeviction",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def prepare(layout: Layout) -> None:
    """Writes the configuration."""
    write(layout.data("redis") / "redis.conf", redis_conf(layout))


def programs(layout: Layout) -> list[Program]:
    """The server."""
    server = shutil.which("redis-server")
    if server is None:
        raise PenstockError("redis-server is missing", next="make setup")
    command = [server, str(layout.data("redis") / "redis.conf")]
    return [Program("redis", command, ready=lambda: _ready(layout.ports.redis))]


def _ready(port: int) -> str:
    with redis.Redis(HOST, port, socket_timeout=2, socket_connect_timeout=1) as client:
        client.ping()
        info = client.info("server")
    return str(info["redis_version"]) if isinstance(info, dict) else ""


def environment(layout: Layout) -> dict[str, str]:
    """Where clients find it."""
    return {"PENSTOCK_REDIS_URL": f"redis://{HOST}:{layout.ports.redis}/0"}


REDIS = Service("redis", "Redis", ("redis",), prepare, programs, {"redis": 1}, environment)
