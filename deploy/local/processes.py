"""Processes told apart for certain: a pid alone may be somebody else's by now, a pid with its start time is not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """One process, for ever: its pid and its start time in clock ticks since boot."""

    pid: int
    start_time: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return identity_of(self.pid) == self


def identity_of(pid: int) -> Identity | None:
    """The identity of a running process, or None if there is none with this pid."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything; what follows the last one is plain.
    columns = text.rpartition(")")[2].split()
    return None if columns[0] in "ZX" else Identity(pid, int(columns[19]))


def marked(variable: str, value: str) -> list[Identity]:
    """Every process that was started with `variable=value` in its environment, children included."""
    needle = f"{variable}={value}".encode()
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or gone meanwhile
        identity = identity_of(int(folder.name))
        if identity is not None and needle in environment:
            found.append(identity)
    return found


def name_of(pid: int) -> str:
    """The short name of a process, for messages."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return "?"


def end(processes: Iterable[Identity], *, grace_s: float) -> None:
    """Asks processes to stop, and kills those that have not after the grace period."""
    remaining = [process for process in processes if process.alive]
    for stage, seconds in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for process in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, stage)
        deadline = time.monotonic() + seconds
        while remaining and time.monotonic() < deadline:
            time.sleep(0.05)
            remaining = [process for process in remaining if process.alive]
