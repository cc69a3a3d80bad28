"""Paces what is done again and again, so that it leaves time for the rest. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SHARE = 0.2


class Pace:
    """When something is due that may take long: at most a share of the time is spent on it.

    Args:
        clock: Monotonic seconds.
        least_s: The time between two times, at least.
        most_s: The same at most, however long it takes.
    """

    def __init__(self, clock: Callable[[], float], least_s: float, most_s: float) -> None:
        self._clock = clock
        self._least_s = least_s
        self._most_s = most_s
        self._due_s = clock()

    def is_due(self) -> bool:
        """Whether it is to be done."""
        return self._clock() >= self._due_s

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Around what is done."""
        begin = self._clock()
        yield
        self.done((self._clock() - begin) / _SHARE)

    def done(self, pause_s: float) -> None:
        """It was done, and asks for such a pause."""
        self._due_s = self._clock() + min(max(pause_s, self._least_s), self._most_s)
