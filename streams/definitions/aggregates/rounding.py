"""Tolerances for sums and means: an engine adds in another order than the oracle, so it rounds differently."""

from __future__ import annotations

import math

from streams.definitions.aggregates.window_contents import WindowContents

ROUNDING = 1e-9
"""The relative error of merged sums, means and deviations."""
# The smallest doubles have few digits: a computation through them is rounded to a multiple of 5e-324.
TINY = 1e-300
"""The absolute error of computations with very small numbers."""


def greatest_magnitude(window: WindowContents) -> float:
    """The greatest magnitude of the values."""
    return max(abs(value) for value in window.numbers)


def mean_error(window: WindowContents) -> float:
    """The tolerance of a mean.

    Raises:
        OverflowError: if the sum of magnitudes is out of the range of a double.
    """
    _sum_of_magnitudes(window)
    return ROUNDING * greatest_magnitude(window) + TINY


def sum_error(window: WindowContents) -> float:
    """The tolerance of a sum.

    Raises:
        OverflowError: if the sum of magnitudes is out of the range of a double.
    """
    return ROUNDING * _sum_of_magnitudes(window) + TINY


def _sum_of_magnitudes(window: WindowContents) -> float:
    return math.fsum(map(abs, window.numbers))
