"""Penstock: streaming features and exactly-once inference, from one definition.

This module is all that a pipeline file needs::

    from penstock import Contract, Entity, Model, Pipeline, Source, View, count, mean

The command line is ``penstock`` (see ``penstock --help``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemas.contract import ENTITY, EVENT_ID, EVENT_TIME, PII_DROP, PII_HASH, Contract
    from streams.definitions.aggregates import (
        approx_distinct,
        bottom_k,
        changed,
        count,
        decayed_count,
        decayed_mean,
        decayed_sum,
        distinct,
        first,
        first_k,
        frequency,
        histogram,
        kurtosis,
        last,
        last_k,
        max_,
        mean,
        min_,
        most_frequent,
        quantile,
        rate,
        session_count,
        session_length,
        skewness,
        std,
        sum_,
        time_since_first,
        time_since_last,
        time_since_previous,
        top_k,
        variance,
        zscore,
    )
    from streams.definitions.columns import Derived, PythonColumn
    from streams.definitions.monitors import Monitors
    from streams.definitions.pipeline import Labels, Model, Pipeline
    from streams.definitions.sources import Source
    from streams.definitions.views import Entity, View
    from streams.definitions.windows import Window

__all__ = [
    "ENTITY",
    "EVENT_ID",
    "EVENT_TIME",
    "PII_DROP",
    "PII_HASH",
    "Contract",
    "Derived",
    "Entity",
    "Labels",
    "Model",
    "Monitors",
    "Pipeline",
    "PythonColumn",
    "Source",
    "View",
    "Window",
    "approx_distinct",
    "bottom_k",
    "changed",
    "count",
    "decayed_count",
    "decayed_mean",
    "decayed_sum",
    "distinct",
    "first",
    "first_k",
    "frequency",
    "histogram",
    "kurtosis",
    "last",
    "last_k",
    "max_",
    "mean",
    "min_",
    "most_frequent",
    "quantile",
    "rate",
    "session_count",
    "session_length",
    "skewness",
    "std",
    "sum_",
    "time_since_first",
    "time_since_last",
    "time_since_previous",
    "top_k",
    "variance",
    "zscore",
]

_HOMES = {
    "schemas.contract": (
        "ENTITY",
        "EVENT_ID",
        "EVENT_TIME",
        "PII_DROP",
        "PII_HASH",
        "Contract",
    ),
    "streams.definitions.aggregates": (
        "approx_distinct",
        "bottom_k",
        "changed",
        "count",
        "decayed_count",
        "decayed_mean",
        "decayed_sum",
        "distinct",
        "first",
        "first_k",
        "frequency",
        "histogram",
        "kurtosis",
        "last",
        "last_k",
        "max_",
        "mean",
        "min_",
        "most_frequent",
        "quantile",
        "rate",
        "session_count",
        "session_length",
        "skewness",
        "std",
        "sum_",
        "time_since_first",
        "time_since_last",
        "time_since_previous",
        "top_k",
        "variance",
        "zscore",
    ),
    "streams.definitions.monitors": ("Monitors",),
    "streams.definitions.pipeline": (
        "Derived",
        "Entity",
        "Labels",
        "Model",
        "Pipeline",
        "PythonColumn",
        "Source",
        "View",
    ),
    "streams.definitions.windows": ("Window",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
