"""Reading the scored events back from real topics, with transactions in every state."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from penstock.kafka.records import Consumed, Produced
from scoring.history import HistoryUnavailableError, PredictionHistory
from scoring.look_back import Ends
from scoring.memory import EventPosition
from scoring.prediction_format import ModelIdentity
from scoring.predictions import PredictionWriter
from streams.plan.compiler import compile_plan
from tests.scoring.scorer_bench import ScorerBench, define, wait_for

VECTOR = np.zeros(3, dtype=np.float32)
# Old enough not to be taken for the future by the broker, young enough not to be deleted.
EPOCH = time.time_ns() // 1_000_000 - 1_000_000


@pytest.fixture
def bench(settings, suffix, tmp_path) -> ScorerBench:
    reference, pipeline = define(tmp_path, suffix, partitions=1)
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    return bench


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def unreadable() -> list[int]:
    """One element for each record that was passed over."""
    return []


@pytest.fixture
def history(bench, stop, unreadable) -> Iterator[PredictionHistory]:
    topic = bench.pipeline.predictions_topic
    history = PredictionHistory(
        bench.settings.kafka.access,
        topic,
        f"{topic}.dlq",
        bench.pipeline.source.topic,
        clock=time.monotonic,
        stopping=stop.is_set,
        on_unreadable=lambda: unreadable.append(1),
    )
    wait_for(lambda: readable(history), 30, "the new topics to have leaders")
    history.forget(0)
    yield history
    history.close()


def scored(history: PredictionHistory, partition: int, since: int) -> list[EventPosition]:
    return list(history.read_from(partition, history.starts_at(partition, since)))


def readable(history: PredictionHistory) -> bool:
    try:
        scored(history, 0, EPOCH)
        history.raw_end(0)
    except HistoryUnavailableError:
        return False
    return True


@pytest.fixture
def producer(bench) -> Producer:
    producer = Producer(
        {**bench.settings.kafka.access.client(), "transactional.id": bench.pipeline.name, "linger.ms": 0}
    )
    producer.init_transactions(30)
    return producer


def event(offset: int) -> EventPosition:
    return EventPosition("events.taps", 0, offset, EPOCH + offset)


def answer(bench: ScorerBench, offset: int, *, dead: bool = False) -> Produced:
    """The answer to event ``offset``, dated as the event is."""
    writer = PredictionWriter(
        bench.pipeline, compile_plan(bench.pipeline), ModelIdentity("taps", "1"), max_bytes=1 << 20
    )
    consumed = Consumed(bench.pipeline.features_topic, 0, offset, b"k", b"v", [])
    if dead:
        return writer.unscorable(consumed, event(offset), "penstock.NotANumber", "no number", EPOCH + offset)
    parts = writer.format.parts_of_record(bench.record(0, offset, source=event(offset)._asdict()))
    moment = writer.moment(EPOCH + offset)
    vector, span = VECTOR.tobytes(), ("0" * 32, "0" * 16)
    return writer.prediction(consumed, parts, vector, 0.5, "primary", moment.ms, span, moment, decision="block")


def begin(producer: Producer, *records: Produced) -> None:
    """Open a transaction, and wait until its records are on the broker."""
    producer.begin_transaction()
    for r in records:
        producer.produce(r.topic, r.value, r.key, r.partition, timestamp=r.timestamp, headers=r.headers)
    assert producer.flush(30) == 0


def write(bench: ScorerBench, producer: Producer, *offsets: int) -> None:
    begin(producer, *(answer(bench, offset) for offset in offsets))
    producer.commit_transaction(30)


def delete_before(bench: ScorerBench, topic: str, offset: int) -> None:
    """Delete the records before an offset of partition 0, as retention does."""
    admin = AdminClient(bench.settings.kafka.access.client())  # a collected client drops its pending answers
    first = TopicPartition(topic, 0, offset)
    admin.delete_records([first])[first].result(15)


def test_nothing_is_scored_in_an_empty_topic(history):
    assert scored(history, 0, EPOCH) == []


def test_committed_events_are_scored_and_aborted_ones_are_not(bench, history, producer):
    write(bench, producer, 1, 2)
    begin(producer, answer(bench, 3))
    producer.abort_transaction(30)
    write(bench, producer, 4)
    begin(producer, answer(bench, 5))
    producer.abort_transaction(30)
    assert scored(history, 0, EPOCH) == [event(1), event(2), event(4)]


def test_a_dead_letter_that_names_its_event_counts_as_scored(bench, history, producer):
    begin(producer, answer(bench, 1), answer(bench, 2, dead=True))
    producer.commit_transaction(30)
    assert sorted(scored(history, 0, EPOCH)) == [event(1), event(2)]


def test_only_predictions_dated_since_then_are_read(bench, history, producer):
    write(bench, producer, 1, 2, 3)
    assert scored(history, 0, EPOCH + 3) == [event(3)]


def test_a_record_without_a_timestamp_makes_it_read_all(bench, history, producer):
    """Kafka takes the time -1 for the end of the topic."""
    write(bench, producer, 1, 2, 3)
    assert scored(history, 0, -1) == [event(1), event(2), event(3)]


def test_records_that_are_not_predictions_are_counted_told_of_once_and_passed_over(
    bench, history, producer, unreadable, caplog
):
    """Garbage, a tombstone, and a record of a schema that no release has published."""
    topic = bench.pipeline.predictions_topic
    write(bench, producer, 1)
    producer.begin_transaction()
    for value in (b"hello", None, b"\xc3\x01" + b"12345678" + b"rest", b""):
        producer.produce(topic, value, b"k", 0, timestamp=EPOCH + 2)
    producer.commit_transaction(30)
    write(bench, producer, 3)
    assert scored(history, 0, EPOCH) == [event(1), event(3)]
    assert len(unreadable) == 4
    (warning,) = (text for text in caplog.messages if "not predictions" in text)
    assert f"{topic}[0]: passed over 4 records that are not predictions, such as " in warning
    assert f"{topic}[0]@2" in warning


def test_events_returned_before_are_not_read_again_until_they_are_forgotten(bench, history, producer):
    write(bench, producer, 1, 2, 3)
    assert scored(history, 0, EPOCH + 3) == [event(3)]
    assert scored(history, 0, EPOCH + 2) == [event(2)]
    history.forget(0)
    assert scored(history, 0, EPOCH + 2) == [event(2), event(3)]


def test_answers_are_read_from_given_offsets_on(bench, history, producer):
    write(bench, producer, 1, 2, 3)
    assert list(history.read_from(0, Ends(2, 0))) == [event(3)]
    assert list(history.read_from(0, Ends(1, 0))) == [event(2)]


def test_the_ends_include_an_open_transaction(bench, history, producer):
    assert history.ends(0) == Ends(0, 0)
    begin(producer, answer(bench, 1), answer(bench, 2), answer(bench, 3, dead=True))
    assert history.ends(0) == Ends(2, 1)
    producer.abort_transaction(30)


def test_where_retention_has_deleted_the_first_answers_those_that_are_left_are_read(bench, history, producer):
    write(bench, producer, 1, 2, 3)
    delete_before(bench, bench.pipeline.predictions_topic, 2)
    assert list(history.read_from(0, Ends(0, 0))) == [event(3)]


def test_a_mark_before_dead_letters_that_retention_has_all_deleted_reads_the_predictions(bench, history, producer):
    begin(producer, answer(bench, 1), answer(bench, 2, dead=True), answer(bench, 3, dead=True))
    producer.commit_transaction(30)
    delete_before(bench, f"{bench.pipeline.predictions_topic}.dlq", history.ends(0).dead_letters)
    assert list(history.read_from(0, Ends(0, 1))) == [event(1)]


def test_the_end_of_the_raw_topic_is_told(bench, history):
    assert history.raw_end(0) == 0
    with pytest.raises(HistoryUnavailableError):
        history.raw_end(7)


def test_a_read_waits_for_an_open_transaction_because_it_may_be_committed(bench, history, producer):
    write(bench, producer, 1)
    begin(producer, answer(bench, 2))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(scored, history, 0, EPOCH)
        time.sleep(1)
        assert not reading.done()
        producer.commit_transaction(30)
        assert reading.result(30) == [event(1), event(2)]


def test_a_waiting_read_ends_when_the_process_shall_stop(bench, history, producer, stop):
    begin(producer, answer(bench, 1))
    stop.set()
    with pytest.raises(HistoryUnavailableError, match="stopping"):
        scored(history, 0, EPOCH)
    producer.abort_transaction(30)


def test_after_a_failed_read_the_next_one_returns_the_events(bench, history, producer, stop):
    begin(producer, answer(bench, 1))
    stop.set()
    with pytest.raises(HistoryUnavailableError):
        scored(history, 0, EPOCH)
    producer.commit_transaction(30)
    stop.clear()
    assert scored(history, 0, EPOCH) == [event(1)]
