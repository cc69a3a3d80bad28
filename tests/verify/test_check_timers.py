"""What timers emitted, against the oracle: right values pass, anything else is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest

from streams.oracle.reference import Timed, timer_features, vector
from streams.plan.model import PipelinePlan, ViewPlan
from tests.plans import make_plan, view_of
from verify.check_timers import check_timers, settling_ms
from verify.emissions import FeatureFindings, JudgedEvent, by_entity
from verify.published import Position, Published

FEATURE = {"column": "x", "column_type": "double", "where": None, "window_ms": 1_000, "hop_ms": 10, "type": "double"}
NAMES = ("sum", "zscore", "time_since_last")
_VIEW = view_of(*(FEATURE | {"name": name, "operation": name} for name in NAMES))
PLAN = make_plan(fields=[], views=[_VIEW | {"refresh_ms": 1}])
VIEW = PLAN.views[0]
EVENTS = {
    Position(0, n): JudgedEvent(Position(0, n), 7, b"a", f"id{n}", time, {"k": "a", "x": float(n)})
    for n, time in enumerate((10, 20, 600))
}
# An event of another entity, which moves the watermark.
LATER = JudgedEvent(Position(0, 9), 7, b"b", "id9", 5_000, {"k": "b", "x": 0.0})


def record(seq: int, part: dict[str, Any], *, attempt: int = 1, **changes: Any) -> Published:
    newest = EVENTS[Position(0, seq - 1)]
    head = {"event_id": newest.event_id, "event_time": newest.time, "trigger": "event", "attempt": attempt, "event": {}}
    source = {"topic": "events", "partition": 0, "offset": newest.position.offset, "timestamp": 7}
    view = {"entity": "a", "epoch": 1, "seq": seq, "late": False} | part
    return Published(0, seq, b"a", head | {"source": source, "v": view} | changes)


def history(seq: int) -> list[Timed]:
    return [Timed(event.time, event.row) for event in list(EVENTS.values())[:seq]]


def served(attempt: int = 1) -> list[Published]:
    found = [vector(VIEW, history(seq)) for seq in (1, 2, 3)]
    return [record(n + 1, {"as_of": v.as_of} | v.features, attempt=attempt) for n, v in enumerate(found)]


def timer(seq: int, as_of: int, *, attempt: int = 1, part: dict[str, Any] | None = None, **changes: Any) -> Published:
    values = {"as_of": as_of} | timer_features(VIEW, history(seq), as_of) | (part or {})
    return record(seq, values, attempt=attempt, **({"event_id": "", "trigger": "timer"} | changes))


def check(*records: Published, plan: PipelinePlan = PLAN) -> FeatureFindings:
    return check_timers(plan, {**EVENTS, LATER.position: LATER}, records)


def test_timers_of_any_time_and_attempt_hold() -> None:
    findings = check(*served(), timer(2, 300), timer(3, 1_015), timer(3, 1_800), timer(3, 1_015, attempt=2))
    assert (findings.emitted, findings.checked, findings.mismatches, findings.unverifiable) == (4, 12, 0, 0)


@pytest.mark.parametrize("value", [{"sum": 3.5}, {"zscore": None}, {"time_since_last": 0.0}, {"late": True}])
def test_a_wrong_value_is_found(value: dict[str, Any]) -> None:
    assert check(*served(), timer(3, 1_015, part=value)).mismatches == 1


@pytest.mark.parametrize(
    "change", [{"event_id": "id2"}, {"event_time": 20}, {"source": {"topic": "events", "partition": 0, "offset": 0}}]
)
def test_an_envelope_that_is_not_that_of_the_last_event_is_found(change: dict[str, Any]) -> None:
    assert check(*served(), timer(3, 1_015, **change)).mismatches >= 1


def test_a_timer_is_checked_also_if_its_events_were_never_emitted() -> None:
    findings = check(*served()[:2], timer(3, 1_015))
    assert (findings.unverifiable, findings.mismatches, findings.checked) == (0, 0, findings.total)


def test_a_timer_of_an_entity_without_vectors_is_counted() -> None:
    assert check(timer(3, 1_015)).unverifiable == 1


def test_a_timer_later_than_every_event_is_found() -> None:
    findings = check(*served(), timer(3, 10**9))
    assert findings.mismatches == 1
    assert "the newest of all events is at 5000" in findings.examples[0]


def test_a_timer_without_a_view_is_found() -> None:
    assert check(*served(), timer(3, 1_015, v=None)).mismatches == 1


def test_timers_of_a_view_that_has_none_are_reported_as_unchecked() -> None:
    plan = make_plan(fields=[], views=[_VIEW])
    assert check(*served(), timer(3, 1_015), plan=plan).unchecked == [
        "view v@1 has timers, and no refresh in this definition"
    ]


def test_timers_of_one_event_may_come_in_any_order_of_time() -> None:
    distinct = FEATURE | {"name": "d", "operation": "distinct", "bound": 10, "type": "long"}
    plan = make_plan(fields=[], views=[view_of(distinct) | {"refresh_ms": 1}])
    records = [timer(3, as_of, part={"d": count}) for as_of, count in ((1_005, 3), (1_100, 1), (1_005, 3))]
    emitted = [record(n, {"as_of": t, "d": n}) for n, t in enumerate((10, 20, 600), 1)]
    assert check(*emitted, *records, plan=plan).mismatches == 0


def late_run(*timers: Published) -> FeatureFindings:
    """An entity that falls silent at 600, and another whose event moves the watermark; refreshes each 100."""
    plan = make_plan(fields=[], views=[_VIEW | {"refresh_ms": 100}])
    later = dataclasses.replace(LATER, time=10**9)
    found = vector(VIEW, [Timed(later.time, later.row)])
    part = {"entity": "b", "epoch": 1, "seq": 1, "late": False, "as_of": found.as_of} | found.features
    moved = record(3, {}, event_id="id9", event_time=later.time, v=part)
    source = {"topic": "events", "partition": 0, "offset": 9, "timestamp": 7}
    moved = dataclasses.replace(moved, value={**moved.value, "source": source})
    last = dataclasses.replace(moved, timestamp=settling_ms(plan) + 1)
    return check_timers(plan, {**EVENTS, later.position: later}, [*served(), *timers, moved, last])


def test_an_entity_whose_windows_emptied_without_a_timers_record_is_found() -> None:
    assert late_run(timer(3, 1_700)).mismatches == 0
    findings = late_run(timer(3, 1_015))
    assert findings.mismatches == 1
    assert "lacks a timer's record: sum changed until" in findings.examples[0]


def test_a_view_with_a_refresh_and_no_timers_at_all_is_reported_as_unchecked() -> None:
    assert late_run().unchecked == ["view v@1 has a refresh, and no timer has published a record of it"]


def test_the_events_of_a_view_are_grouped_by_entity_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grouped: list[str] = []

    def once(view: ViewPlan, events: Iterable[JudgedEvent]) -> dict[str, list[JudgedEvent]]:
        grouped.append(view.id)
        return by_entity(view, events)

    monkeypatch.setattr("verify.check_timers.by_entity", once)
    assert late_run(timer(3, 1_700)).mismatches == 0
    assert grouped == [VIEW.id, VIEW.id], "the triggering events, and those that only update"
