"""Whether a share has changed: the interval of a difference, and what follows. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from scoring.gates.statistics import wilson

# Of a two-sided interval of 99 %.
_ALPHA = 0.01
# A share that has changed by less than this part of itself is taken for the same.
_ALLOWED = 0.2

Verdict = Literal["same", "changed", "unsure"]


class Share(NamedTuple):
    """How many of how many."""

    hits: int
    of: int


def difference(before: Share, last: Share) -> tuple[float, float]:
    """The interval of the difference of two shares at 99 %, last - before: Newcombe's, from Wilson's of each.

    (Newcombe 1998, *Interval estimation for the difference between independent proportions*, method 10.) Without
    events in one of the periods, anything is possible.
    """
    if not before.of or not last.of:
        return -1.0, 1.0
    p, q = before.hits / before.of, last.hits / last.of
    (_, low_p, high_p), (_, low_q, high_q) = wilson(p, before.of, _ALPHA), wilson(q, last.of, _ALPHA)
    down, up = np.hypot(q - low_q, high_p - p), np.hypot(high_q - q, p - low_p)
    return float(q - p - down), float(q - p + up)


def verdict(before: Share, low: float, high: float) -> Verdict:
    """Whether a share has surely changed by more than a fifth of itself, or surely by less."""
    if not before.of:
        return "unsure"
    allowed = _ALLOWED * before.hits / before.of
    if low > allowed or high < -allowed:
        return "changed"
    return "same" if -allowed <= low and high <= allowed else "unsure"
