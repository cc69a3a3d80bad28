"""Penstock: streaming features and exactly-once inference, from one definition.

This module is all that a pipeline file needs::

    from penstock import Contract, Entity, Model, Pipeline, Source, View, count, mean

The command line is ``penstock`` (see ``penstock --help``).
"""

from schemas.contract import ENTITY, EVENT_ID, EVENT_TIME, PII_DROP, PII_HASH, Contract
from streams.aggregates import (
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
from streams.definitions import Derived, Entity, Labels, Model, Pipeline, PythonColumn, Source, View
from streams.monitors import Monitors
from streams.words import Window

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
