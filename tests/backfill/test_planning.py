"""The offsets that a range needs, and the refused ranges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backfill.planning import (
    RetainedPartition,
    RetainedTopic,
    first_timestamp_of,
    lookback_ms,
    plan_replay,
    replay_start_ms,
)
from penstock.errors import PenstockError
from streams.definitions.windows import Window
from streams.flink.submission import Replay
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of

HOUR = 3_600_000
LIFETIME = Window.of("lifetime")


def feature(window_ms: int, hop_ms: int) -> dict[str, Any]:
    kind = {"operation": "count", "column": None, "column_type": None, "where": None, "type": "long"}
    return kind | {"name": f"n{window_ms}", "window_ms": window_ms, "hop_ms": hop_ms}


def plan(event_id: str | None = "id") -> PipelinePlan:
    view = view_of(feature(HOUR, 60_000), feature(2 * HOUR, 120_000))
    source = {"event_id": event_id, "dedup_horizon_ms": HOUR // 2, "max_future_ms": 1_000}
    return make_plan(fields=[], views=[view], source=source)


LOOKBACK = 2 * HOUR + 120_000 + HOUR // 2 + 1_000


def topic(**partitions: RetainedPartition) -> RetainedTopic:
    retained = {int(name[1:]): one for name, one in partitions.items()} or {0: RetainedPartition(0, 40, 1_000, 0)}
    return RetainedTopic(partitions=retained, oldest_ms=0, newest_ms=100 * HOUR, newest_timestamp=100 * HOUR)


def replay_of(retained: RetainedTopic, from_ms: int = 50 * HOUR, to_ms: int = 60 * HOUR) -> Replay:
    return plan_replay(plan(), [retained], from_ms=from_ms, to_ms=to_ms, scratch="backfill.p.r", reference="p")


def refusal(retained: RetainedTopic, from_ms: int = 50 * HOUR, to_ms: int = 60 * HOUR) -> str:
    with pytest.raises(PenstockError) as refused:
        replay_of(retained, from_ms, to_ms)
    return str(refused.value)


def test_a_replay_begins_one_window_and_hop_and_the_horizon_of_duplicates_before_the_range() -> None:
    assert lookback_ms(plan()) == LOOKBACK


def test_a_source_without_event_ids_has_no_horizon() -> None:
    assert lookback_ms(plan(event_id=None)) == LOOKBACK - HOUR // 2


def test_a_lifetime_window_needs_the_whole_topic() -> None:
    forever = make_plan(fields=[], views=[view_of(feature(HOUR, 60_000), feature(LIFETIME.size, LIFETIME.hop))])
    assert (lookback_ms(forever), replay_start_ms(forever, 50 * HOUR)) == (None, 0)
    plan_replay(forever, [topic()], from_ms=50 * HOUR, to_ms=60 * HOUR, scratch="s", reference="p")
    with pytest.raises(PenstockError, match="retention has deleted records"):
        plan_replay(
            forever,
            [topic(p0=RetainedPartition(1, 1, 9, 0))],
            from_ms=50 * HOUR,
            to_ms=60 * HOUR,
            scratch="s",
            reference="p",
        )


def test_a_replay_reads_from_its_start_offset_to_the_end() -> None:
    replay = replay_of(topic(p0=RetainedPartition(0, 40, 1_000, 0), p1=RetainedPartition(0, 7, 9, 0)))
    assert (replay.start, replay.end) == ({0: 40, 1: 7}, {0: 1_000, 1: 9})


def test_a_partition_with_nothing_to_replay_is_not_read() -> None:
    replay = replay_of(
        topic(
            p0=RetainedPartition(0, 40, 1_000, 0), p1=RetainedPartition(0, 9, 9, 0), p2=RetainedPartition(0, 0, 0, None)
        )
    )
    assert replay.start.keys() == replay.end.keys() == {0}


def test_a_dense_topic_is_read_ahead_for_a_shorter_time_than_a_sparse_one() -> None:
    sparse = replay_of(topic(p0=RetainedPartition(0, 0, 1_000, 0)))
    dense = replay_of(topic(p0=RetainedPartition(0, 0, 10_000_000, 0)))
    assert sparse.max_ahead_ms > 100 * dense.max_ahead_ms >= 100_000


@pytest.mark.parametrize(("from_ms", "to_ms"), [(5, 5), (6, 5)])
def test_an_empty_range_is_refused(from_ms: int, to_ms: int) -> None:
    assert "the range is empty" in refusal(topic(), from_ms, to_ms)


def test_a_topic_without_a_valid_event_is_refused() -> None:
    nothing = RetainedTopic(
        partitions={0: RetainedPartition(0, 5, 5, 0)}, oldest_ms=None, newest_ms=None, newest_timestamp=0
    )
    assert "has no valid event" in refusal(nothing)


def test_a_range_past_the_newest_event_is_refused_with_the_possible_range() -> None:
    replay_of(topic(), to_ms=100 * HOUR + 1)
    message = refusal(topic(), to_ms=100 * HOUR + 2)
    assert "ends after the newest event" in message
    assert "--from 1970-01-01T00:00:00.000Z --to 1970-01-05T04:00:00.001Z" in message


def test_a_range_before_the_oldest_event_is_refused() -> None:
    assert "before the oldest event" in refusal(topic(), from_ms=-5, to_ms=0)


def test_a_range_that_needs_deleted_records_is_refused_with_the_possible_range() -> None:
    retained = topic(p0=RetainedPartition(100, 100, 1_000, 40 * HOUR))
    replay_of(retained, from_ms=40 * HOUR + LOOKBACK + 1)
    message = refusal(retained, from_ms=40 * HOUR + LOOKBACK)
    assert "retention has deleted" in message
    assert "--from 1970-01-02T18:32:01.001Z" in message


def test_deleted_records_of_any_partition_count() -> None:
    retained = topic(p0=RetainedPartition(0, 5, 1_000, 0), p1=RetainedPartition(1, 1, 1_000, 60 * HOUR))
    assert "retention has deleted" in refusal(retained)


@pytest.mark.parametrize(
    ("head", "retained", "expected"),
    [
        ([40, 41, 42], 3, 42),
        ([3, 40, 41], 3, 41),  # an old record that was sent again is the first one that is left
        ([-1, 40, -1], 3, 40),
        ([-1, -1], 2, None),
        ([], 0, None),
        ([5] * 50 + [*range(40, 990)], 5_000, 40 + 449),
        ([*range(100)], 100, 9),  # a small topic keeps nine tenths of its range
    ],
)
def test_deleted_records_are_as_old_as_the_newest_of_the_first_ones_that_are_left(
    head: list[int], retained: int, expected: int | None
) -> None:
    assert first_timestamp_of(head, retained) == expected


def test_no_range_is_possible_if_no_record_tells_how_old_the_deleted_ones_are() -> None:
    retained = RetainedTopic(
        {0: RetainedPartition(9, 9, 10, None)}, oldest_ms=0, newest_ms=100 * HOUR, newest_timestamp=-1
    )
    assert "none: retention has kept" in refusal(retained)


def test_no_range_is_possible_if_less_than_the_windows_is_retained() -> None:
    assert "none: retention has kept" in refusal(topic(p0=RetainedPartition(9, 9, 10, 99 * HOUR)))


def test_a_topic_retained_from_offset_0_allows_any_earlier_start() -> None:
    replay_of(topic(p0=RetainedPartition(0, 0, 1_000, 90 * HOUR)), from_ms=0)


def of_two(first: RetainedTopic, second: RetainedTopic) -> Replay:
    also = {"topic": "clicks", "key": "k", "triggers": False}
    two = make_plan(fields=[], views=[view_of(feature(HOUR, 60_000))], additional_sources=(also,))
    return plan_replay(two, [first, second], from_ms=50 * HOUR, to_ms=60 * HOUR, scratch="s", reference="p")


def test_the_topics_of_all_sources_are_replayed_with_their_own_offsets() -> None:
    replay = of_two(
        topic(p0=RetainedPartition(0, 40, 1_000, 0)),
        topic(p0=RetainedPartition(0, 9, 9, 0), p1=RetainedPartition(0, 3, 7, 0)),
    )
    assert (replay.start, replay.end) == ({0: 40}, {0: 1_000})
    assert [(one.start, one.end) for one in replay.additional_sources] == [({1: 3}, {1: 7})]


def test_deleted_records_of_a_further_source_count_but_its_end_does_not_limit_the_range() -> None:
    young = RetainedTopic(
        partitions={0: RetainedPartition(0, 0, 5, 0)}, oldest_ms=None, newest_ms=None, newest_timestamp=0
    )
    assert of_two(topic(), young).additional_sources[0].end == {0: 5}
    with pytest.raises(PenstockError, match="retention has deleted") as refused:
        of_two(topic(), topic(p0=RetainedPartition(9, 9, 10, 60 * HOUR)))
    assert refused.value.where == "clicks"


@pytest.mark.parametrize("triggers", [True, False])
def test_a_range_may_reach_as_far_as_any_topic_whose_events_have_rows(*, triggers: bool) -> None:
    also = {"topic": "clicks", "key": "k", "triggers": triggers}
    two = make_plan(fields=[], views=[view_of(feature(HOUR, 60_000))], additional_sources=(also,))
    ended = replace(topic(), newest_ms=59 * HOUR)
    request = {"from_ms": 50 * HOUR, "to_ms": 60 * HOUR, "scratch": "s", "reference": "p"}
    if triggers:
        assert plan_replay(two, [ended, topic()], **request).to_ms == 60 * HOUR
    else:
        with pytest.raises(PenstockError, match="the range ends after the newest event"):
            plan_replay(two, [ended, topic()], **request)
