"""What is learnt of events that are not all good; of whole worlds: test_worlds.py."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import pytest

from penstock.errors import PenstockError
from streams.drift.data_quality.learning import Watched, learn
from streams.drift.data_quality.quality_reference import read_quality_reference
from streams.drift.data_quality.raw_events import Column, RawEvent

MOST = sys.float_info.max


def range_of(amounts: Sequence[float]) -> tuple[float, float]:
    """The range that is learnt of 1,000 events with these amounts in turn."""
    events = [RawEvent(0, n, -1, 1_000 * n, "", None, (amounts[n % len(amounts)],)) for n in range(1_000)]
    topic = Watched("events.x", (Column("amount", True, False, False),), False, lambda: events, {})
    reference = learn("x", [topic], 10, 100_000, seed=1)
    assert read_quality_reference(reference.model_dump_json().encode(), "here") == reference
    return reference.topics[0].ranges["amount"]


def test_too_few_events_are_refused_with_how_many_there_are_and_are_needed() -> None:
    events = [RawEvent(n % 3 // 2, n, -1, 1_000 * n, "", None, (1.0,)) for n in range(2_000)]
    topic = Watched("events.x", (Column("amount", True, False, False),), False, lambda: events, {})
    with pytest.raises(PenstockError) as refused:
        learn("x", [topic], 400, 100_000, seed=1)
    for part in ("2,000 events", "at least 8,000", "20 windows of Monitors(window=400)", "fill 4,", "0: 1,334, 1: 666"):
        assert part in refused.value.what, part


def test_numbers_that_no_float_holds_say_nothing_of_a_range() -> None:
    assert range_of([*range(1, 10), math.inf, -math.inf, math.nan, 10**400, -(10**400)]) == (1.0, 9.0)


def test_the_range_of_the_greatest_numbers_is_finite() -> None:
    assert all(map(math.isfinite, range_of([-MOST, *[MOST] * 999])))
