"""Redis: the online store."""

from __future__ import annotations

import shutil

import redis

from deploy.local.services.service import HOST, Layout, Program, Service, StopPhase, printed_version, write
from penstock.errors import PenstockError
from penstock.paths import SETUP_COMMAND


def redis_conf(layout: Layout) -> str:
    """The server's configuration."""
    settings = {
        "bind": HOST,
        "port": str(layout.ports["redis"]),
        "dir": f'"{layout.data("redis")}"',
        "daemonize": "no",
        # The append-only file survives a kill; snapshots would add cost and no safety.
        "save": '""',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory": "1gb",
        # An evicted feature would be a wrong answer without an error. A refused write is an error.
        "maxmemory-policy": "noeviction",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def prepare(layout: Layout) -> None:
    """Writes the configuration."""
    write(layout.data("redis") / "redis.conf", redis_conf(layout))


def command(layout: Layout) -> list[str]:
    """The server."""
    server = shutil.which("redis-server")
    if server is None:
        raise PenstockError("redis-server is missing", next=SETUP_COMMAND)
    return [server, str(layout.data("redis") / "redis.conf")]


def _ready(layout: Layout) -> str:
    with redis.Redis(HOST, layout.ports["redis"], socket_timeout=2, socket_connect_timeout=1) as client:
        client.ping()
        info = client.info("server")
    return str(info["redis_version"]) if isinstance(info, dict) else ""


REDIS = Service(
    name="redis",
    ports={"redis": 16379},
    programs=(Program("redis", command, _ready, StopPhase.STORES),),
    prepare=prepare,
    address=lambda ports: f"Redis :{ports['redis']}",
    client_environment=lambda layout: {"PENSTOCK_REDIS_URL": f"redis://{HOST}:{layout.ports['redis']}/0"},
    versions={"redis-server": lambda: printed_version(["redis-server", "--version"], r"v=(\S+)")},
)
