"""Events that give no record are placed where the records of others name them, and must be there in their order."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from streams.oracle.reference import Timed, timer_features, vector
from tests.plans import make_plan, view_of
from verify.check_features import check_features
from verify.check_timers import check_timers
from verify.emissions import FeatureFindings, JudgedEvent
from verify.published import Position, Published

LAST = {
    "name": "last",
    "operation": "last",
    "column": "v",
    "column_type": "string",
    "where": None,
    "window_ms": 1_000,
    "hop_ms": 10,
    "type": "string",
}
COUNT = LAST | {"name": "n", "operation": "count", "column": None, "column_type": None, "type": "long"}
PLAN = make_plan(fields=[], views=[view_of(COUNT, LAST)], additional_sources=({"topic": "clicks", "triggers": False},))
(VIEW,) = PLAN.views
SHOWN = [JudgedEvent(Position(0, i), 7, b"a", f"s{i}", 10, {"k": "a", "v": f"s{i}"}) for i in range(3)]


def updating(position: Position, name: str) -> JudgedEvent:
    return JudgedEvent(position, 7, b"a", name, 10, {"k": "a", "v": name}, updates=True)


CLICKS = [updating(Position(0, i, 1), f"c{i}") for i in range(3)]


def emit(order: list[JudgedEvent], *, attempt: int = 0, after: int = 0, epoch: int = 1) -> list[Published]:
    """What an engine emits that sees the events in ``order``, of those after the first ``after``."""
    records = []
    updates: list[Position] = []
    for seq in range(after + 1, len(order) + 1):
        newest = order[seq - 1]
        if newest.source:
            updates.append(newest.position)
            continue
        found = vector(VIEW, [Timed(e.time, e.row) for e in order[:seq]])
        part: dict[str, Any] = {"entity": "a", "epoch": epoch, "seq": seq, "as_of": found.as_of, "late": found.late}
        source = {
            "topic": "events",
            "partition": newest.position.partition,
            "offset": newest.position.offset,
            "timestamp": 7,
        }
        value = {"event_id": newest.event_id, "event_time": newest.time, "trigger": "event", "attempt": attempt}
        value |= {"source": source, "event": {}, "v": part | found.features}
        named = {"v": tuple(updates)} if updates else {}
        records.append(Published(newest.position.partition, 100 * attempt + seq, b"a", value, updates=named))
        updates = []
    return records


def check(
    records: list[Published],
    shown: list[JudgedEvent] = SHOWN,
    clicks: list[JudgedEvent] = CLICKS,
    *more: list[JudgedEvent],
) -> FeatureFindings:
    others = [{event.position: event for event in events} for events in (clicks, *more)]
    events = {event.position: event for event in shown}
    return check_features(PLAN, events, records, others=others)


def name(record: Published, places: tuple[Position, ...] | None) -> Published:
    return dataclasses.replace(record, updates={"v": places})


def test_updating_events_are_placed_where_records_name_them() -> None:
    findings = check(emit([CLICKS[0], SHOWN[0], SHOWN[1], CLICKS[1], CLICKS[2], SHOWN[2]]))
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (6, 0, 0)


def test_updating_events_of_several_partitions_and_topics_are_placed_too() -> None:
    elsewhere = [updating(Position(1, 0, 1), "c9")]
    third = [updating(Position(0, 0, 2), "d0")]
    order = [SHOWN[0], *third, *elsewhere, CLICKS[0], SHOWN[1], CLICKS[1], SHOWN[2]]
    findings = check(emit(order), SHOWN, [*CLICKS, *elsewhere], third)
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (6, 0, 0), findings.examples


def test_an_event_that_updated_nothing_is_found() -> None:
    records = emit([SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2]])
    records[1].value["v"]["n"] = 2  # type: ignore[index]
    assert check(records).mismatches == 1


def test_an_update_that_is_no_event_of_the_entity_is_found() -> None:
    findings = check(emit([SHOWN[0], *CLICKS, SHOWN[1], SHOWN[2]]), clicks=CLICKS[:2])
    assert "names source 1, partition 0, offset 2" in findings.examples[0]
    assert findings.unverifiable == 2


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ([SHOWN[0], CLICKS[0], CLICKS[2], SHOWN[1], SHOWN[2]], "the first that is missing has offset 1"),
        ([CLICKS[1], SHOWN[0], CLICKS[2], SHOWN[1], SHOWN[2]], "the first that is missing has offset 0"),
        ([CLICKS[1], CLICKS[0], SHOWN[0], SHOWN[1], SHOWN[2]], "not once each, in their order"),
        ([CLICKS[0], SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2]], "not once each, in their order"),
    ],
)
def test_an_update_that_was_lost_or_doubled_or_taken_out_of_order_is_found(order: list[JudgedEvent], says: str) -> None:
    findings = check(emit(order))
    assert (findings.mismatches, findings.unverifiable) == (1, 0)
    assert says in findings.examples[0]


def test_updates_after_the_last_record_may_be_missing() -> None:
    assert check(emit([SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2], CLICKS[1]])).mismatches == 0


def test_after_a_failure_the_order_may_be_another_and_each_attempt_is_followed() -> None:
    before = emit([SHOWN[0], CLICKS[0], SHOWN[1], CLICKS[1], SHOWN[2]])
    again = emit([SHOWN[0], SHOWN[1], CLICKS[0], CLICKS[1], CLICKS[2], SHOWN[2]], attempt=1, after=1)
    findings = check([*before, *again])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (10, 0, 0)


def test_an_event_that_is_lost_leaves_what_follows_it_unverifiable() -> None:
    records = emit([SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2]])
    del records[1]
    findings = check(records)
    assert (findings.missing, findings.unverifiable) == (1, 1)
    assert any("seq 2 is missing before seq 4" in text for text in findings.examples)


def test_too_many_updates_to_name_make_what_follows_unverifiable_and_nothing_wrong() -> None:
    first, second, third = emit([SHOWN[0], *CLICKS, SHOWN[1], SHOWN[2]])
    findings = check([first, name(second, None), third])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (2, 0, 2)


def test_an_epoch_that_began_later_may_lack_what_came_after_the_last_record_before_it() -> None:
    later = emit([CLICKS[2], SHOWN[2]], epoch=2, attempt=1)
    findings = check([*emit([SHOWN[0], CLICKS[0], SHOWN[1]]), *later])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (6, 0, 0)


def test_an_entity_without_updating_events_is_judged_as_ever() -> None:
    findings = check(emit([SHOWN[0], SHOWN[1], SHOWN[2]]), clicks=[])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (6, 0, 0)


def test_a_timer_with_updates_since_the_last_record_is_compared_with_them() -> None:
    plan = make_plan(
        fields=[],
        views=[view_of(COUNT, LAST) | {"refresh_ms": 1}],
        additional_sources=({"topic": "clicks", "triggers": False},),
    )
    (view,) = plan.views
    served = emit([SHOWN[0], CLICKS[0], SHOWN[1]])
    order = [SHOWN[0], CLICKS[0], SHOWN[1], CLICKS[1]]
    features = timer_features(view, [Timed(e.time, e.row) for e in order], 500)
    last = served[-1].value
    part = {"entity": "a", "epoch": 1, "seq": 4, "as_of": 500, "late": False} | features
    value = last | {"event_id": "", "trigger": "timer", "v": part}
    timer = Published(0, 50, b"a", value, updates={"v": (CLICKS[1].position,)})
    moved = JudgedEvent(Position(0, 9), 7, b"b", "s9", 5_000, {"k": "b", "v": ""})
    events = {event.position: event for event in (*SHOWN[:2], moved)}

    def checked(record: Published) -> tuple[int, int, int]:
        clicks = {event.position: event for event in CLICKS}
        found = check_timers(plan, events, [*served, record], others=[clicks])
        return found.checked, found.mismatches, found.unverifiable

    assert checked(timer) == (2, 0, 0)
    assert checked(dataclasses.replace(timer, updates={"v": (CLICKS[2].position,)})) == (2, 1, 0)
    assert checked(dataclasses.replace(timer, updates={"v": None})) == (0, 0, 1)
