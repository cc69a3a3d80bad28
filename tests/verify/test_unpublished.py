"""Letters of events whose feature record was too long: they account for the event, and only if they are right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Encoder
from schemas.dead_letters import DeadLetter
from streams.oracle.reference import Timed, vector
from streams.plan.feature_records import features_schema
from tests.plans import make_plan, view_of
from verify.check_features import check_features
from verify.emissions import JudgedEvent
from verify.published import Position, Published
from verify.unpublished import UnpublishedFindings, check_unpublished, excerpt

LAST = {
    "name": "l",
    "operation": "last_k",
    "column": "s",
    "column_type": "string",
    "where": None,
    "window_ms": 100_000,
    "hop_ms": 10,
    "type": "string[]",
    "k": 100,
}
FIELDS = [
    {"name": "id", "type": "string", "roles": ["event_id"]},
    {"name": "time", "type": "long", "roles": ["event_time"]},
    {"name": "k", "type": "string", "nullable": True},
    {"name": "s", "type": "string", "nullable": True},
]
# The topic is keyed by another column: only seq tells in which order the view saw the events.
PLAN = make_plan(fields=FIELDS, views=[view_of(LAST)], source={"key": None})
SCHEMA = features_schema(PLAN)
LONG = "\N{GRINNING FACE}" * 70_000


def events() -> dict[Position, JudgedEvent]:
    texts = ["a", LONG, "b" * 9, "c"]
    return {
        Position(0, offset): JudgedEvent(
            Position(0, offset), 7, b"a", f"id{offset}", 1_000 + offset, {"k": "a", "s": text}
        )
        for offset, text in enumerate(texts)
    }


def value_of(of: dict[Position, JudgedEvent], offset: int) -> dict[str, Any]:
    seen = [of[Position(0, at)] for at in range(offset + 1)]
    found = vector(PLAN.views[0], [Timed(e.time, e.row) for e in seen])
    event = seen[-1]
    return {
        "event_id": event.event_id,
        "event_time": event.time,
        "trigger": "event",
        "attempt": 0,
        "source": {"topic": "events", "partition": 0, "offset": offset, "timestamp": 7},
        "event": {},
        "v": {"entity": "a", "epoch": 1, "seq": offset + 1, "as_of": found.as_of, "late": found.late, **found.features},
    }


def letter(record: dict[str, Any], /, **changes: Any) -> Record:
    cut = Encoder(SCHEMA).encode(record | {"v": {name: excerpt(part) for name, part in record["v"].items()}})
    source = record["source"]
    found = DeadLetter(
        source["topic"],
        source["partition"],
        source["offset"],
        "p",
        "encode",
        "penstock.job",
        "penstock.FeaturesTooLarge",
        "why",
        b"a",
        cut,
        (),
        2_000_000,
    )
    found = replace(found, **changes)
    return Record(0, 0, 9, found.key, found.value, tuple(found.headers()))


def check(*records: Record) -> UnpublishedFindings:
    return check_unpublished(PLAN, events(), records, Decoder(SCHEMA))


def test_an_excerpt_keeps_256_characters_and_16_elements() -> None:
    assert excerpt(LONG) == LONG[:256]
    assert excerpt([1.0] * 17) == [1.0] * 16
    assert excerpt(["x" * 300]) == ["x" * 256]
    assert [excerpt(value) for value in (None, True, 3, "x")] == [None, True, 3, "x"]


def test_letters_take_the_place_of_their_records_and_what_they_kept_is_compared() -> None:
    of = events()
    withheld = check(*(letter(value_of(of, offset)) for offset in (1, 2)))
    assert withheld.examples == []
    records = [Published(0, offset, b"a", value_of(of, offset)) for offset in (0, 3)]
    findings = check_features(PLAN, of, [*records, *withheld.records])
    assert (findings.examples, findings.missing, findings.unverifiable) == ([], 0, 0)
    assert (findings.emitted, findings.checked, findings.total) == (2, 4, 4)


def test_an_event_with_neither_record_nor_letter_is_missing() -> None:
    of = events()
    records = [Published(0, offset, b"a", value_of(of, offset)) for offset in (0, 3)]
    findings = check_features(PLAN, of, [*records, *check(letter(value_of(of, 1))).records])
    assert findings.missing == 1
    assert findings.mismatches > 0, "the gap in seq"


def test_a_wrong_value_in_an_excerpt_is_found() -> None:
    of = events()
    value = value_of(of, 1)
    value["v"] = value["v"] | {"l": ["wrong", LONG]}
    records = [Published(0, offset, b"a", value_of(of, offset)) for offset in (0, 2, 3)]
    findings = check_features(PLAN, of, [*records, *check(letter(value)).records])
    assert findings.mismatches == 1
    assert "'wrong'" in findings.examples[0]


def test_a_letter_of_a_record_that_was_not_long_is_found() -> None:
    findings = check(letter(value_of(events(), 0)))
    assert findings.records == []
    assert "so it was not long" in findings.examples[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "penstock.Undecodable"},
        {"stage": "validate"},
        {"offset": 2},
        {"offset": 99},
        {"topic": "events.of.another"},
        {"value": b"junk"},
        {"value": None},
    ],
)
def test_a_letter_of_another_event_reason_or_form_is_found(changes: dict[str, Any]) -> None:
    findings = check(letter(value_of(events(), 1), **changes))
    assert (len(findings.records), findings.mismatches) == (0, 1)


MANY = make_plan(fields=FIELDS, views=[view_of(*(LAST | {"name": f"l{n}"} for n in range(5)))], source={"key": None})


def test_a_letter_without_value_accounts_for_an_event_whose_cut_record_can_be_too_long() -> None:
    bare = letter(value_of(events(), 1), value=None, key=None)
    findings = check_unpublished(MANY, events(), [bare], Decoder(features_schema(MANY)))
    assert findings == UnpublishedFindings(without_value={Position(0, 1)})


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 99},
        {"topic": "events.of.another"},
        {"reason": "penstock.Undecodable"},
        {"value_bytes": 60_000},
        {"value_bytes": None},
    ],
)
def test_a_letter_without_value_that_is_not_true_is_found(changes: dict[str, Any]) -> None:
    bare = letter(value_of(events(), 1), **({"value": None, "key": None} | changes))
    findings = check_unpublished(MANY, events(), [bare], Decoder(features_schema(MANY)))
    assert (findings.mismatches, findings.without_value) == (1, set())


ORDERED = make_plan(fields=FIELDS, views=[view_of(LAST)], source={"key": "k"})


@pytest.mark.parametrize("offsets", [(0, 2, 3), (1, 2, 3), (0, 1, 2), (0, 3), (1, 2)])
def test_where_offsets_give_the_order_all_other_vectors_are_compared(offsets: tuple[int, ...]) -> None:
    of = events()
    records = [Published(0, offset, b"a", value_of(of, offset)) for offset in offsets]
    lacking = of.keys() - {record.position for record in records}
    findings = check_features(ORDERED, of, records, without_value=lacking)
    assert (findings.examples, findings.missing, findings.unverifiable) == ([], 0, 0)
    assert findings.checked == findings.total == len(records)
    (one, *_) = lacking
    assert check_features(ORDERED, of, records, without_value=lacking - {one}).mismatches > 0, "it was lost"


def test_where_only_seq_gives_the_order_the_vectors_of_its_entity_are_unverifiable() -> None:
    of = events()
    records = [Published(0, offset, b"a", value_of(of, offset)) for offset in (0, 2, 3)]
    findings = check_features(PLAN, of, records, without_value={Position(0, 1)})
    assert (findings.examples, findings.missing, findings.unverifiable) == ([], 0, 3)


def test_letters_of_readers_of_the_features_topic_and_of_timers_are_left_out() -> None:
    of_sink = letter(value_of(events(), 1), topic=PLAN.features_topic, reason="penstock.Undecodable", value=b"junk")
    of_timer = letter(value_of(events(), 1) | {"trigger": "timer", "event_id": ""})
    assert check(of_sink, of_timer) == UnpublishedFindings()
