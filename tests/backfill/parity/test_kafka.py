"""Where topics are read from."""

from __future__ import annotations

import pytest

from backfill.parity import kafka as module
from backfill.parity.sources import NOTHING_MISSING
from penstock.kafka.reading import Start
from penstock.settings import Settings


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
    monkeypatch: pytest.MonkeyPatch,
    start_ms: int,
    earliest: int,
    end: int,
    by_time: int | None,
    start: int,
    known_from: int | None,
) -> None:
    monkeypatch.setattr(module, "starts_at", lambda *_: [Start(by_time or 0, is_cut=False)])
    starts, known = module._starts(Settings(), "t", start_ms, {0: earliest}, {0: end})
    assert starts == {0: start}
    assert known == ({} if known_from is None else {0: known_from})
