"""Replaying a lane: what is read, what counts as gone, and what becomes of a record that Kafka does not take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from backfill.dead_letters import replay as module
from backfill.dead_letters.lanes import Lane, Place, PlacedLetter
from backfill.dead_letters.raw import keep_refused, put_back
from backfill.dead_letters.replay import GONE, KEPT, QUARANTINED, Answers, Replay
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record, RecordsGoneError
from penstock.kafka.records import Produced
from penstock.kafka.transactions import OutcomeUnknownError, RecordRefusedError
from schemas.dead_letters import REPLAY_COUNT, REPLAY_OF, DeadLetter

RAW = "events.payments"
TOPIC = f"{RAW}.dlq"
LANE = Lane(TOPIC, "penstock.job", "penstock.InvalidField")
LETTER = DeadLetter(RAW, 0, 1, "payments", "validate", *LANE[1:], "why", key=b"k", value=b"v")


class Kafka:
    """Two partitions of letters, what was written in each transaction, and the raw records."""

    def __init__(self) -> None:
        self.letters: dict[int, list[DeadLetter]] = {0: [], 1: []}
        self.raw: Callable[[], Iterator[Record]] = lambda: iter(())
        self.transactions: list[tuple[list[Produced], int, int]] = []
        self.refuses: Callable[[Sequence[Produced]], bool] = lambda _: False

    def start(self) -> bool:
        return True

    def write(self, records: list[Produced], offsets: list[TopicPartition], *_: object) -> None:
        if self.refuses(records):
            raise RecordRefusedError("Kafka refuses the record")
        (done,) = offsets
        self.transactions.append((records, done.partition, done.offset))

    def read_lane(
        self, _kafka: object, _pipeline: str, lane: Lane, partition: int, offsets: tuple[int, int]
    ) -> Iterator[PlacedLetter]:
        start, end = offsets
        for offset in range(start, min(end, len(self.letters[partition]))):
            yield PlacedLetter(Place(lane.topic, partition, offset), 0, self.letters[partition][offset])


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    fake = Kafka()
    consumer = SimpleNamespace(close=lambda: None, consumer_group_metadata=lambda: None)
    monkeypatch.setattr(module, "producer_factory", lambda *_: None)
    monkeypatch.setattr(module, "TransactionalProducer", lambda *_, **__: fake)
    monkeypatch.setattr(module, "lane_consumer", lambda *_: consumer)
    monkeypatch.setattr(module, "replayed_until", lambda *_: dict.fromkeys(fake.letters, 0))
    monkeypatch.setattr(module, "read_lane", fake.read_lane)
    monkeypatch.setattr(module, "read_topic", lambda *_, **__: fake.raw())
    return fake


def back(letters: Sequence[PlacedLetter]) -> Answers:
    return put_back(letters, lambda: 5)


def kept(placed: PlacedLetter, why: str) -> Produced:
    return keep_refused(placed, why, 1 << 20, 5)


def run(kafka: Kafka, answer: Any = back, **options: Any) -> Counter[str]:
    ends = {partition: len(letters) for partition, letters in kafka.letters.items()}
    return Replay("payments", KafkaAccess(bootstrap="nowhere:1"), "again").run(LANE, ends, answer, **options)


def test_letters_that_come_while_it_runs_wait_for_the_next_replay(kafka: Kafka) -> None:
    kafka.letters = {0: [LETTER], 1: [LETTER]}

    def refuse_again(letters: Sequence[PlacedLetter]) -> Answers:
        kafka.letters[1].append(LETTER)
        return Answers([], Counter({"refused again": len(letters)}))

    done: list[int] = []
    assert run(kafka, refuse_again, on_letters=done.append) == {"refused again": 2}
    assert done == [1, 1]
    assert [(partition, offset) for _, partition, offset in kafka.transactions] == [(0, 1), (1, 1)]


EXCERPT = replace(LETTER, value=b"x" * 20_000).excerpt()


def gone() -> Iterator[Record]:
    raise RecordsGoneError("deleted")


def unreadable() -> Iterator[Record]:
    raise PenstockError("Kafka cannot be reached")


def test_a_record_that_was_deleted_is_gone(kafka: Kafka) -> None:
    kafka.letters[0] = [EXCERPT]
    kafka.raw = gone
    assert run(kafka) == {GONE: 1}


def test_another_record_in_its_place_is_not_its_own(kafka: Kafka) -> None:
    kafka.letters[0] = [EXCERPT]
    kafka.raw = lambda: iter([Record(0, 1, 0, b"k", b"y" * 20_000, ())])
    assert run(kafka) == {GONE: 1}


def test_a_record_that_cannot_be_read_now_ends_the_replay_and_its_letter_stays(kafka: Kafka) -> None:
    kafka.letters[0] = [EXCERPT]
    kafka.raw = unreadable
    with pytest.raises(PenstockError, match="cannot be reached"):
        run(kafka)
    assert kafka.transactions == []


def test_a_letter_without_headers_is_quarantined_by_those_of_its_record(kafka: Kafka) -> None:
    kafka.letters[0] = [LETTER, replace(LETTER, value=b"x" * 20_000).bare()]
    headers = ((REPLAY_OF, f"{TOPIC}[0]@0".encode()), (REPLAY_COUNT, b"3"))
    kafka.raw = lambda: iter([Record(0, 1, 0, b"k", b"x" * 20_000, headers)])
    assert run(kafka) == {"put back to the raw topic": 1, QUARANTINED: 1}


def test_an_event_that_kafka_does_not_take_back_is_kept_as_a_letter_and_the_others_are_put_back(kafka: Kafka) -> None:
    kafka.letters[0] = [replace(LETTER, offset=number, value=b"%d" % number) for number in range(5)]
    kafka.refuses = lambda records: any(one.topic == RAW and one.value == b"3" for one in records)
    assert run(kafka, keep=kept) == {"put back to the raw topic": 4, KEPT: 1}
    written = [one for records, _, _ in kafka.transactions for one in records]
    assert [(one.topic, one.value) for one in written] == [
        (TOPIC if number == 3 else RAW, b"%d" % number) for number in range(5)
    ]
    assert [offset for *_, offset in kafka.transactions] == [2, 3, 4, 5]
    letter = DeadLetter.read(written[3].key, written[3].value, written[3].headers)
    assert letter.message == "why; not put back: Kafka refuses the record"
    assert letter.replay == (f"{TOPIC}[0]@3", 1)
    again = PlacedLetter(Place(TOPIC, 1, 9), 0, letter)
    assert (written[3].partition, kept(again, "why").partition) == (0, 1), "a letter stays in its partition"
    assert DeadLetter.read(b"k", b"3", kept(again, "too long").headers).message == "why; not put back: too long"


def test_where_no_letter_can_be_kept_the_refusal_ends_the_replay(kafka: Kafka) -> None:
    kafka.letters[0] = [LETTER]
    kafka.refuses = lambda _: True
    with pytest.raises(RecordRefusedError):
        run(kafka)


def test_a_replay_that_another_one_overtakes_says_to_wait_for_it(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    def fenced(*_: object) -> None:
        raise OutcomeUnknownError("fenced")

    kafka.letters[0] = [LETTER]
    monkeypatch.setattr(kafka, "write", fenced)
    with pytest.raises(PenstockError, match="another replay of the same letters has begun") as stopped:
        run(kafka)
    assert stopped.value.next == "wait until no other replay runs, then, for what is left: again"
