"""Identifies processes by pid and start time, because the system reuses pids."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Identity:
    """A unique process: its pid and its start time in clock ticks since boot."""

    pid: int
    start_time: int

    @property
    def alive(self) -> bool:
        """Whether this process still runs (a zombie does not)."""
        return identity_of(self.pid) == self


def identity_of(pid: int) -> Identity | None:
    """The identity of a running process, or None if there is none with this pid."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold any character; the columns begin after the last parenthesis.
    columns = text.rpartition(")")[2].split()
    return None if columns[0] in "ZX" else Identity(pid, int(columns[19]))


def marked(variable: str, value: str) -> list[Identity]:
    """Every process that was started with `variable=value` in its environment, children included."""
    needle = f"{variable}={value}".encode()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):  # another user's process, or ended meanwhile
            environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
            identity = identity_of(pid)
            if identity is not None and needle in environment:
                found.append(identity)
    return found


def environment_of(process: Identity) -> dict[str, str] | None:
    """The environment that a process was started with; None if it has ended, or is another user's."""
    with contextlib.suppress(OSError):
        environment = _environment(process.pid)
        if process.alive:
            return environment
    return None


def started_with(variable: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The parent's pid, and the environment, of every process that has a variable in it."""
    for pid in _pids():
        with contextlib.suppress(OSError):  # another user's process, or ended meanwhile
            environment = _environment(pid)
            if variable in environment:
                stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
                yield int(stat.rpartition(")")[2].split()[1]), environment


def of_session(leader: Identity, folder: Path) -> list[Identity]:
    """Every process of the session that `leader` opened and that works inside `folder`, except the leader.

    A session can outlive its leader, and the system does not reuse its number before it ends.
    """
    present = identity_of(leader.pid)
    if present is not None and present != leader:
        return []  # the pid was reused, so the session has ended
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            inside = (_PROC / str(pid) / "cwd").readlink().is_relative_to(folder)
            identity = identity_of(pid)
            if inside and identity is not None and identity != leader and os.getsid(pid) == leader.pid:
                found.append(identity)
    return found


def _environment(pid: int) -> dict[str, str]:
    # As os.environ has bytes that are no UTF-8.
    entries = os.fsdecode((_PROC / str(pid) / "environ").read_bytes()).split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def _pids() -> Iterable[int]:
    return (int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit() and int(folder.name) != os.getpid())


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


def end_with_parent() -> None:
    """Make Linux stop this process when its parent ends, also by SIGKILL; call it in the child before exec.

    The parent is the thread that started the process.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
