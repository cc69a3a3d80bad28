from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.kafka.records import MAX_RECORD_BYTES
from schemas.dead_letters import MESSAGE, DeadLetter

LETTER = DeadLetter(
    topic="events.card",
    partition=3,
    offset=42,
    pipeline="fraud",
    stage="validate",
    component="penstock.job",
    reason="penstock.InvalidField",
    message="amount: must be >= 0",
    key=b"\x00\xff",
    value=b"\xde\xad",
    original_headers=(("traceparent", b"00-1"), ("traceparent", b"00-2"), ("empty", None)),
)


def test_a_dead_letter_is_read_as_it_was_written() -> None:
    assert DeadLetter.read(LETTER.key, LETTER.value, LETTER.headers()) == LETTER


def test_the_header_names_are_those_of_kafka_connect() -> None:
    assert LETTER.headers()[3:] == [
        ("__connect.errors.topic", b"events.card"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"42"),
        ("__connect.errors.connector.name", b"fraud"),
        ("__connect.errors.stage", b"validate"),
        ("__connect.errors.class.name", b"penstock.job"),
        ("__connect.errors.exception.class.name", b"penstock.InvalidField"),
        ("__connect.errors.exception.message", b"amount: must be >= 0"),
    ]


def test_the_records_own_headers_come_first_verbatim_and_in_order() -> None:
    assert LETTER.headers()[:3] == list(LETTER.original_headers)


def test_a_tombstone_keeps_its_null_value() -> None:
    letter = replace(LETTER, key=None, value=None)
    assert DeadLetter.read(None, None, letter.headers()) == letter


def test_a_record_refused_twice_reports_the_last_refusal_and_keeps_the_first() -> None:
    again = replace(LETTER, topic="events.card.dlq", offset=0, original_headers=tuple(LETTER.headers()))
    read = DeadLetter.read(again.key, again.value, again.headers())
    assert (read.topic, read.offset) == ("events.card.dlq", 0)
    assert DeadLetter.read(read.key, read.value, read.original_headers) == LETTER


def test_a_record_without_the_headers_is_not_a_dead_letter() -> None:
    headers = [item for item in LETTER.headers() if item[0] != MESSAGE]
    with pytest.raises(ValueError, match=r"__connect\.errors\.exception\.message"):
        DeadLetter.read(None, None, headers)


def test_a_letter_of_a_release_that_named_no_pipeline_is_still_read() -> None:
    older = replace(LETTER, pipeline=None)
    assert all(not name.endswith("connector.name") for name, _ in older.headers())
    assert DeadLetter.read(older.key, older.value, older.headers()) == older


def test_a_letter_without_a_pipeline_does_not_take_that_of_an_earlier_refusal() -> None:
    again = replace(LETTER, pipeline=None, original_headers=tuple(LETTER.headers()))
    assert DeadLetter.read(again.key, again.value, again.headers()) == again


def test_a_letter_with_an_excerpt_says_how_long_the_value_was() -> None:
    letter = replace(LETTER, value_bytes=70_000)
    assert letter.headers()[-1] == ("penstock.value.bytes", b"70000")
    assert DeadLetter.read(letter.key, letter.value, letter.headers()) == letter


def test_the_record_of_a_letter_has_the_first_form_that_fits() -> None:
    letter = replace(LETTER, key=b"k" * 90_000, value=b"v" * 70_000)
    for max_bytes, form in (
        (1 << 20, letter),
        (120_000, letter.excerpt()),
        (60_000, letter.bare()),
        (1, letter.bare()),
    ):
        record = letter.record("t.dlq", 5, max_bytes, [("more", b"1")])
        assert (record.topic, record.partition, record.timestamp) == ("t.dlq", letter.partition, 5)
        assert (record.key, record.value, record.headers) == (form.key, form.value, [*form.headers(), ("more", b"1")])


def test_no_letter_is_longer_than_the_producer_takes_whatever_its_topic_takes() -> None:
    long = replace(LETTER, value=bytes(MAX_RECORD_BYTES))
    assert long.record("t.dlq", 5, 400_000_000).value == bytes(16 * 1024)


def test_a_short_letter_that_does_not_fit_has_neither_key_nor_headers() -> None:
    assert LETTER.record("t.dlq", 5, 1).key is None


def test_a_record_that_has_such_a_header_itself_keeps_it() -> None:
    own = (("penstock.value.bytes", b"x"), ("__connect.errors.topic", b"t"))
    whole = replace(LETTER, original_headers=own)
    assert DeadLetter.read(whole.key, whole.value, whole.headers()) == whole
    cut = replace(whole, value_bytes=1)
    assert DeadLetter.read(cut.key, cut.value, cut.headers()) == cut


def test_a_record_that_is_replayed_has_its_own_headers_and_names_its_letter() -> None:
    answered = replace(LETTER, original_headers=(("a", b"1"), ("penstock.source.topic", b"events.card")))
    replayed = answered.replayed("events.card.dlq[3]@7", 1)
    replay = (("penstock.replay.of", b"events.card.dlq[3]@7"), ("penstock.replay.count", b"1"))
    assert replayed.original_headers == (("a", b"1"), *replay)
    again = replayed.replayed("events.card.dlq[3]@9", 2)
    assert again.original_headers == (("a", b"1"), (replay[0][0], b"events.card.dlq[3]@9"), (replay[1][0], b"2"))
    assert (answered.replay, again.replay) == (None, ("events.card.dlq[3]@9", 2))


@pytest.mark.parametrize("count", [b"", b"x", b"-1", b"9" * 5_000, None])
def test_a_count_of_replays_that_is_no_number_counts_as_none(count: bytes | None) -> None:
    headers = (("penstock.replay.of", b"t.dlq[0]@1"), ("penstock.replay.count", count))
    assert replace(LETTER, original_headers=headers).replay is None
