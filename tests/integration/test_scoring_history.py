"""What is already scored, read back from real topics with transactions in every state."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from confluent_kafka import Producer

from penstock.kafka.records import Consumed, Produced
from scoring.history import HistoryUnavailableError, PredictionHistory
from scoring.memory import Source
from scoring.predictions import Answer, ModelIdentity, PredictionWriter
from streams.plan.compiler import compile_plan
from tests.scoring.bench import Bench, define, wait_for

VECTOR = np.zeros(3, dtype=np.float32)
# Old enough not to be taken for the future by the broker, young enough not to be deleted.
EPOCH = time.time_ns() // 1_000_000 - 1_000_000


@pytest.fixture
def bench(settings, suffix, tmp_path) -> Bench:
    reference, pipeline = define(tmp_path, suffix, partitions=1)
    bench = Bench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    return bench


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def history(bench, stop) -> Iterator[PredictionHistory]:
    topic = bench.pipeline.predictions_topic
    history = PredictionHistory(
        bench.settings.kafka.access, topic, f"{topic}.dlq", clock=time.monotonic, stopping=stop.is_set
    )
    wait_for(lambda: readable(history), 30, "the new topics to have leaders")
    history.forget(0)
    yield history
    history.close()


def readable(history: PredictionHistory) -> bool:
    try:
        history.scored(0, EPOCH)
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


def source(offset: int) -> Source:
    return Source("events.taps", 0, offset, EPOCH + offset)


def answer(bench: Bench, offset: int, *, dead: bool = False) -> Produced:
    """The answer to event ``offset``, dated as the event is."""
    writer = PredictionWriter(bench.pipeline, compile_plan(bench.pipeline), ModelIdentity("taps", "1"))
    consumed = Consumed(bench.pipeline.features_topic, 0, offset, b"k", b"v", [])
    if dead:
        return writer.unscorable(consumed, source(offset), "penstock.NotANumber", "no number", EPOCH + offset)
    record = bench.record(0, offset, source=source(offset)._asdict())
    return writer.prediction(consumed, record, VECTOR, Answer(0.5, "primary"), EPOCH + offset)


def begin(producer: Producer, *records: Produced) -> None:
    """Open a transaction and have the records on the broker."""
    producer.begin_transaction()
    for r in records:
        producer.produce(r.topic, r.value, r.key, r.partition, timestamp=r.timestamp, headers=r.headers)
    assert producer.flush(30) == 0


def write(bench: Bench, producer: Producer, *offsets: int) -> None:
    begin(producer, *(answer(bench, offset) for offset in offsets))
    producer.commit_transaction(30)


def test_nothing_is_scored_in_an_empty_topic(history):
    assert history.scored(0, EPOCH) == []


def test_what_was_committed_is_scored_and_what_was_aborted_is_not(bench, history, producer):
    write(bench, producer, 1, 2)
    begin(producer, answer(bench, 3))
    producer.abort_transaction(30)
    write(bench, producer, 4)
    begin(producer, answer(bench, 5))
    producer.abort_transaction(30)
    assert history.scored(0, EPOCH) == [source(1), source(2), source(4)]


def test_a_dead_letter_that_names_its_event_counts_as_scored(bench, history, producer):
    begin(producer, answer(bench, 1), answer(bench, 2, dead=True))
    producer.commit_transaction(30)
    assert sorted(history.scored(0, EPOCH)) == [source(1), source(2)]


def test_only_answers_dated_from_then_on_are_read(bench, history, producer):
    write(bench, producer, 1, 2, 3)
    assert history.scored(0, EPOCH + 3) == [source(3)]


def test_what_was_told_before_is_not_read_again_until_it_is_forgotten(bench, history, producer):
    write(bench, producer, 1, 2, 3)
    assert history.scored(0, EPOCH + 3) == [source(3)]
    assert history.scored(0, EPOCH + 2) == [source(2)]
    history.forget(0)
    assert history.scored(0, EPOCH + 2) == [source(2), source(3)]


def test_an_open_transaction_is_waited_for_because_it_may_be_committed(bench, history, producer):
    write(bench, producer, 1)
    begin(producer, answer(bench, 2))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(history.scored, 0, EPOCH)
        time.sleep(1)
        assert not reading.done()
        producer.commit_transaction(30)
        assert reading.result(30) == [source(1), source(2)]


def test_a_read_that_waits_ends_when_the_process_is_to_stop(bench, history, producer, stop):
    begin(producer, answer(bench, 1))
    stop.set()
    with pytest.raises(HistoryUnavailableError, match="stopping"):
        history.scored(0, EPOCH)
    producer.abort_transaction(30)


def test_what_could_not_be_read_is_read_the_next_time(bench, history, producer, stop):
    begin(producer, answer(bench, 1))
    stop.set()
    with pytest.raises(HistoryUnavailableError):
        history.scored(0, EPOCH)
    producer.commit_transaction(30)
    stop.clear()
    assert history.scored(0, EPOCH) == [source(1)]
