"""Values by key that may be more than memory holds: what a range of events is looked up in, in a file of its own."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from penstock.errors import PenstockError

CACHE_KB = 64 * 1024
"""How much of the file is in memory at most."""
# Values that are written in the order of their keys: a page of the file then takes several of them.
_AT_ONCE = 100_000

Key = TypeVar("Key", bound=int | str)


class Spilled(Generic[Key]):
    """Keeps any number of JSON values for each key, in the order in which they came. A context manager.

    At most :data:`CACHE_KB` are in memory, and 100,000 values while they are added. The rest is in a file in ``folder``
    that has no name: it is gone with the process, however that ends.

    Raises:
        PenstockError: also from every method, if there is no room for the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        with self._explained():
            handle, name = tempfile.mkstemp(prefix=".spilled-", dir=folder)
            os.close(handle)
            try:
                # Nothing is to survive a crash, so there is no journal and no transaction that ends.
                self._sql = sqlite3.connect(name, isolation_level=None)
                for setting in ("journal_mode = OFF", "locking_mode = EXCLUSIVE", f"cache_size = -{CACHE_KB}"):
                    self._sql.execute(f"PRAGMA {setting}")
                self._sql.execute("PRAGMA temp_store = MEMORY")  # of the wanted keys
                self._sql.execute("BEGIN")
                self._sql.execute(
                    "CREATE TABLE found (key, number INTEGER, value TEXT, PRIMARY KEY (key, number)) WITHOUT ROWID"
                )
                self._sql.execute("CREATE TEMP TABLE wanted (key PRIMARY KEY) WITHOUT ROWID")
            finally:
                Path(name).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sql.close()

    def add(self, pairs: Iterable[tuple[Key, Any]]) -> None:
        """Add values; tuples become lists."""
        left = iter(pairs)
        while some := [(key, json.dumps(value)) for key, value in itertools.islice(left, _AT_ONCE)]:
            rows = sorted((key, self._count + place, value) for place, (key, value) in enumerate(some))
            self._count += len(some)
            with self._explained():
                self._sql.executemany("INSERT INTO found VALUES (?, ?, ?)", rows)

    def of(self, keys: Sequence[Key]) -> dict[Key, list[Any]]:
        """The values of these keys; keys without any are left out."""
        found: dict[Key, list[Any]] = {}
        with self._explained():
            self._sql.execute("DELETE FROM wanted")
            self._sql.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", zip(keys, strict=True))
            query = "SELECT key, value FROM wanted JOIN found USING (key) ORDER BY key, number"
            for key, value in self._sql.execute(query):
                found.setdefault(key, []).append(json.loads(value))
        return found

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise PenstockError(
                f"what was read cannot wait on the disk: {error}",
                where=str(self._folder),
                safe="the parts that the manifest names, and what is served",
                next="make room if the disk is full; then the same command, which goes on with them",
            ) from error
