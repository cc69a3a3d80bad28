"""Requests to Cassandra: which rows share one, how many are on their way at once, when a write of several has ended.

This module connects to nothing.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from operator import attrgetter

from penstock.kafka.lag import Partition
from sinks.cassandra_rows import Row

# Rows with the same replicas share a request: fewer round trips than one request per row.
# The server warns of batches from 5 KiB on, and refuses them from 50 KiB on; not of those with one partition.
_MAX_BATCH_BYTES = 5_000
_MAX_PARTITION_BATCH_BYTES = 50_000

_partition_of = attrgetter("table", "key")


class Write:
    """A write of several requests, done when all that were begun have ended.

    Args:
        failure: The exception of the write, after this error of a request.
    """

    def __init__(self, failure: Callable[[Exception], Exception]) -> None:
        self.done: Future[Mapping[Partition, int]] = Future()
        self._failure = failure
        self._error: Exception | None = None
        # One more than the requests, until all are begun.
        self._open = 1
        self._lock = threading.Lock()

    @property
    def has_failed(self) -> bool:
        """Whether a request failed."""
        return self._error is not None

    def begin(self) -> None:
        """A request is sent."""
        with self._lock:
            self._open += 1

    def end(self, error: Exception | None = None) -> None:
        """A request has ended; or, called once more than :meth:`begin`, all have begun."""
        with self._lock:
            self._error = self._error or error
            self._open -= 1
            is_last = self._open == 0
        if not is_last:
            return
        if self._error is None:
            self.done.set_result({})
        else:
            self.done.set_exception(self._failure(self._error))


class InFlight:
    """Bounds the requests that are on their way, of all writes together.

    Args:
        requests: How many at most.
        size: How many bytes at most; a larger request goes alone.
    """

    def __init__(self, requests: int, size: int) -> None:
        self._requests = requests
        self._size = size
        self._count = self._bytes = 0
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Wait until a request of this size may be sent."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_enter(size))
            self._count += 1
            self._bytes += size

    def leave(self, size: int) -> None:
        """A request of this size has ended."""
        with self._changed:
            self._count -= 1
            self._bytes -= size
            self._changed.notify()

    def _may_enter(self, size: int) -> bool:
        return self._count == 0 or (self._count < self._requests and self._bytes + size <= self._size)


def group_into_batches(rows: Iterable[Row], replicas_of: Callable[[bytes], Hashable]) -> list[tuple[list[Row], int]]:
    """The rows in groups that a request takes, each with its size in bytes.

    Many rows of one partition are groups of their own; others share groups with rows of the same replicas. A row that
    is larger than a group gets one of its own.

    Args:
        rows: In any order.
        replicas_of: The replicas of a partition.
    """
    groups: list[tuple[list[Row], int]] = []
    of_replicas: dict[Hashable, list[Row]] = defaultdict(list)
    # The server logs, and waits for, the rows of one partition in a request as one.
    for (_, key), of_partition in itertools.groupby(sorted(rows, key=_partition_of), _partition_of):
        run = list(of_partition)
        if sum(row.size for row in run) > _MAX_BATCH_BYTES:
            groups += _cut(run, _MAX_PARTITION_BATCH_BYTES)
        else:
            of_replicas[replicas_of(key)] += run
    for mixed in of_replicas.values():
        groups += _cut(mixed, _MAX_BATCH_BYTES)
    return groups


def _cut(rows: Iterable[Row], most: int) -> Iterator[tuple[list[Row], int]]:
    """The rows in groups of at most this many bytes, or of one row."""
    group: list[Row] = []
    total = 0
    for row in rows:
        if group and total + row.size > most:
            yield group, total
            group, total = [], 0
        group.append(row)
        total += row.size
    yield group, total
