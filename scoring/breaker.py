"""A circuit breaker for a model server: a pure state machine, without a clock of its own.

Closed, it lets every batch through. It opens when half of the recent batches failed, or when several in a row were
late. Open, it lets nothing through, so that an outage does not cost each batch the deadline. Then it is half open: one
batch is a probe. If that succeeds it closes; else it opens again, for twice as long.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

RECENT, LEAST = 20, 5
"""The recent batches are the last 20 since it closed. It does not open before 5 of them."""
LATE_IN_A_ROW = 3
FIRST_S, LONGEST_S = 1.0, 30.0


class State(Enum):
    """Whether a batch may go to the server."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """The breaker of one server; every time is monotonic seconds."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._late = 0
        self._until: float | None = None
        self._open_s = FIRST_S

    def state(self, now: float) -> State:
        """The state at a time."""
        if self._until is None:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    def succeeded(self) -> None:
        """A batch succeeded; the probe closes the breaker."""
        if self._until is not None:
            self._until, self._open_s = None, FIRST_S
            self._recent.clear()
        self._recent.append(False)
        self._late = 0

    def failed(self, now: float, *, late: bool) -> None:
        """A batch failed, or the probe did; ``late`` says that the server exceeded the deadline."""
        if self._until is not None:
            self._open_s = min(2 * self._open_s, LONGEST_S)
            self._until = now + self._open_s
            return
        self._recent.append(True)
        self._late = self._late + 1 if late else 0
        half_failed = len(self._recent) >= LEAST and 2 * sum(self._recent) >= len(self._recent)
        if half_failed or self._late >= LATE_IN_A_ROW:
            self._until = now + self._open_s
            self._late = 0
