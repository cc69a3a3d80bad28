"""The verifier must find what is wrong, and must not call a restart a fault."""

from __future__ import annotations

from typing import Any

from streams.oracle.reference import Timed, vector
from tests.plans import make_plan, view_of
from verify.check_features import check_features
from verify.emissions import FeatureFindings, JudgedEvent
from verify.published import Position, Published

COUNT = {
    "name": "n",
    "operation": "count",
    "column": None,
    "column_type": None,
    "where": None,
    "window_ms": 1_000,
    "hop_ms": 10,
    "type": "long",
}
PLAN = make_plan(fields=[], views=[view_of(COUNT)])


def event(offset: int, time: int) -> JudgedEvent:
    return JudgedEvent(Position(0, offset), 7, b"a", f"id{offset}", time, {"k": "a"})


def stream(*times: int) -> dict[Position, JudgedEvent]:
    return {Position(0, i): event(i, time) for i, time in enumerate(times)}


def emit(
    events: dict[Position, JudgedEvent], order: list[int], *, attempt: int = 0, first: int = 1, base: int = 0
) -> list[Published]:
    """What an engine emits that sees the events in ``order``; only from position ``first`` - 1 of it on."""
    records = []
    for seq in range(first, len(order) + 1):
        seen = [events[Position(0, o)] for o in order[:seq]]
        found = vector(PLAN.views[0], [Timed(e.time, e.row) for e in seen])
        part: dict[str, Any] = {"entity": "a", "epoch": 1, "seq": seq, "as_of": found.as_of, "late": found.late}
        newest = seen[-1]
        source = {"topic": "events", "partition": 0, "offset": newest.position.offset, "timestamp": 7}
        value = {"event_id": newest.event_id, "event_time": newest.time, "trigger": "event", "attempt": attempt}
        records.append(
            Published(0, base + seq, b"a", value | {"source": source, "event": {}, "v": part | found.features})
        )
    return records


def check(events: dict[Position, JudgedEvent], records: list[Published]) -> FeatureFindings:
    return check_features(PLAN, events, records, budget=10**6, seed=1)


def test_a_clean_run_holds_and_every_value_is_checked() -> None:
    events = stream(10, 20, 5_000)
    findings = check(events, emit(events, [0, 1, 2]))
    assert (findings.checked, findings.mismatches, findings.missing) == (3, 0, 0)


def test_a_wrong_value_is_found_and_named() -> None:
    events = stream(10, 20)
    records = emit(events, [0, 1])
    records[1].value["v"]["n"] = 5  # type: ignore[index]
    findings = check(events, records)
    assert findings.mismatches == 1
    assert findings.examples[0].endswith("n is 5, oracle 2")


def test_an_event_without_features_is_missing() -> None:
    events = stream(10, 20)
    assert check(events, emit(events, [0])).missing == 1


def test_features_of_an_event_that_is_not_valid_are_a_mismatch() -> None:
    events = stream(10, 20)
    records = emit(events, [0, 1])
    del events[Position(0, 1)]
    assert check(events, records).unexpected == 1


def test_records_emitted_again_after_a_failure_may_come_in_another_order() -> None:
    events = stream(10, 20, 2_000)
    before = emit(events, [0, 1, 2])
    after = emit(events, [0, 2, 1], attempt=1, first=2, base=10)
    findings = check(events, before + after)
    assert (findings.checked, findings.mismatches) == (5, 0)


def test_a_gap_in_a_cut_short_attempt_is_counted_and_one_in_the_last_is_a_loss() -> None:
    events = stream(10, 20, 30)
    first = emit(events, [0, 1, 2])
    del first[1]
    again = emit(events, [0, 1, 2], attempt=1, first=2, base=10)
    findings = check(events, first + again)
    assert (findings.unverifiable, findings.mismatches) == (1, 0)
    assert check(events, first).mismatches == 1


def test_an_attempt_that_forgot_an_event_is_found() -> None:
    events = stream(10, 20, 30)
    after = emit(events, [0, 2], attempt=1, first=2, base=10)
    assert check(events, emit(events, [0, 1, 2]) + after).mismatches == 0
    wrong = emit(events, [0, 1, 2], attempt=1, first=3, base=10)
    wrong[0].value["v"]["n"] = 2  # type: ignore[index]
    assert check(events, emit(events, [0, 1, 2]) + wrong).mismatches == 1


def test_a_derived_feature_is_held_against_the_values_of_its_own_record() -> None:
    half = {"name": "half", "sql": "n / 2", "type": "double", "inputs": ["v.n"], "windows": [[1_000, 10]]}
    plan = make_plan(fields=[], views=[view_of(COUNT) | {"derived": [half]}])
    events = stream(10, 20)
    records = emit(events, [0, 1])
    for record, value in zip(records, (0.5, 0.75), strict=True):
        record.value["v"]["half"] = value  # type: ignore[index]
    findings = check_features(plan, events, records, budget=10**6, seed=1)
    assert (findings.checked, findings.mismatches) == (4, 1)
    assert findings.examples[0].endswith("v.half is 0.75, its expression gives 1.0")


def test_the_budget_bounds_the_work_and_the_report_says_how_much_was_checked() -> None:
    events = stream(*range(100))
    records = emit(events, list(range(100)))
    findings = check_features(PLAN, events, records, budget=200, seed=1)
    assert 0 < findings.checked < 100
