"""CPU time of processes, from /proc. Unlike elapsed time, it hardly depends on other load on the machine."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def seconds(pid: int) -> float:
    """User and system CPU time of a process and its living descendants, in seconds."""
    parents = {}
    used = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _fields(entry / "stat")):
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    total, family = 0.0, [pid]
    while family:
        member = family.pop()
        total += used.get(member, 0.0)
        family += [child for child, parent in parents.items() if parent == member]
    return total


def _fields(stat: Path) -> list[str]:
    """The fields of a stat file after the name, which may contain any character; empty if the process has ended."""
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
