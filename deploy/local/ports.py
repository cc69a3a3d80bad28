"""The ports of one stack: the services' defaults, free ones, and the process that holds a taken one."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from deploy.local.services import SERVICES
from penstock.errors import PenstockError

# Below Linux's ephemeral ports (from 32768), so that no outgoing connection takes the port.
_FREE_RANGE = range(20_000, 32_000)
_LISTEN = "0A"
_WILDCARDS = {"00000000", "0" * 32}
_LOOPBACKS = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


class Ports(Mapping[str, int]):
    """Every TCP port that a stack listens on, all on 127.0.0.1, by name.

    Args:
        overrides: Ports to use instead of the services' defaults.

    Raises:
        PenstockError: a name in `overrides` is not a port of a service.
    """

    def __init__(self, overrides: Mapping[str, int] | None = None) -> None:
        defaults = {name: port for service in SERVICES.values() for name, port in service.ports.items()}
        unknown = sorted(set(overrides or {}) - set(defaults))
        if unknown:
            raise PenstockError(f"no such port: {', '.join(unknown)}", next=f"use one of {', '.join(defaults)}")
        self._numbers = {**defaults, **(overrides or {})}

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody listens on now, for a stack beside others."""
        candidates = random.sample(_FREE_RANGE, k=len(_FREE_RANGE))
        free = (port for port in candidates if _can_bind(port))
        return cls(dict(zip(cls(), free, strict=False)))

    def with_overrides(self, overrides: Mapping[str, int]) -> Ports:
        """These ports with some replaced.

        Raises:
            PenstockError: a name is not a port of a service.
        """
        return Ports({**self, **overrides})

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return f"Ports({self._numbers})"


def parse_overrides(texts: Iterable[str]) -> dict[str, int]:
    """Parses `kafka=29092,redis=26379` items, as options and PENSTOCK_PORTS give them.

    Raises:
        PenstockError: an item is not `name=port`.
    """
    overrides: dict[str, int] = {}
    for item in (piece.strip() for text in texts for piece in text.split(",")):
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
    """`pid 123 (redis-server)` for the process that listens on `port`, if /proc shows it."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and inodes & set(_open_files(process)):
            name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            return f"pid {process.name} ({name})"
    return None


def _open_files(process: Path) -> Iterable[str]:
    # Processes of other users hide their descriptors; a descriptor may be closed meanwhile.
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
