"""The regret of a cascade, counted from its published predictions and the labels that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.audit import AuditCounts


@dataclass(frozen=True)
class Regret:
    """What a pair of versions decided, with one band.

    Args:
        fast_version: The version of the fast model.
        strong_version: That of the strong model.
        low: The lowest fast score in the band.
        high: The lowest fast score above the band.
        predictions: How many there are.
        by_strong: How many the strong model decided.
        audit: Counts of the audited clear cases.
    """

    fast_version: str
    strong_version: str
    low: float
    high: float
    predictions: int
    by_strong: int
    audit: AuditCounts


Truth = Callable[[str, int, str], bool | None]
"""Says whether an event is positive, by its id, its time (epoch ms) and the decision that was served; None: unknown."""


def regrets(predictions: Iterable[Mapping[str, Any]], threshold: float, truth_of: Truth) -> list[Regret]:
    """The regret of each pair of versions and band, in order of their first predictions.

    Args:
        predictions: Decoded predictions; those without a cascade do not count.
        threshold: A score of at least this is positive.
        truth_of: Says which events are positive.
    """
    totals: dict[tuple[str, str, float, float], list[int]] = {}
    audited: dict[tuple[str, str, float, float], list[tuple[float, float, float]]] = {}
    for prediction in predictions:
        way = prediction["cascade"]
        if way is None:
            continue
        key = way["fast_version"], way["strong_version"], way["low"], way["high"]
        total = totals.setdefault(key, [0, 0])
        total[0] += 1
        total[1] += way["low"] <= way["fast_score"] < way["high"]
        if way["audited"] and way["strong_score"] is not None:
            known = truth_of(prediction["event_id"], prediction["event_time"], prediction["decision"])
            positive = np.nan if known is None else float(known)
            audited.setdefault(key, []).append((way["fast_score"], way["strong_score"], positive))
    found = []
    for key, (count, by_strong) in totals.items():
        fast, strong, truth = np.array(audited.get(key, ()), np.float64).reshape(-1, 3).T
        found.append(Regret(*key, count, by_strong, AuditCounts.of(fast, strong, threshold, truth)))
    return found
