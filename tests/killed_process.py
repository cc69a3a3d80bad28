"""A process that is killed within a call to the filesystem: nothing that it does afterwards has an effect.

Unlike an exception alone, a kill lets no cleanup run: files that were being written stay as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

_CALLS: tuple[tuple[Any, str], ...] = (
    *((Path, name) for name in ("mkdir", "open", "replace", "rmdir", "unlink")),
    *((os, name) for name in ("fsync", "link")),
    (shutil, "rmtree"),
    *((pq.ParquetWriter, name) for name in ("write_batch", "write_table")),
)


class Killed(BaseException):
    """The process ends here."""


class Process:
    """Counts steps: two for each call, before and after it; at one of them the process is killed."""

    def __init__(self, at: int | None) -> None:
        self.steps, self._at = 0, at

    def step(self) -> None:
        """Go one step further.

        Raises:
            Killed: if the process is dead.
        """
        self.steps += 1
        if self._at is not None and self.steps > self._at:
            raise Killed


@contextmanager
def process(at: int | None = None) -> Iterator[Process]:
    """Run what is in the context as a process that is killed at this step; None: never, but its steps are counted."""
    one = Process(at)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _CALLS:
            patch.setattr(owner, name, _within(one, getattr(owner, name)))
        with suppress(Killed):
            yield one


def _within(one: Process, call: Any) -> Any:
    def stepping(*arguments: Any, **options: Any) -> Any:
        one.step()
        result = call(*arguments, **options)
        one.step()
        return result

    return stepping


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
