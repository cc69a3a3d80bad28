"""The ports of one stack: defaults, free ones, and who holds a port that is taken."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from penstock.errors import PenstockError

# Below the range from which Linux takes the ports of outgoing connections (32768 up): a free port stays free.
_FREE_RANGE = range(20_000, 32_000)
_LISTEN = "0A"
_WILDCARDS = {"00000000", "0" * 32}
_LOOPBACKS = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@dataclass(frozen=True)
class Ports:
    """Every TCP port that a stack listens on, all on 127.0.0.1. `Ports()` holds the defaults."""

    kafka: int = 19092
    kafka_controller: int = 19093
    zookeeper: int = 12181
    redis: int = 16379
    cassandra: int = 19042
    cassandra_storage: int = 17000
    triton_http: int = 18000
    triton_grpc: int = 18001
    triton_metrics: int = 18002
    flink_rest: int = 18081
    flink_rpc: int = 18082
    flink_blob: int = 18083
    jobmanager_metrics: int = 18084
    taskmanager_metrics: int = 18085

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody listens on now, for a stack beside others."""
        chosen: list[int] = []
        candidates = random.sample(_FREE_RANGE, k=len(_FREE_RANGE))
        for port in candidates:
            if len(chosen) == len(fields(cls)):
                break
            if _can_bind(port):
                chosen.append(port)
        return cls(**{field.name: port for field, port in zip(fields(cls), chosen, strict=True)})

    def with_overrides(self, overrides: Mapping[str, int]) -> Ports:
        """These ports with some replaced.

        Raises:
            PenstockError: a name is not a port of the stack.
        """
        unknown = sorted(set(overrides) - {field.name for field in fields(self)})
        if unknown:
            names = ", ".join(field.name for field in fields(self))
            raise PenstockError(f"no such port: {', '.join(unknown)}", next=f"use one of {names}")
        return replace(self, **overrides)

    def as_dict(self) -> dict[str, int]:
        """Name to port, in declaration order."""
        return asdict(self)


def parse_overrides(texts: Iterable[str]) -> dict[str, int]:
    """Reads `kafka=29092,redis=26379` items, as options and PENSTOCK_PORTS give them.

    Raises:
        PenstockError: an item is not `name=port`.
    """
    overrides: dict[str, int] = {}
    for item in (part.strip() for text in texts for part in text.split(",")):
        if not item:
            continue
        name, _, value = item.partition("=")
        if not value.isdigit() or not 0 < int(value) < 65_536:
            raise PenstockError(f"not a port: {item!r}", next="write it as NAME=PORT, for example kafka=29092")
        overrides[name.strip().replace("-", "_")] = int(value)
    return overrides


def taken(wanted: Mapping[str, int]) -> dict[str, int]:
    """Those of the wanted ports (by name) that cannot be listened on now."""
    return {name: port for name, port in wanted.items() if not _can_bind(port)}


def owner_of(port: int) -> str | None:
    """`pid 123 (redis-server)` for the process that listens on `port`, where /proc lets us see it."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and inodes & set(_open_files(process)):
            name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            return f"pid {process.name} ({name})"
    return None


def _open_files(process: Path) -> Iterable[str]:
    # Another user's process hides its descriptors, and any of them may be closed meanwhile.
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(process / "fd"):  # noqa: PTH208 - names alone
            with contextlib.suppress(OSError):
                yield str((process / "fd" / descriptor).readlink())


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port in TIME_WAIT is free, one being listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
        return True


def _listening_inodes(port: int) -> Iterable[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()
            address, _, hex_port = columns[1].partition(":")
            ours = address in _WILDCARDS or address in _LOOPBACKS
            if columns[3] == _LISTEN and ours and int(hex_port, 16) == port:
                yield f"socket:[{columns[9]}]"
