"""Tolerances for sums and means: an engine adds in another order than the oracle, so it rounds in another way."""

from __future__ import annotations

import math

from streams.definitions.aggregates.window_contents import WindowContents

ROUNDING = 1e-9
"""The relative error of merged sums, means and deviations."""
# The least doubles have few digits: what is computed through them is rounded to a multiple of 5e-324.
TINY = 1e-300
"""The absolute error of what is computed through very small numbers."""


def greatest(window: WindowContents) -> float:
    """The greatest magnitude."""
    return max(abs(value) for value in window.numbers)


def mean_error(window: WindowContents) -> float:
    """The tolerance of a mean.

    Raises:
        OverflowError: if no double can hold the sum of magnitudes.
    """
    _magnitude(window)
    return ROUNDING * greatest(window) + TINY


def sum_error(window: WindowContents) -> float:
    """The tolerance of a sum.

    Raises:
        OverflowError: if no double can hold the sum of magnitudes.
    """
    return ROUNDING * _magnitude(window) + TINY


def _magnitude(window: WindowContents) -> float:
    return math.fsum(map(abs, window.numbers))
