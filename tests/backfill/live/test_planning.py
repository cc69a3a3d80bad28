"""Which views a fill fills, from where on, and in which segments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backfill.live.planning import (
    FillRange,
    filling_plan,
    first_segment,
    next_segment,
    plan_range,
    require_fillable,
    views_to_fill,
)
from backfill.planning import RetainedPartition, RetainedTopic
from penstock.errors import PenstockError
from streams.definitions.windows import Window
from streams.flink.submission import Offsets
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of
from tests.sinks.payments import PLAN

HOUR = 3_600_000
NOW = 100 * HOUR


def plan(window_ms: int = 2 * HOUR, hop_ms: int = 120_000, **source: Any) -> PipelinePlan:
    kind = {"operation": "count", "column": None, "column_type": None, "where": None, "type": "long"}
    feature = kind | {"name": "n", "window_ms": window_ms, "hop_ms": hop_ms}
    rules = {"event_id": "id", "dedup_horizon_ms": HOUR // 2, "max_future_ms": 1_000, **source}
    return make_plan(fields=[], views=[view_of(feature)], source=rules)


LOOKBACK = 2 * HOUR + 120_000 + HOUR // 2 + 1_000
WHOLE = RetainedTopic(
    partitions={0: RetainedPartition(0, 0, 1_000, 0)}, oldest_ms=0, newest_ms=NOW, newest_timestamp=NOW
)


def deleted_until(timestamp: int) -> RetainedTopic:
    return replace(WHOLE, partitions={0: RetainedPartition(10, 10, 1_000, timestamp)})


def planned(retained: RetainedTopic, from_ms: int | None = None, *, allow_incomplete: bool = False) -> FillRange:
    return plan_range(plan(), [retained], from_ms=from_ms, allow_incomplete=allow_incomplete)


def test_by_default_the_views_that_the_running_job_lacks_are_filled() -> None:
    running = {view.id: view.hash for view in PLAN.views[:1]}

    assert views_to_fill(PLAN, running, (), "p") == tuple(view.id for view in PLAN.views[1:])
    assert views_to_fill(PLAN, running, [PLAN.views[-1].name], "p") == (PLAN.views[-1].id,)
    assert views_to_fill(PLAN, {view.id: view.hash for view in PLAN.views}, (), "p") == ()


@pytest.mark.parametrize(("name", "message"), [("none", "has no view"), (PLAN.views[0].name, "runs already")])
def test_a_view_that_does_not_exist_or_runs_already_is_refused(name: str, message: str) -> None:
    with pytest.raises(PenstockError, match=message):
        views_to_fill(PLAN, {PLAN.views[0].id: "h"}, [name], "p")


def test_a_fill_computes_the_aggregates_of_its_views_alone() -> None:
    wanted = PLAN.views[-1]

    filling = filling_plan(PLAN, [wanted.id])

    assert [view.id for view in filling.views] == [wanted.id]
    assert filling.views[0].features == wanted.features
    assert (filling.views[0].derived, filling.views[0].refresh_ms) == ((), 0)
    assert filling.views[0].hash == wanted.hash
    assert filling.derived == PLAN.derived


def test_views_that_take_events_by_event_time_cannot_be_filled() -> None:
    require_fillable(plan())
    with pytest.raises(PenstockError, match="by event time"):
        require_fillable(plan(order="event_time"))


def test_by_default_values_are_complete_for_events_up_to_one_longest_window_late() -> None:
    assert planned(WHOLE) == FillRange(NOW - 2 * HOUR - LOOKBACK, NOW - 2 * HOUR, is_complete=True)


def test_where_retention_reaches_less_far_values_are_complete_from_a_later_time() -> None:
    found = planned(deleted_until(NOW - HOUR - LOOKBACK))

    assert found.complete_from_ms == NOW - HOUR + 1
    assert found.is_complete


def test_the_time_from_which_values_must_be_complete_can_be_given() -> None:
    assert planned(WHOLE, 50 * HOUR).start_ms == 50 * HOUR - LOOKBACK
    assert planned(WHOLE, 0).start_ms == 0


def test_what_needs_deleted_records_is_refused_unless_it_may_be_incomplete() -> None:
    retained = deleted_until(NOW - HOUR)

    for from_ms in (None, 50 * HOUR):
        with pytest.raises(PenstockError, match="retention has deleted"):
            planned(retained, from_ms)
    found = planned(retained, allow_incomplete=True)

    assert found == FillRange(0, NOW - HOUR + LOOKBACK + 1, is_complete=False)


def test_a_lifetime_needs_the_whole_topic() -> None:
    lifetime = Window.of("lifetime")
    forever = plan(lifetime.size, lifetime.hop)

    def found(retained: RetainedTopic, *, allow_incomplete: bool = False) -> FillRange:
        return plan_range(forever, [retained], from_ms=None, allow_incomplete=allow_incomplete)

    assert found(WHOLE) == FillRange(0, 0, is_complete=True)
    with pytest.raises(PenstockError, match="lifetime"):
        found(deleted_until(5))
    assert not found(deleted_until(5), allow_incomplete=True).is_complete


def test_a_topic_without_valid_events_is_refused() -> None:
    with pytest.raises(PenstockError, match="no valid event"):
        planned(replace(WHOLE, newest_ms=None))


def test_segments_end_where_the_running_job_has_been_and_leave_no_gap() -> None:
    first = first_segment([{0: 5, 1: 7, 2: 9}], [{0: 400_000, 1: 3}])
    assert first == (Offsets(start={0: 5, 1: 7, 2: 9}, end={0: 400_000, 1: 7, 2: 9}),)

    second = next_segment(first, [{0: 700_000, 1: 3, 2: 10}])
    assert second == (Offsets(start={0: 400_000, 1: 7, 2: 9}, end={0: 700_000, 1: 7, 2: 10}),)

    assert next_segment(first, [{0: 400_100}]) is None, "few records are left"
    assert next_segment(second, [{0: 810_000}]) is None, "it comes no nearer"
