"""The reference value of a feature, and the allowed error of an engine.

The spec of each aggregate (:mod:`streams.definitions.aggregates`) defines how it is computed.
"""

from __future__ import annotations

import math

from schemas.feature_types import FeatureValue
from streams.definitions.aggregates.spec import SPECS
from streams.definitions.aggregates.window_contents import WindowContents


def reference_value(window: WindowContents) -> FeatureValue:
    """The feature's value; None if it is out of the range of a double."""
    if not window.matching:
        return window.feature.empty
    try:
        value = SPECS[window.feature.operation].oracle(window)
    except OverflowError:
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def allowed_error(window: WindowContents) -> float:
    """The allowed difference between an engine and the reference value, in the feature's unit; 0 for most.

    Infinite if the computation may leave the range of a double: its result is then null, or any value.
    """
    tolerance = SPECS[window.feature.operation].tolerance
    if tolerance is None or not window.matching:
        return 0.0
    try:
        return tolerance(window)
    except OverflowError:
        return math.inf
