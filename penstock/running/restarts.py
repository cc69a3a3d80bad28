"""Whether and when a part that has ended is started again. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A part that took records for so long had started well: what ended it is another matter than what did before.
STEADY_S = 60.0
_FIRST_S, _LONGEST_S = 1.0, 60.0
_SAME_ERRORS = 5
_USAGE = 2
# What is over when servers are back: worth a new attempt for as long as it takes.
_PASSES = re.compile(
    r"cannot be reached|(do|does|did) not answer|timed? ?out|unreachable|unavailable|answered 503", re.IGNORECASE
)
# Another process has taken its place; starting again would take it back, in turn, for ever.
_REPLACED = re.compile(r"replaced this|\bfenced\b", re.IGNORECASE)


@dataclass(frozen=True)
class End:
    """How a part ended.

    Args:
        status: Its exit status; negative for the number of a signal.
        error: What its error said; None if it did not end with an error of Penstock's.
        next: What its error said to do.
    """

    status: int
    error: str | None = None
    next: str | None = None

    @property
    def reason(self) -> str:
        """Why it ended, in words.

        >>> End(-9).reason, End(1, "the model is not loaded").reason
        ('killed by signal 9', 'the model is not loaded')
        """
        if self.error is not None:
            return self.error
        return f"killed by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


class Restarts:
    """The restarts of one part: the pause doubles from 1 s to a minute, and it is given up if it cannot work."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_S
        self._same, self._error = 0, ""

    def after(self, end: End, *, was_steady: bool) -> float | None:
        """The seconds until the next start; None if there shall be none, as a person has to do something first.

        Given up are parts that were replaced by another process, whose command was wrong, or that have ended with the
        same error five times in a row, unless that error is about a server that does not answer. A part that was steady
        begins anew.
        """
        if was_steady:
            self.forget()
        error = end.error or ""
        if end.status == _USAGE or _REPLACED.search(error):
            return None
        if error and not _PASSES.search(error):
            self._same = self._same + 1 if error == self._error else 1
            self._error = error
            if self._same >= _SAME_ERRORS:
                return None
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_S)
        return pause

    def forget(self) -> None:
        """Begin anew."""
        self._pause_s, self._same, self._error = _FIRST_S, 0, ""


# As :func:`penstock.commands.errors.print_error` prints it.
_PRINTED = re.compile(
    r"^error: (?P<what>.*(?:\n(?!  (?:where|safe|next):).*)*)(?P<fields>(?:\n  \w+: .*)*)", re.MULTILINE
)
_FIELD = re.compile(r"^  next: +(.*)$", re.MULTILINE)


def end_of(status: int, log: str) -> End:
    """How a process ended, by its exit status and what it had logged last."""
    printed = list(re.finditer(r"^error: ", log, re.MULTILINE))
    if status <= 0 or not printed:
        return End(status)
    match = _PRINTED.match(log[printed[-1].start() :])
    assert match is not None
    following = _FIELD.search(match["fields"])
    what = next(iter(match["what"].strip().splitlines()), None)  # none where the message is empty
    return End(status, what, None if following is None else following[1].strip())
