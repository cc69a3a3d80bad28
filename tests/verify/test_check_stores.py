"""Stored vectors against the topic; the sabotage of a recorded run tries what can be wrong with them."""

from __future__ import annotations

import pytest

from tests.plans import COUNT, make_plan, view_of
from verify.check_stores import check_redis
from verify.published import Published

PLAN = make_plan(fields=[], views=[view_of(COUNT)])
PUBLISHED_MS = 50_000
SOURCE = {"topic": "events", "partition": 0, "offset": 0, "timestamp": 7}
PART = {"entity": "a", "epoch": 1, "seq": 1, "as_of": 5, "late": False, "n": 1}
RECORD = Published(0, 0, b"a", {"trigger": "event", "attempt": 0, "source": SOURCE, "v": PART}, timestamp=PUBLISHED_MS)
OVER_MS = PUBLISHED_MS + 1_010 + PLAN.source.max_future_ms


@pytest.mark.parametrize(("read_at_ms", "mismatches"), [(OVER_MS - 20, 1), (OVER_MS + 20, 0)])
def test_a_vector_may_be_missing_once_its_windows_are_over(read_at_ms: int, mismatches: int) -> None:
    assert check_redis(PLAN, [RECORD], {}, read_at_ms).mismatches == mismatches
