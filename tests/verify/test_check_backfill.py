"""A backfill against what was served: what must be equal, and what another order may change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backfill.manifest import BackfillManifest, plan_hash, selected_views
from backfill.parts import PartsWriter
from schemas.codec import Encoder
from streams.flink.submission import Offsets, Replay
from streams.oracle.reference import Timed, vector
from streams.plan.feature_records import features_schema
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of
from verify.check_backfill import BackfillFindings, check_backfill
from verify.check_events import Judged
from verify.emissions import JudgedEvent
from verify.published import Position, Published
from verify.reading import read_backfill_data

FEATURE = {"column": "x", "column_type": "double", "where": None, "window_ms": 1_000, "hop_ms": 10, "type": "double"}
PLAN = make_plan(
    fields=[],
    views=[
        view_of(
            FEATURE | {"name": "s", "operation": "sum"},
            FEATURE | {"name": "l", "operation": "last"},
            FEATURE | {"name": "t", "operation": "top_k", "k": 2, "type": "double[]"},
        )
    ],
)
VIEW = PLAN.views[0]


def event(partition: int, offset: int, time: int, x: float, source: int = 0) -> JudgedEvent:
    position, row = Position(partition, offset, source), {"k": "a", "x": x}
    return JudgedEvent(position, time, b"k", f"e{partition}/{offset}", time, row, updates=source > 0)


# Entity a, fed from two partitions, which overlap in time.
EVENTS = [event(0, 0, 100, 1.0), event(1, 0, 100, 2.0), event(0, 1, 300, 4.0), event(1, 1, 400, 8.0)]
REPLAYED = [EVENTS[i] for i in (0, 1, 2, 3)]
# Of another topic, in a partition of the same number: one between the first two and the others, one at the same time.
UPDATING = [event(0, 0, 250, 16.0, 1), event(0, 1, 300, 32.0, 1)]
BOTH = [EVENTS[0], EVENTS[1], UPDATING[0], EVENTS[2], UPDATING[1], EVENTS[3]]


def emitted(order: list[JudgedEvent], epoch: int = 1) -> list[dict[str, Any]]:
    """The records of an engine that sees the events in this order; :data:`UPDATING` give none."""
    records = []
    for number, one in enumerate(order):
        if one in UPDATING:
            continue
        found = vector(VIEW, [Timed(e.time, e.row) for e in order[: number + 1]])
        head = {"entity": "a", "epoch": epoch, "seq": number + 1, "as_of": found.as_of, "late": found.late}
        partition, offset, _ = one.position
        source = {"topic": "events", "partition": partition, "offset": offset, "timestamp": one.timestamp}
        record = {"event_id": one.event_id, "event_time": one.time, "trigger": "event", "attempt": 0, "source": source}
        records.append(record | {"event": {}, "v": head | found.features})
    return records


def served(records: list[dict[str, Any]]) -> list[Published]:
    offsets = [0, 0]
    found = []
    for record in records:
        partition = record["source"]["partition"]
        found.append(Published(partition, offsets[partition], b"k", record))
        offsets[partition] += 1
    return found


def check(
    folder: Path,
    rows: list[dict[str, Any]],
    live: list[dict[str, Any]],
    *,
    from_ms: int = 0,
    to_ms: int = 10_000,
    plan: PipelinePlan = PLAN,
    updating: Sequence[JudgedEvent] = (),
    never_served: frozenset[Position] = frozenset(),
) -> BackfillFindings:
    folder.mkdir(exist_ok=True)
    if updating:
        clicks = plan.source.model_copy(update={"topic": "clicks", "triggers": False})
        plan = plan.model_copy(update={"additional_sources": (clicks,)})
    also = (Offsets(start={0: 0}, end={0: len(updating)}),) if updating else ()
    replay = Replay(
        topic="b",
        start={0: 0, 1: 0},
        end={0: 2, 1: 2},
        additional_sources=also,
        from_ms=from_ms,
        to_ms=to_ms,
        max_ahead_ms=1_000,
    )
    manifest = BackfillManifest(
        state="complete",
        pipeline="p",
        views=selected_views(plan, (), "p"),
        plan=plan_hash(plan),
        run="0000000a",
        replay=replay,
    )
    encoder = Encoder(features_schema(plan))
    with PartsWriter(plan, manifest, folder) as writer:
        for partition in (0, 1):
            mine = [encoder.encode(row) for row in rows if row["source"]["partition"] == partition]
            writer.add(partition, list(range(len(mine))), mine)
        writer.finish()
    manifest.save(folder)
    events = {one.position: one for one in EVENTS}
    timestamps = {one.position: one.timestamp for one in EVENTS}
    times = {one.position: one.timestamp for one in updating}
    others = [Judged({one.position: one for one in updating}, {}, {}, times)] if updating else []
    return check_backfill(
        plan,
        read_backfill_data(folder),
        events,
        served(live),
        timestamps,
        others=others,
        never_served=never_served,
    )


def test_a_backfill_that_equals_what_was_served_holds(tmp_path: Path) -> None:
    findings = check(tmp_path, emitted(REPLAYED), emitted(REPLAYED))
    assert (findings.rows, findings.checked, findings.mismatches, findings.order_differences) == (4, 12, 0, 0)


def test_the_epoch_of_the_live_job_is_not_that_of_a_replay(tmp_path: Path) -> None:
    assert check(tmp_path, emitted(REPLAYED), emitted(REPLAYED, epoch=9)).mismatches == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("s", 1.0000000000000002), ("l", -1.0), ("t", [1.0, 1.0]), ("t", [2.0]), ("late", True), ("as_of", 101)],
)
def test_the_last_bit_of_a_value_counts_where_the_order_was_the_same(tmp_path: Path, name: str, value: Any) -> None:
    rows = emitted(REPLAYED)
    rows[0]["v"][name] = value
    findings = check(tmp_path, rows, emitted(REPLAYED))
    assert (findings.mismatches, findings.order_differences) == (1, 0)
    assert f"{name} differ" in findings.examples[0]


def test_the_sign_of_zero_counts(tmp_path: Path) -> None:
    rows, live = emitted(REPLAYED), emitted(REPLAYED)
    rows[0]["v"]["s"], live[0]["v"]["s"] = 0.0, -0.0
    rows[1]["v"]["t"], live[1]["v"]["t"] = [0.0], [-0.0]
    assert check(tmp_path, rows, live).mismatches == 2


def test_updating_events_are_taken_in_the_replays_order_after_those_of_the_same_time(
    tmp_path: Path,
) -> None:
    findings = check(tmp_path, emitted(BOTH), emitted(BOTH), updating=UPDATING)
    assert (findings.mismatches, findings.order_differences) == (0, 0)
    late = [EVENTS[i] for i in (0, 1, 2)] + [UPDATING[0], UPDATING[1], EVENTS[3]]
    findings = check(tmp_path, emitted(BOTH), emitted(late), updating=UPDATING)
    assert findings.mismatches == 0
    assert findings.order_differences == 1


def test_an_updating_event_that_a_row_lacks_is_a_mismatch_where_something_else_was_served(tmp_path: Path) -> None:
    lacking = [EVENTS[0], EVENTS[1], EVENTS[2], UPDATING[1], EVENTS[3]]
    findings = check(tmp_path, emitted(lacking), emitted(BOTH), updating=UPDATING)
    assert (findings.mismatches > 0, findings.order_differences) == (True, 2)


def test_another_order_is_explained_and_held_against_the_oracle(tmp_path: Path) -> None:
    live = emitted([EVENTS[i] for i in (1, 0, 2, 3)])
    findings = check(tmp_path, emitted(REPLAYED), live)
    assert findings.mismatches == 0
    assert findings.order_differences == 2


def test_another_order_excuses_no_value_that_the_oracle_does_not_compute(tmp_path: Path) -> None:
    rows = emitted(REPLAYED)
    rows[0]["v"]["s"] = 77.0
    findings = check(tmp_path, rows, emitted([EVENTS[i] for i in (1, 0, 2, 3)]))
    assert findings.mismatches == 1
    assert "in the replay's order" in findings.examples[0]


def test_a_live_job_that_began_without_the_past_saw_other_events(tmp_path: Path) -> None:
    findings = check(tmp_path, emitted(REPLAYED), [*emitted(REPLAYED[:1]), *emitted(REPLAYED[1:], epoch=2)])
    assert findings.mismatches == 0
    assert findings.order_differences == 3


def test_a_derived_feature_must_follow_from_its_own_row_whatever_was_served(tmp_path: Path) -> None:
    """Another view that it uses may have seen its entity in another order than when it was served."""
    ratio = {"name": "r", "sql": "s / 2", "type": "double", "inputs": ["v.s"], "windows": []}
    plan = make_plan(fields=[], views=[VIEW.model_dump() | {"derived": [ratio]}])

    def with_ratio(records: list[dict[str, Any]], difference: float) -> list[dict[str, Any]]:
        for record in records:
            record["v"]["r"] = record["v"]["s"] / 2 + difference
        return records

    live = with_ratio(emitted(REPLAYED), 1.0)
    assert check(tmp_path / "right", with_ratio(emitted(REPLAYED), 0.0), live, plan=plan).mismatches == 0
    wrong = check(tmp_path / "wrong", with_ratio(emitted(REPLAYED), 1.0), live, plan=plan)
    assert (wrong.checked, wrong.mismatches) == (4 * (len(VIEW.features) + 1), 4)
    assert wrong.examples[0].endswith("v.r is 1.5, its expression gives 0.5")


def test_rows_that_are_not_in_the_order_of_a_replay_are_found(tmp_path: Path) -> None:
    order = [EVENTS[i] for i in (1, 0, 2, 3)]
    findings = check(tmp_path, emitted(order), emitted(order))
    assert any("not in the order of a replay" in example for example in findings.examples)


def test_rows_that_are_missing_or_of_no_event_of_the_range_are_found(tmp_path: Path) -> None:
    rows = emitted(REPLAYED)
    findings = check(tmp_path, rows[:3], emitted(REPLAYED), from_ms=200)
    assert findings.mismatches == 3
    assert sum("is no event of the range" in example for example in findings.examples) == 2
    assert sum("has no row" in example for example in findings.examples) == 1


def test_an_event_that_was_never_served_is_found(tmp_path: Path) -> None:
    findings = check(tmp_path, emitted(REPLAYED), emitted(REPLAYED)[:3])
    assert findings.mismatches == 1
    assert "was never served" in findings.examples[0]


def test_what_only_the_live_jobs_clock_refused_is_a_difference_of_order_in_the_rows_that_count_it(
    tmp_path: Path,
) -> None:
    refused = EVENTS[1]
    live = emitted([one for one in REPLAYED if one is not refused])
    findings = check(tmp_path, emitted(REPLAYED), live, never_served=frozenset([refused.position]))
    assert (findings.rows, findings.mismatches, findings.order_differences) == (4, 0, 2), findings.examples


def test_what_was_emitted_again_after_a_failure_is_not_what_was_served(tmp_path: Path) -> None:
    again = emitted(REPLAYED)[3]
    again["attempt"], again["v"]["s"] = 1, 99.0
    assert check(tmp_path, emitted(REPLAYED), [*emitted(REPLAYED), again]).mismatches == 0
