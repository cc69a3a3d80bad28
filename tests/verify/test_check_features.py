"""The verifier must find what is wrong, and must not call a restart a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from streams.oracle.reference import Timed, vector
from streams.plan.model import PipelinePlan
from tests.plans import COUNT, make_plan, view_of
from verify.check_features import check_features, is_in_offset_order
from verify.emissions import FeatureFindings, JudgedEvent
from verify.published import Position, Published

PLAN = make_plan(fields=[], views=[view_of(COUNT)])
# The topic is keyed by another column, so events of one entity may reach the view in any order.
OTHER_KEY = make_plan(fields=[], views=[view_of(COUNT)], source={"key": None})


@pytest.mark.parametrize(
    ("source", "stages", "is_ordered"),
    [
        ({}, (("k", "v"),), True),
        ({}, (("k", "u"), ("k", "v")), True),
        ({"order": "event_time"}, (("k", "v"),), False),
        ({"key": None}, (("k", "v"),), False),
        ({"key": "x"}, (("k", "v"),), False),
        ({}, (("x", "v"),), False),
        ({"key": "x"}, (("x", "u"), ("k", "v")), False),
        ({}, (("x", "u"), ("k", "v")), True),
    ],
)
def test_a_view_sees_offsets_in_order_if_the_entity_alone_decides_the_way_of_its_events(
    source: dict[str, Any], stages: tuple[tuple[str, str], ...], is_ordered: bool
) -> None:
    views = [view_of(COUNT, name=name, entity=f"of_{name}", key=key) for key, name in stages]
    of_stages = [{"entity": v["entity"], "key": v["key"], "key_type": "string", "views": [v]} for v in views]
    plan = make_plan(fields=[], stages=of_stages, source=source)
    assert is_in_offset_order(plan, plan.view("v")) is is_ordered


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


def check(events: dict[Position, JudgedEvent], records: list[Published], plan: PipelinePlan = PLAN) -> FeatureFindings:
    return check_features(plan, events, records)


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


def test_records_emitted_again_after_a_failure_may_come_in_another_order_unless_the_topic_is_keyed_by_the_entity() -> (
    None
):
    events = stream(10, 20, 2_000)
    records = emit(events, [0, 1, 2]) + emit(events, [0, 2, 1], attempt=1, first=2, base=10)
    findings = check(events, records, OTHER_KEY)
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (5, 0, 0)
    assert check(events, records).examples == [
        "v@1 a: seq 2 is event Position(partition=0, offset=2), in offset order Position(partition=0, offset=1)",
        "v@1 a: seq 3 is event Position(partition=0, offset=1), in offset order Position(partition=0, offset=2)",
        "v@1 a: event Position(partition=0, offset=1) was not counted in any epoch's final chain",
        "v@1 a: event Position(partition=0, offset=2) was not counted in any epoch's final chain",
    ]


def test_a_record_lost_in_a_failed_attempt_leaves_later_ones_unverifiable_unless_the_topic_is_keyed_by_the_entity() -> (
    None
):
    events = stream(10, 20, 30)
    first = emit(events, [0, 1, 2])
    del first[1]
    again = emit(events, [0, 1, 2], attempt=1, first=2, base=10)
    findings = check(events, first + again, OTHER_KEY)
    assert (findings.unverifiable, findings.mismatches) == (1, 0)
    findings = check(events, first + again)
    assert (findings.unverifiable, findings.mismatches, findings.checked) == (0, 0, findings.total)


@pytest.mark.parametrize("plan", [PLAN, OTHER_KEY], ids=["source key", "other key"])
@pytest.mark.parametrize(
    ("records", "example"),
    [
        pytest.param(
            lambda e: emit(e, [0, 1, 2, 3, 4, 5]) + emit(e, [4, 5, 6, 7, 8, 9], attempt=1, base=10),
            "event Position(partition=0, offset=0) was not counted",
            id="state lost at a restart, two events emitted again",
        ),
        pytest.param(
            lambda e: emit(e, [0, 1, 2]) + emit(e, [0, *range(3, 10)], attempt=1, first=2, base=10),
            "event Position(partition=0, offset=1) was not counted",
            id="an attempt drops events and does not emit them again",
        ),
        pytest.param(
            lambda e: emit(e, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
            "offset=4) was not counted",
            id="an event in the middle was not counted",
        ),
        pytest.param(lambda e: emit(e, list(range(9))), "offset=9) was not counted", id="the last event is missing"),
        pytest.param(
            lambda e: emit(e, list(range(5))) + emit(e, list(range(10)), attempt=1, first=7, base=10),
            "was not counted",
            id="an attempt begins after a gap",
        ),
        pytest.param(
            lambda e: emit(e, [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]),
            "",
            id="an event was counted twice",
        ),
    ],
)
def test_a_chain_that_is_not_the_entitys_events_is_found(
    records: Callable[[dict[Position, JudgedEvent]], list[Published]], example: str, plan: PipelinePlan
) -> None:
    events = stream(*range(0, 100, 10))
    findings = check(events, records(events), plan)
    assert findings.mismatches
    assert any(example in text for text in findings.examples), findings.examples


def test_a_view_of_the_topics_key_that_counts_events_out_of_offset_order_is_found() -> None:
    """Every value follows from the wrong order."""
    events = stream(*range(0, 100, 10))
    assert check(events, emit(events, [1, 0, *range(2, 10)])).mismatches


def test_epochs_are_counted_and_each_continues_where_the_last_one_ended() -> None:
    """A new epoch for each event gives the value 1 ten times."""
    events = stream(*range(0, 100, 10))

    def began_anew(*starts: int) -> list[Published]:
        records = []
        for number, (start, end) in enumerate(pairwise([*starts, 10])):
            for record in emit(events, list(range(start, end)), attempt=number, base=10 * number):
                record.value["v"]["epoch"] = number  # type: ignore[index]
                records.append(record)
        return records

    assert [check(events, began_anew(*starts)).epochs for starts in ([0], [0, 5], range(10))] == [1, 2, 10]
    assert check(events, began_anew(0, 5)).mismatches == 0
    lost = [record for record in began_anew(0, 5) if record.position.offset != 4]
    assert "offset=4) was not counted" in check(events, lost).examples[0]


def test_an_epoch_that_ends_before_an_earlier_one_is_found() -> None:
    events = stream(*range(0, 100, 10))
    newer = emit(events, list(range(5)), attempt=1, base=10)
    for record in newer:
        record.value["v"]["epoch"] = 2  # type: ignore[index]
    findings = check(events, emit(events, list(range(10))) + newer)
    assert "ends at offset 4, an earlier epoch at 9" in findings.examples[0]


def test_a_view_counts_from_its_addition_to_its_removal_by_an_upgrade() -> None:
    events = stream(*range(0, 100, 10))
    records = emit(events, list(range(3, 7)), attempt=1)
    for offset in (*range(3), *range(7, 10)):
        (record,) = emit(events, [offset], attempt=0 if offset < 3 else 2)
        without = replace(record, value=record.value | {"v": None}, lacks=frozenset({"v"}))
        records.append(replace(without, offset=20 + offset))
    findings = check(events, records)
    assert (findings.mismatches, findings.missing, findings.checked) == (0, 0, findings.total)


def test_a_computed_column_may_differ_in_records_of_an_earlier_definition_only() -> None:
    """A column has no version of its own: the views that use it have."""
    events = stream(10, 20, 30)
    for event in events.values():
        event.row["x"] = 2.0
    plan = make_plan(fields=[], views=[view_of(COUNT)], passthrough=[("x", "double")])
    records = [replace(r, value=r.value | {"event": {"x": 2.0}}) for r in emit(events, [0, 1, 2])]
    for number, attempt in ((0, -1), (1, 0)):
        changed = {"event": {"x": 1.0}, "attempt": attempt}
        records[number] = replace(records[number], value=records[number].value | changed)
    records[0] = replace(records[0], value=records[0].value | {"v": None}, lacks=frozenset({"v"}))
    findings = check_features(plan, events, records)
    assert findings.unchecked == ["1 values of computed columns: an earlier definition wrote them"]
    assert [text for text in findings.examples if "event.x" in text] == [
        f"features[0]@{records[1].offset}: event.x is 1.0, the event has 2.0"
    ]


def test_within_an_attempt_every_record_has_the_same_views() -> None:
    events = stream(10, 20, 30)
    records = emit(events, [0, 1, 2])
    records[2] = replace(records[2], value=records[2].value | {"v": None}, lacks=frozenset({"v"}))
    assert "has other views than attempt 0 began with" in check(events, records).examples[0]


def test_a_view_that_was_never_emitted_is_reported_as_unchecked() -> None:
    events = stream(10, 20)
    findings = check(events, [])
    assert findings.unchecked == ["view v@1 is in no feature record"]
    assert findings.mismatches == 2


def test_an_entity_that_begins_an_epoch_alone_is_found() -> None:
    events = stream(10, 20, 30) | {
        Position(0, n): JudgedEvent(Position(0, n), 7, b"b", f"id{n}", n, {"k": "b"}) for n in (3, 4)
    }
    records = emit(events, [0, 1]) + [replace(r, offset=9) for r in emit(events, [2])]
    records[-1].value["v"]["epoch"] = 2  # type: ignore[index]
    others = emit(events, [3, 4], base=10)
    for record in others:
        record.value["v"]["entity"] = "b"  # type: ignore[index]
    findings = check(events, records + others)
    assert findings.epochs == 2
    assert any("v@1 b: is in epoch 1, others began 2 without state" in text for text in findings.examples)


def test_an_entity_that_returns_after_the_job_has_forgotten_it_begins_an_epoch_alone() -> None:
    events = {
        Position(0, n): JudgedEvent(
            Position(0, n), n * 40 * 86_400_000, b"a", f"id{n}", n * 40 * 86_400_000, {"k": "a"}
        )
        for n in (0, 1)
    }
    records = emit(events, [0]) + [replace(record, offset=5) for record in emit(events, [1])]
    for record in records:
        record.value["source"]["timestamp"] = record.value["event_time"]
    records[1].value["v"]["epoch"] = 2  # type: ignore[index]
    findings = check(events, records)
    assert (findings.mismatches, findings.epochs) == (0, 1)


def test_a_vector_under_another_entitys_name_is_found() -> None:
    events = stream(10, 20)
    records = emit(events, [0, 1])
    records[1].value["v"]["entity"] = "b"  # type: ignore[index]
    findings = check(events, records)
    assert findings.unverifiable == 1
    assert "the entity of v@1 differs" in findings.examples[0]


def test_a_record_that_was_published_twice_is_counted() -> None:
    events = stream(10, 20)
    records = emit(events, [0, 1])
    findings = check(events, [*records, replace(records[1], offset=9)])
    assert (findings.repeated, findings.mismatches, findings.checked) == (1, 0, findings.total)


def test_a_value_that_depends_on_a_lost_event_is_wrong() -> None:
    events = stream(10, 20, 30)
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
    findings = check_features(plan, events, records)
    assert (findings.checked, findings.mismatches) == (4, 1)
    assert findings.examples[0].endswith("v.half is 0.75, its expression gives 1.0")
