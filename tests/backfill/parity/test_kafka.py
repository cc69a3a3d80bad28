"""Where topics are read from."""

from __future__ import annotations

import pytest

from backfill.parity import kafka as module
from backfill.parity.sources import NOTHING_MISSING


@pytest.mark.parametrize(
    ("start_ms", "earliest", "end", "by_time", "start", "known_from"),
    [
        (0, 0, 9, None, 0, NOTHING_MISSING),
        (0, 4, 9, None, 4, None),  # the first record's own timestamp says it
        (0, 9, 9, None, 9, 0),  # all were deleted, nobody knows when they came
        (500, 0, 9, 0, 0, NOTHING_MISSING),
        (500, 0, 9, 6, 6, 500),
        (500, 4, 9, 4, 4, None),
        (500, 9, 9, 9, 9, 500),
    ],
)
def test_a_partition_is_read_from_where_it_can_matter_and_it_is_known_what_may_be_missing(
    start_ms: int,
    earliest: int,
    end: int,
    by_time: int | None,
    start: int,
    known_from: int | None,
) -> None:
    starts, known = module._starts({0: (earliest, end)}, None if by_time is None else {0: by_time}, start_ms)
    assert starts == {0: start}
    assert known == ({} if known_from is None else {0: known_from})
