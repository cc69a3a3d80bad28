"""Where the bins of a numeric feature end, and which bars a picture of it has. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backfill.profiling.statistics import Counts

Values = NDArray[Any]
Number = int | float
Scale = Literal["values", "linear", "logarithmic", "clipped"]

_FINE = 512
_BARS = 30
_EACH: Scale = "values"
# So many different values have a bar each.
_FEW = 24
# A value of this share of the rows has a bin of its own.
_COMMON = 0.01
# Beyond these ratios a linear picture would be one bar and an empty plane.
_HEAVY, _FAR = 20, 5

NULL, MINUS_INFINITY, FIRST = 0, 1, 2
"""The codes of nulls and of negative infinity, and that of the first bin."""


class Bar(NamedTuple):
    """A bar of a histogram: the rows with values in (low, high]; the first bar's begin at its ``low``."""

    low: Number
    high: Number
    rows: int


@dataclass(frozen=True)
class Bins:
    """The bins of one feature, for integers exactly, also beyond 2^53.

    Bin i has the values in (edges[i-1], edges[i]]; bin 0 has those up to edges[0], the smallest value; the last edge is
    the greatest value. ``seen`` says which edges are values of the feature. ``bars`` are the upper ends of the bars of
    its picture, all of them edges, and ``scale`` how they were chosen.

    A code is :data:`NULL`, :data:`MINUS_INFINITY`, :data:`FIRST` + i for bin i, or the last, ``size`` - 1, for positive
    infinity.
    """

    edges: Values
    seen: NDArray[np.bool_]
    bars: Values
    scale: Scale

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.edges) + 3

    def codes(self, values: Values, valid: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The code of each value; those that are not ``valid`` are null, and so is NaN."""
        found: NDArray[np.int64] = self.edges.searchsorted(values, side="left") + FIRST
        if values.dtype.kind == "f":
            # A positive infinity is beyond the last edge already.
            found[values == -np.inf] = MINUS_INFINITY
            found[np.isnan(values)] = NULL
        found[~valid] = NULL
        return found

    def quantile(self, counts: Counts, q: float) -> Number | None:
        """The q-quantile of the rows that are not null, by the counts of all codes; None if there are none.

        It is exact if the feature has up to 512 different values; else its rank is off by less than a bin's rows.
        """
        rows = counts[MINUS_INFINITY:]
        total = int(rows.sum())
        if not total:
            return None
        # From the decimal that was written: 0.28 * 25 is more than 7.
        rank = max(math.ceil(Fraction(str(q)) * total), 1)
        place = int(np.searchsorted(np.cumsum(rows), rank, side="left")) - 1
        if place < 0:
            return -np.inf
        if place >= len(self.edges):
            return np.inf
        below = np.flatnonzero(self.seen[: place + 1])
        return number(self.edges[below[-1] if len(below) else place])

    def histogram(self, counts: Counts) -> tuple[Bar, ...]:
        """The bars of the picture, by the counts of all codes; infinities are in none."""
        if not len(self.edges):
            return ()
        finite = np.cumsum(counts[FIRST : FIRST + len(self.edges)])
        upto = finite[self.edges.searchsorted(self.bars)]
        rows = np.diff(upto, prepend=0).tolist()
        lows = [self.edges[0], *self.bars[:-1]]
        return tuple(
            Bar(number(low), number(high), count) for low, high, count in zip(lows, self.bars, rows, strict=True)
        )

    def commonest(self, counts: Counts) -> tuple[Number, int] | None:
        """The value that most rows have, with their number, if it is at least one in a hundred; else None."""
        alone = np.zeros(len(self.edges), dtype=bool)
        if len(alone):
            alone[0] = True
            alone[1:] = self.seen[1:] & (self.edges[1:] == _after(self.edges[:-1]))
        rows = np.where(alone, counts[FIRST : FIRST + len(self.edges)], 0)
        if not rows.any() or rows.max() < _COMMON * counts[MINUS_INFINITY:].sum():
            return None
        place = int(rows.argmax())
        return number(self.edges[place]), int(rows[place])


def number(value: Any) -> Number:
    """A number of numpy as one of Python."""
    return int(value) if np.asarray(value).dtype.kind in "iu" else float(value)


def choose_bins(sample: Values, least: Number | None, most: Number | None) -> Bins:
    """Bins of about equally many rows, and the bars of a picture.

    Args:
        sample: Values of the feature, int64 or float64, without nulls, NaN and infinities.
        least: Its smallest finite value, in and out of the sample; None if it has none.
        most: Its greatest.
    """
    kind = sample.dtype
    if least is None or most is None:
        return Bins(np.empty(0, kind), np.empty(0, bool), np.empty(0, kind), "values")
    ends = np.array([least, most], dtype=kind)
    values, rows = np.unique(np.concatenate([sample, ends]), return_counts=True)
    if len(values) > _FINE:
        ranks = np.minimum(np.arange(1, _FINE + 1) * len(sample) // _FINE, len(sample) - 1)
        seen = np.unique(np.concatenate([np.sort(sample)[ranks], ends]))
    else:
        seen = values
    common = values[rows >= _COMMON * rows.sum()]
    bars, scale = _bars(np.sort(sample), ends) if len(values) > _FEW else (values, _EACH)
    # The values just below a common one are edges, so that it has a bin of its own.
    before = _before(common[common > ends[0]])
    seen = np.union1d(seen, common)
    edges = np.union1d(np.union1d(seen, bars), before)
    return Bins(edges, np.isin(edges, seen), bars, scale)


def _bars(ordered: Values, ends: Values) -> tuple[Values, Scale]:
    least, most = number(ends[0]), number(ends[1])
    positive = ordered[ordered > 0]
    low, high = (number(ordered[int(q * (len(ordered) - 1))]) for q in (0.01, 0.99))
    if least >= 0 and len(positive):
        middle, far = (float(positive[int(q * (len(positive) - 1))]) for q in (0.5, 0.99))
        if far / middle > _HEAVY or (low == high and float(most) / middle > _HEAVY):
            begin = float(positive[int(0.005 * (len(positive) - 1))])
            powers = np.exp(np.linspace(np.log(begin), np.log(float(most)), _BARS))
            zero = [0] if least == 0 else []
            return _upto(np.concatenate([zero, powers[:-1]]), ends), "logarithmic"
    if float(most) - float(least) > _FAR * (float(high) - float(low)):
        return _upto(np.concatenate([[low], _steps(low, high)]), ends), "clipped"
    return _upto(_steps(least, most), ends), "linear"


def _steps(low: Number, high: Number) -> NDArray[Any]:
    """The upper ends of equally wide bars; the last is ``high``."""
    if isinstance(low, int) and isinstance(high, int):
        return np.array([low + (high - low) * step // _BARS for step in range(1, _BARS + 1)], dtype=np.int64)
    parts = np.arange(1, _BARS + 1) / _BARS
    # This form does not overflow where the difference of the two would.
    steps: NDArray[Any] = low * (1 - parts) + high * parts
    return steps


def _upto(uppers: NDArray[Any], ends: Values) -> Values:
    """Upper ends of bars within the values, of their type, with the greatest value as the last."""
    kind = ends.dtype
    inside = uppers if kind == uppers.dtype else np.floor(uppers)[np.floor(uppers) < 2.0**63].astype(kind)
    kept: Values = np.unique(np.concatenate([inside[(inside >= ends[0]) & (inside < ends[1])], ends[1:]]))
    return kept


def _before(values: Values) -> Values:
    """The greatest number of the type below each value, none of which is the smallest of all."""
    return values - 1 if values.dtype.kind == "i" else np.nextafter(values, -np.inf)


def _after(values: Values) -> Values:
    """The smallest number of the type above each value, none of which is the greatest of all."""
    return values + 1 if values.dtype.kind == "i" else np.nextafter(values, np.inf)
