"""Puts events in the order of their times, however many they are: what does not fit into memory waits in files."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self, TypeAlias

Placed: TypeAlias = tuple[int, int, str]
"""The time of an event (epoch ms), the number of its row, and the event."""
_IN_MEMORY = 200_000
# All are open at once when they are read; a process may often have no more than 256.
_MOST_FILES = 200


class EventOrder:
    """Collects events, and gives them in the order of their times; of one time, in the order of the file.

    Args:
        in_memory: How many are kept in memory.
        most_files: As soon as there are so many files, they become one.
    """

    def __init__(self, in_memory: int = _IN_MEMORY, most_files: int = _MOST_FILES) -> None:
        self.count = 0
        self.first_ms = self.last_ms = 0
        self.out_of_order = 0
        """How many came after one with a later time."""
        self._in_memory, self._most_files = in_memory, most_files
        self._present: list[Placed] = []
        self._files: list[Path] = []
        self._written = 0
        self._stack = ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, time_ms: int, number: int, event: str) -> None:
        """Add an event, whose text has no line break.

        Raises:
            OSError: if a file cannot be written.
        """
        if self.count and time_ms < self.last_ms:
            self.out_of_order += 1
        self.first_ms = min(self.first_ms, time_ms) if self.count else time_ms
        self.last_ms = max(self.last_ms, time_ms) if self.count else time_ms
        self.count += 1
        self._present.append((time_ms, number, event))
        if len(self._present) >= self._in_memory:
            self._put_away()

    def __iter__(self) -> Iterator[Placed]:
        """All events, in order."""
        self._present.sort()
        with ExitStack() as opened:
            yield from heapq.merge(*(_read(path, opened) for path in self._files), self._present)

    def _put_away(self) -> None:
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="penstock-play-")))
        self._present.sort()
        self._files.append(self._write(self._folder, self._present))
        self._present = []
        if len(self._files) >= self._most_files:
            merged = self._write(self._folder, self)
            for path in self._files:
                path.unlink()
            self._files = [merged]

    def _write(self, folder: Path, events: Iterable[Placed]) -> Path:
        path = folder / str(self._written)
        self._written += 1
        with path.open("w", encoding="utf-8") as file:
            for placed in events:
                file.write(json.dumps(placed) + "\n")
        return path


def _read(path: Path, opened: ExitStack) -> Iterator[Placed]:
    file = opened.enter_context(path.open(encoding="utf-8"))
    return ((time_ms, number, event) for time_ms, number, event in map(json.loads, file))
