"""The reference value of a feature, and how far an engine may be from it.

How each aggregate is computed is in its spec (:mod:`streams.definitions.aggregates`).
"""

from __future__ import annotations

import math

from schemas.feature_types import FeatureValue
from streams.definitions.aggregates.spec import SPECS
from streams.definitions.aggregates.window_contents import WindowContents


def reference_value(window: WindowContents) -> FeatureValue:
    """The feature's value; None if no double can hold it."""
    if not window.matching:
        return window.feature.empty
    try:
        value = SPECS[window.feature.operation].oracle(window)
    except OverflowError:
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def allowed_error(window: WindowContents) -> float:
    """How far a correct engine may be from the reference value, in the feature's unit; 0 for most.

    Infinite where the calculation may leave a double's range on its way: what comes out then is null, or anything.
    """
    tolerance = SPECS[window.feature.operation].tolerance
    if tolerance is None or not window.matching:
        return 0.0
    try:
        return tolerance(window)
    except OverflowError:
        return math.inf
