"""The raw topic, judged by the contract alone: valid, duplicate, refused; and the dead letters held against it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from penstock import Debezium, Source
from penstock.kafka.reading import Record
from schemas.avro import contract_schema
from schemas.codec import Decoder
from schemas.contract import pii_hash
from schemas.dead_letters import DeadLetter
from streams.plan.compiler import compile_plan
from tests.streams.definitions.test_pipeline import REFUNDS, Payment, Refund, pipeline
from verify.check_events import Judged, check_dead_letters, judge_events, with_shared_ids
from verify.published import Position

PLAN = compile_plan(pipeline())
KEY = b"key"
GOOD = {"id": "1", "time": 1_000, "card": "c", "email": "e", "amount": 250.0}


def record(offset: int, value: Any, *, key: bytes = b"c") -> Record:
    body = json.dumps(value).encode() if isinstance(value, dict) else value
    return Record(0, offset, 2_000, key, body, ())


def judge(*values: Any, letters: tuple[Record, ...] = ()) -> Judged:
    records = [record(offset, value) for offset, value in enumerate(values)]
    return judge_events(PLAN, PLAN.source, Payment, records, Decoder(contract_schema(Payment)), KEY, letters=letters)


def judge_copies(*places: Position, published: tuple[Position, ...]) -> set[Position]:
    body = json.dumps(GOOD).encode()
    records = [Record(place.partition, place.offset, 2_000, None, body, ()) for place in places]
    decoder = Decoder(contract_schema(Payment))
    return set(judge_events(PLAN, PLAN.source, Payment, records, decoder, KEY, published=published).events)


def letter(
    offset: int,
    reason: str,
    stage: str,
    value: bytes | None = None,
    *,
    topic: str = "events.payments",
    pipeline: str | None = "payments",
    key: bytes = b"c",
    headers: tuple[tuple[str, bytes], ...] = (),
) -> Record:
    found = DeadLetter(topic, 0, offset, pipeline, stage, "penstock.job", reason, "why", key, value, headers)
    return Record(0, offset, 2_000, key, value, tuple(found.headers()))


def test_a_valid_event_has_its_derived_columns_and_no_personal_value() -> None:
    event = judge(GOOD).events[Position(0, 0)]
    assert event.row["large"] is True
    assert event.row["email"] is None
    assert event.row["card"] == pii_hash(KEY, "c")
    assert event.key == pii_hash(KEY, "c").encode()


def test_duplicates_and_refused_events_are_no_events() -> None:
    judged = judge(GOOD, GOOD, GOOD | {"id": "2", "amount": "x"}, None)
    assert list(judged.events) == [Position(0, 0)]
    assert judged.duplicates.keys() == {Position(0, 1)}
    reasons = {position.offset: rejection.reason for position, rejection in judged.rejections.items()}
    assert reasons == {2: "penstock.InvalidField", 3: "penstock.Tombstone"}


def test_dead_letters_must_be_the_refused_events_for_the_same_reason() -> None:
    judged = judge(GOOD, None, b"\xff")
    right = [letter(1, "penstock.Tombstone", "decode"), letter(2, "penstock.Undecodable", "decode", b"\xff")]
    assert check_dead_letters(judged, "payments", "events.payments", right) == (2, 0, [])
    assert check_dead_letters(judged, "payments", "events.payments", right * 2)[:2] == (2, 0)
    for wrong in (right[:1], [*right, letter(0, "penstock.Tombstone", "decode")], [right[0], right[0]]):
        assert check_dead_letters(judged, "payments", "events.payments", wrong)[1] == 1
    other = [right[0], letter(2, "penstock.InvalidField", "validate", b"\xff")]
    assert check_dead_letters(judged, "payments", "events.payments", other)[1] == 1


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"value": b"\xfe"}, "value"),
        ({"key": b"d"}, "key"),
        ({"topic": "elsewhere"}, "topic"),
        ({"headers": (("trace", b"1"),)}, "headers"),
    ],
)
def test_a_dead_letter_must_be_verbatim_in_every_copy(changes: dict[str, Any], what: str) -> None:
    judged = judge(GOOD, b"\xff")
    right = letter(1, "penstock.Undecodable", "decode", b"\xff")
    wrong = letter(1, "penstock.Undecodable", "decode", **{"value": b"\xff", **changes})
    found, mismatches, examples = check_dead_letters(judged, "payments", "events.payments", [wrong, right])
    assert (found, mismatches) == (1, 1)
    assert f"{what} of its dead letter differ" in examples[0]


def test_letters_of_another_pipeline_on_the_topic_do_not_count() -> None:
    judged = judge(GOOD, b"\xff")
    own = letter(1, "penstock.Undecodable", "decode", b"\xff")
    others = [letter(0, "penstock.InvalidField", "validate", b"", pipeline="ads"), letter(1, "x", "y", pipeline="ads")]
    assert check_dead_letters(judged, "payments", "events.payments", [*others, own]) == (1, 0, [])
    found, mismatches, examples = check_dead_letters(judged, "payments", "events.payments", others)
    assert (found, mismatches) == (0, 1)
    assert "should be a dead letter" in examples[0]


def test_a_letter_that_names_no_pipeline_counts_as_ones_own() -> None:
    judged = judge(GOOD, b"\xff")
    older = letter(1, "penstock.Undecodable", "decode", b"\xff", pipeline=None)
    assert check_dead_letters(judged, "payments", "events.payments", [older]) == (1, 0, [])


def test_a_letter_of_a_record_that_was_refused_before_belongs_to_the_pipeline_of_the_last_refusal() -> None:
    (first,) = [letter(5, "penstock.Undecodable", "decode", b"\xff", pipeline="ads")]
    judged = judge_events(
        PLAN,
        PLAN.source,
        Payment,
        [Record(0, 0, 2_000, first.key, first.value, first.headers)],
        Decoder(contract_schema(Payment)),
        KEY,
    )
    again = letter(0, "penstock.Undecodable", "decode", b"\xff", headers=tuple(first.headers))
    assert check_dead_letters(judged, "payments", "events.payments", [again]) == (1, 0, [])


def test_a_record_that_is_no_dead_letter_is_a_mismatch() -> None:
    foreign = Record(0, 3, 2_000, b"k", b"hello", ())
    found, mismatches, examples = check_dead_letters(judge(GOOD), "payments", "events.payments", [foreign])
    assert (found, mismatches) == (0, 1)
    assert "cannot be read" in examples[0]


def test_what_a_source_does_not_accept_is_neither_event_nor_duplicate_nor_refused() -> None:
    source = Source(topic="events.payments", contract=Payment, key="card", filter="amount > 100")
    plan = compile_plan(pipeline(source=source))
    records = [record(0, GOOD | {"amount": 1.0}), record(1, GOOD), record(2, GOOD)]
    judged = judge_events(plan, plan.source, Payment, records, Decoder(contract_schema(Payment)), KEY)
    assert (list(judged.events), list(judged.duplicates)) == ([Position(0, 1)], [Position(0, 2)])
    assert (judged.ignored, judged.rejections) == ({Position(0, 0)}, {})


def test_an_event_of_another_source_has_its_type_and_null_for_what_it_lacks() -> None:
    plan = compile_plan(pipeline(additional_sources=(REFUNDS,)))
    refund = {"refund": "r1", "refunded": 5, "card": "c", "back": 2.0}
    schema = Decoder(contract_schema(Refund))
    (event,) = judge_events(plan, plan.additional_sources[0], Refund, [record(0, refund)], schema, KEY).events.values()
    assert (event.event_id, event.time) == ("r1", 5)
    shown = {name: event.row[name] for name in ("event__type", "back", "amount", "id", "large")}
    assert shown == {"event__type": "refund", "back": 2.0, "amount": None, "id": None, "large": None}


def test_of_copies_in_several_partitions_the_one_that_the_job_took_was_first() -> None:
    copies = Position(0, 0), Position(1, 0)
    for taken in copies:
        assert judge_copies(*copies, published=(taken,)) == {taken}
    assert len(judge_copies(*copies, published=())) == 1
    assert len(judge_copies(*copies, published=copies)) == 1


def test_of_copies_in_one_partition_the_one_with_the_lower_offset_was_first() -> None:
    first, second = Position(0, 0), Position(0, 1)
    assert judge_copies(first, second, published=(second,)) == {first}


def excerpt_letter(value: bytes, *, length: int, key: bytes | None = b"c") -> Record:
    found = DeadLetter(
        "events.payments",
        0,
        0,
        PLAN.pipeline,
        "decode",
        "penstock.job",
        "penstock.TooLarge",
        "why",
        key,
        value,
        (),
        length,
    )
    return Record(0, 0, 2_000, key, value, tuple(found.headers()))


def test_a_letter_of_a_record_that_is_too_long_for_it_has_the_beginning_and_the_length() -> None:
    raw = b"x" * 2_000_000
    judged = judge(raw)
    for key in (b"c", None):
        cut = excerpt_letter(raw[: 16 * 1024], length=len(raw), key=key)
        assert check_dead_letters(judged, PLAN.pipeline, "events.payments", [cut]) == (1, 0, [])
    for wrong in (
        excerpt_letter(raw[: 16 * 1024], length=len(raw) - 1),
        excerpt_letter(raw[:9], length=len(raw)),
        excerpt_letter(b"y" * 16 * 1024, length=len(raw)),
        excerpt_letter(raw[: 16 * 1024], length=len(raw), key=b"other"),
    ):
        assert check_dead_letters(judged, PLAN.pipeline, "events.payments", [wrong])[1] == 1


def test_a_letter_that_fits_must_be_verbatim() -> None:
    judged = judge(b"x" * 20_000)
    raw = judged.refused[Position(0, 0)].value
    assert raw is not None
    found = DeadLetter.read(b"c", None, letter(0, judged.rejections[Position(0, 0)].reason, "decode").headers)
    cut = replace(found, value=raw[: 16 * 1024], value_bytes=len(raw))
    record = Record(0, 0, 2_000, b"c", cut.value, tuple(cut.headers()))
    _, wrong, (text,) = check_dead_letters(judged, PLAN.pipeline, "events.payments", [record])
    assert (wrong, "excerpt of its dead letter" in text) == (1, True)


@pytest.mark.parametrize(("received_ms", "is_right"), [(999, True), (1_000, False)])
def test_a_refusal_by_the_jobs_clock_is_right_if_the_event_is_later_than_its_dead_letter(
    received_ms: int, is_right: bool
) -> None:
    """The raw record's own timestamp says nothing: the producer's wrong clock set it too."""
    refusal = replace(letter(0, "penstock.FutureEvent", "validate", json.dumps(GOOD).encode()), timestamp=received_ms)
    judged = judge(GOOD, GOOD | {"id": "2"}, letters=(refusal,))
    found, wrong, examples = check_dead_letters(judged, PLAN.pipeline, "events.payments", [refusal])
    assert (found, wrong) == (1, 0 if is_right else 1), examples
    assert len(judged.events) == (1 if is_right else 2)
    assert judged.refused_by_clock == ({Position(0, 0)} if is_right else set())


def test_without_the_letters_the_judgement_is_that_of_a_replay() -> None:
    assert list(judge(GOOD).events) == [Position(0, 0)]


def test_an_event_that_a_failed_job_refused_and_the_next_run_took_counts() -> None:
    refusal = replace(letter(0, "penstock.FutureEvent", "validate", json.dumps(GOOD).encode()), timestamp=999)
    records, decoder = [record(0, GOOD)], Decoder(contract_schema(Payment))
    taken = (Position(0, 0),)
    judged = judge_events(PLAN, PLAN.source, Payment, records, decoder, KEY, published=taken, letters=(refusal,))
    assert list(judged.events) == [Position(0, 0)]
    assert check_dead_letters(judged, PLAN.pipeline, "events.payments", [refusal]) == (0, 0, [])


def test_a_copy_in_another_partition_arrived_right_after_the_one_that_was_taken() -> None:
    """Later events of the key would have made the job forget the id."""
    later = GOOD | {"id": "2", "time": GOOD["time"] + 2 * PLAN.source.dedup_horizon_ms + 7_200_000}
    records = [
        Record(0, 0, 9 * 10**12, None, json.dumps(GOOD).encode(), ()),
        Record(0, 1, 9 * 10**12, None, json.dumps(later).encode(), ()),
        Record(1, 0, 9 * 10**12, None, json.dumps(GOOD).encode(), ()),
    ]
    taken = (Position(0, 0), Position(0, 1))
    decoder = Decoder(contract_schema(Payment))
    judged = judge_events(PLAN, PLAN.source, Payment, records, decoder, KEY, published=taken)
    assert (set(judged.events), set(judged.duplicates)) == (set(taken), {Position(1, 0)})


def test_an_event_that_was_put_back_counts_there_and_its_letter_is_right() -> None:
    refused = letter(0, "penstock.InvalidField", "validate", json.dumps(GOOD).encode())
    put_back = DeadLetter.read(refused.key, refused.value, refused.headers).replayed("events.payments.dlq[0]@0", 1)
    records = [record(0, GOOD), Record(0, 1, 2_000, b"c", put_back.value, tuple(put_back.original_headers))]
    decoder = Decoder(contract_schema(Payment))
    judged = judge_events(PLAN, PLAN.source, Payment, records, decoder, KEY, letters=[refused])
    assert (list(judged.events), judged.duplicates) == ([Position(0, 1)], {})
    assert check_dead_letters(judged, "payments", "events.payments", [refused]) == (1, 0, [])
    replay = judge_events(PLAN, PLAN.source, Payment, records, decoder, KEY)
    assert list(replay.events) == [Position(0, 0)]


def test_a_letter_that_a_replay_kept_again_has_its_headers_and_counts_once() -> None:
    refused = letter(0, "penstock.InvalidField", "validate", b"{}")
    whole = DeadLetter.read(refused.key, refused.value, refused.headers)
    again = whole.replayed("events.payments.dlq[0]@0", 1)
    raw = Record(0, 0, 1_000, refused.key, refused.value, tuple(whole.original_headers))
    judged = judge_events(PLAN, PLAN.source, Payment, [raw], Decoder(contract_schema(Payment)), KEY, letters=[refused])
    kept = Record(0, 1, 1_000, again.key, again.value, tuple(again.headers()))
    assert check_dead_letters(judged, "payments", "events.payments", [refused, kept]) == (1, 0, [])
    _, wrong, (example,) = check_dead_letters(judged, "payments", "events.payments", [kept])
    assert (wrong, "headers" in example) == (1, True)


def test_a_record_that_is_no_event_in_its_envelope_is_ignored_as_by_the_job() -> None:
    source = Source(topic="events.payments", contract=Payment, key="card", envelope=Debezium())
    plan = compile_plan(pipeline(source=source))
    records = [record(0, None), record(1, {"op": "d", "before": GOOD}), record(2, {"op": "c", "after": GOOD})]
    judged = judge_events(plan, plan.source, Payment, records, Decoder(contract_schema(Payment)), KEY)
    assert list(judged.events) == [Position(0, 2)]
    assert (judged.ignored, judged.rejections) == ({Position(0, 0), Position(0, 1)}, {})


def both_topics(published: tuple[Position, ...]) -> list[Judged]:
    """One payment with the same id in two topics of its contract, and a refund with that id, which is scored too."""
    app = pipeline().source.model_copy(update={"topic": "app"})
    scored = REFUNDS.model_copy(update={"triggers": True})
    plan = compile_plan(pipeline(additional_sources=(app, scored)))
    refund = {"refund": "1", "refunded": 5, "card": "c", "back": 2.0}
    of_sources = ((Payment, GOOD), (Payment, GOOD), (Refund, refund))
    judged = [
        judge_events(plan, source, contract, [record(0, value)], Decoder(contract_schema(contract)), KEY)
        for source, (contract, value) in zip(plan.sources, of_sources, strict=True)
    ]
    return with_shared_ids(plan, judged, published)


def test_a_copy_in_another_topic_of_the_contract_is_a_duplicate_and_an_event_of_another_contract_is_none() -> None:
    web, app = Position(0, 0), Position(0, 0, 1)
    # A replay, of which none is known to be taken, takes equal timestamps in the order of the sources.
    for taken, other, published in ((web, app, (web,)), (app, web, (app,)), (web, app, ())):
        judged = both_topics(published)
        events = {place: event.event_id for one in judged for place, event in one.events.items()}
        assert events == {taken: "1", Position(0, 0, 2): "refund:1"}
        assert {place for one in judged for place in one.duplicates} == {other}
