"""Where a fault begins in a stream of values, of which some are marked by chance. Pure.

A cumulative sum (Page 1954): each value adds the logarithm of how much more likely its mark is with the fault than
without it, and the sum never falls below 0. It rises above the limit soon after the fault has begun, and was 0 for the
last time just before that; it is 0 again soon after the fault has ended. It keeps one number, however long the stream
is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from loop.sample import Column

Place = TypeVar("Place")

# Chance alone rises so high once in about e^20, 500 million values.
_LIMIT = 20.0
# What was never seen in a sample is not impossible.
_LEAST_SHARE = 0.001


@dataclass(frozen=True)
class Mark:
    """Tells which values have a fault; some values of a calm time have it, too.

    Args:
        kind: Values that are null, that are ``value``, or whose size is above or below it; 0 is no size.
        value: The value; a number, or the text of a category.
        usual: The share of the values that had it before.
        faulty: The share of the values that have it now.
    """

    kind: Literal["null", "equal", "above", "below"]
    value: float | str | None
    usual: float
    faulty: float

    def has(self, value: float | str | None) -> bool:
        """Whether a value has it; null is None or NaN."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return self.kind == "null"
        match self.kind:
            case "equal":
                return value == self.value
            case "above" if isinstance(value, float) and isinstance(self.value, float):
                return abs(value) > self.value
            case "below" if isinstance(value, float) and isinstance(self.value, float):
                return 0 < abs(value) < self.value
            case _:
                return False

    def first_in(self, column: Column) -> int:
        """The position of the first value with the fault; where it cannot be told from chance, of the first marked one.

        Args:
            column: The values of a time with the fault, shape (events,): one of them is marked at least.
        """
        marked: NDArray[np.bool_] = np.fromiter((self.has(one) for one in column.tolist()), bool, len(column))
        onset = Onset[int](self)
        for position, is_marked in enumerate(marked.tolist()):
            onset.add(position, is_marked=is_marked)
            if onset.place is not None:
                return onset.place
        return int(np.argmax(marked))


class Onset(Generic[Place]):
    """Follows a stream, value by value.

    Attributes:
        place: Where the present fault began; None as long as there is none, and once it has ended.
    """

    def __init__(self, mark: Mark) -> None:
        usual = min(max(mark.usual, _LEAST_SHARE), 1 - 2 * _LEAST_SHARE)
        faulty = min(max(mark.faulty, usual + _LEAST_SHARE), 1 - _LEAST_SHARE)
        self._gain = math.log(faulty / usual)
        self._loss = math.log((1 - faulty) / (1 - usual))
        self._sum = 0.0
        self._began: Place | None = None
        self.place: Place | None = None

    def add(self, place: Place, *, is_marked: bool) -> None:
        """Take in a value, and where it is."""
        self._sum = min(self._sum + (self._gain if is_marked else self._loss), 2 * _LIMIT)
        if self._sum <= 0:
            self._sum, self._began, self.place = 0.0, None, None
        elif self._began is None:
            self._began = place
        if self._sum > _LIMIT:
            self.place = self._began
