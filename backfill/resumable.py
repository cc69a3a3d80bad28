"""What runs that can be interrupted share: the lock of their folder, and how they say that they were stopped."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import PenstockError

LOCK = ".lock"


class StoppedError(Exception):
    """A run was stopped on request; the same call continues it."""


def write_durably(folder: Path, name: str, text: str) -> None:
    """Write a file that has the whole text or, after a failure, what it had before.

    Raises:
        OSError: if it cannot be written.
    """
    partial = folder / f".{name}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / name)


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system releases it when the process ends.

    Raises:
        PenstockError: if another process holds it.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PenstockError(
                "another process is writing to this folder", where=str(folder), next="wait until it ends, or stop it"
            ) from error
        yield
