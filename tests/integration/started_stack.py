"""A stack of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import Ports
from deploy.local.stack import Stack

# What each program has to become ready: on a busy machine, some take minutes.
START_S = 360.0


@contextmanager
def started_stack(folder: Path) -> Iterator[Stack]:
    """A whole stack in a folder, on free ports; it is taken down at the end."""
    stack = Stack(folder, Ports.free())
    try:
        stack.up(timeout_s=START_S)
        yield stack
    finally:
        stack.down()
