"""Events that give no record are put between those that do where ``seq`` tells, and nowhere else."""

from __future__ import annotations

from typing import Any

from streams.oracle.reference import Timed, vector
from tests.plans import make_plan, view_of
from verify.check_features import check_features
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
CLICKS = [JudgedEvent(Position(0, i), 7, b"a", f"c{i}", 10, {"k": "a", "v": f"c{i}"}) for i in range(3)]


def emit(order: list[JudgedEvent], *, attempt: int = 0, after: int = 0, epoch: int = 1) -> list[Published]:
    """What an engine emits that sees the events in ``order``, of those after the first ``after``."""
    records = []
    for seq in range(after + 1, len(order) + 1):
        newest = order[seq - 1]
        if newest in CLICKS:
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
        records.append(Published(newest.position.partition, 100 * attempt + seq, b"a", value))
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


def test_gaps_in_seq_tell_where_updating_events_came() -> None:
    findings = check(emit([CLICKS[0], SHOWN[0], SHOWN[1], CLICKS[1], CLICKS[2], SHOWN[2]]))
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (6, 0, 0)


def test_an_event_that_updated_nothing_is_found() -> None:
    records = emit([SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2]])
    records[1].value["v"]["n"] = 2  # type: ignore[index]
    assert check(records).mismatches == 1


def test_more_updates_than_there_were_events_are_a_mismatch() -> None:
    findings = check(emit([SHOWN[0], *CLICKS, SHOWN[1], SHOWN[2]]), clicks=CLICKS[:2])
    assert findings.mismatches == 1
    assert "leaves 3 updating events" in findings.examples[0]
    assert findings.unverifiable == 2


def test_after_a_failure_the_order_may_be_another_and_each_attempt_is_followed() -> None:
    before = emit([SHOWN[0], CLICKS[0], SHOWN[1], CLICKS[1], SHOWN[2]])
    again = emit([SHOWN[0], SHOWN[1], CLICKS[0], CLICKS[1], CLICKS[2], SHOWN[2]], attempt=1, after=1)
    findings = check([*before, *again])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (10, 0, 0)


def test_an_event_that_is_lost_leaves_what_follows_it_unverifiable() -> None:
    records = emit([SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2]])
    del records[1]
    findings = check(records)
    assert (findings.missing, findings.mismatches, findings.unverifiable) == (1, 1, 1)


def test_where_the_order_is_not_known_nothing_is_claimed() -> None:
    elsewhere = JudgedEvent(Position(1, 0), 7, b"a", "c9", 10, {"k": "a", "v": "c9"})
    order = [SHOWN[0], CLICKS[0], SHOWN[1], SHOWN[2]]
    for findings in (check(emit(order), SHOWN, [*CLICKS, elsewhere]), check(emit(order), SHOWN, CLICKS, CLICKS)):
        assert (findings.checked, findings.mismatches, findings.unverifiable) == (0, 0, 3)


def test_an_epoch_that_began_later_is_not_judged() -> None:
    later = emit([SHOWN[2]], epoch=2, attempt=1)
    findings = check([*emit([SHOWN[0], CLICKS[0], SHOWN[1]]), *later])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (4, 0, 1)


def test_an_entity_without_updating_events_is_judged_as_ever() -> None:
    findings = check(emit([SHOWN[0], SHOWN[1], SHOWN[2]]), clicks=[])
    assert (findings.checked, findings.mismatches, findings.unverifiable) == (6, 0, 0)
