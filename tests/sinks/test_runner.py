"""The sink's loop without servers: writes overlap, fail, end out of order and are lost; nothing else is."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.telemetry import ProgressTracker
from schemas.codec import Undecodable, UnknownSchema
from sinks import runner
from sinks.runner import MOST_IN_FLIGHT, Sink, backoff_s, group_id
from sinks.store_interface import NO_MARKS, OffsetMark, StoreUnavailable
from tests.sinks.fake_kafka import TOPIC, FakeConsumer, FakeTopic, Killed

Written: TypeAlias = Future[Mapping[Partition, int]]
BATCH = 100
KAFKA = KafkaAccess(bootstrap="kafka:9092")


@given(st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_pauses_double_up_to_ten_seconds_and_are_shortened_by_at_most_half(failures: int, rng: random.Random) -> None:
    longest = min(10.0, 0.1 * 2 ** min(failures - 1, 20))
    assert longest / 2 <= backoff_s(failures, rng) <= longest


def test_each_sink_of_each_pipeline_has_its_own_consumer_group() -> None:
    assert group_id("fraud", "redis") == "penstock-fraud-sink-redis"


@pytest.mark.parametrize(
    ("wait_ms", "fetch"), [(0, {}), (100, {"fetch.min.bytes": 1_000_000, "fetch.wait.max.ms": 100})]
)
def test_only_a_sink_whose_records_may_wait_fetches_them_together(
    monkeypatch: pytest.MonkeyPatch, wait_ms: int, fetch: dict[str, int]
) -> None:
    settings: dict[str, Any] = {}

    def connect(given: dict[str, Any]) -> FakeConsumer:
        settings.update(given)
        sink.stop()
        return FakeConsumer(FakeTopic(0), lambda: True, lambda _: None)

    monkeypatch.setattr(runner, "Consumer", connect)
    watch = LagWatch(KAFKA, "p", "sink-memory", ProgressTracker(lambda: 0.0))
    store = MemoryStore(random.Random(0))
    sink: Sink[Any] = Sink(store, "p", KAFKA, watch, random.Random(0), reference="p", wait_ms=wait_ms)
    sink.run()
    assert {name: value for name, value in settings.items() if name.startswith("fetch")} == fetch


class MemoryStore:
    """Holds values in memory; a thread executes the writes.

    Args:
        rng: Chooses the write to end next, and which ones fail.
        in_order: Whether writes end in their order, as in Redis, and the store keeps marks; else in any order.
        failures: The share of writes that fail, with or without effect.
    """

    name = "memory"
    topics: tuple[str, ...] = (TOPIC,)

    def __init__(self, rng: random.Random, *, in_order: bool = False, failures: float = 0.0) -> None:
        self.held: set[bytes] = set()
        self.marks: dict[Partition, int] = {}
        self.writes = self.most_waiting = 0
        self._rng = rng
        self._in_order = in_order
        self._failures = failures
        self._waiting: list[tuple[Sequence[bytes], Mapping[Partition, OffsetMark], Written]] = []
        self._changed = threading.Condition()
        self._closed = False

    def open(self) -> None:
        threading.Thread(target=self._execute, daemon=True).start()

    def decode(self, _topic: str, values: Sequence[bytes]) -> list[bytes | Undecodable | UnknownSchema]:
        return list(values)

    def write(self, records: Sequence[bytes], marks: Mapping[Partition, OffsetMark] = NO_MARKS) -> Written:
        done: Written = Future()
        with self._changed:
            self._waiting.append((records, marks, done))
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            self._changed.notify()
        return done

    def lose_everything(self) -> None:
        """As a Redis that is flushed."""
        with self._changed:
            self.held.clear()
            self.marks.clear()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _execute(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
            time.sleep(0.002)  # others may come meanwhile
            with self._changed:
                place = 0 if self._in_order else self._rng.randrange(len(self._waiting))
                records, marks, done = self._waiting.pop(place)
                fails = self._rng.random() < self._failures
                lost: dict[Partition, int] = {}
                if not fails or self._rng.random() < 0.5:
                    self.writes += 1
                    self.held.update(records)
                    lost = self._keep(marks)
            if fails:
                done.set_exception(StoreUnavailable("down"))
            else:
                done.set_result(lost)

    def _keep(self, marks: Mapping[Partition, OffsetMark]) -> dict[Partition, int]:
        if not self._in_order:
            return {}
        lost = {p: self.marks.get(p, 0) for p, mark in marks.items() if self.marks.get(p, 0) < mark.expected}
        self.marks.update({p: mark.new for p, mark in marks.items() if p not in lost})
        return lost


def run(
    monkeypatch: pytest.MonkeyPatch,
    store: MemoryStore,
    topic: FakeTopic,
    alive: Callable[[], bool] = lambda: True,
    *,
    checked: bool = True,
) -> None:
    """Run a sink until everything is committed or it is killed; no commit may be ahead of what the store holds."""

    def check(offsets: dict[int, int]) -> None:
        if checked:
            ahead = {
                n: end for n, end in offsets.items() if any(b"%d@%d" % (n, at) not in store.held for at in range(end))
            }
            assert not ahead

    consumer = FakeConsumer(topic, alive, check)
    monkeypatch.setattr(runner, "Consumer", lambda _: consumer)
    monkeypatch.setattr(runner, "BATCH", BATCH)
    monkeypatch.setattr(runner, "backoff_s", lambda *_: 0.001)
    monkeypatch.setattr(runner, "_COMMIT_INTERVAL_S", 0.005)
    watch = LagWatch(KAFKA, "p", "sink-memory", ProgressTracker(lambda: 0.0))
    sink: Sink[Any] = Sink(store, "p", KAFKA, watch, random.Random(0), reference="p")
    errors: list[BaseException] = []

    def run_sink() -> None:
        try:
            sink.run()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run_sink, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while thread.is_alive() and tuple(topic.committed.values()) != topic.ends:
        assert time.monotonic() < deadline, topic.committed
        time.sleep(0.001)
    sink.stop()
    thread.join(30)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_under_a_backlog_the_next_batches_are_begun_while_the_store_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    store, topic = MemoryStore(random.Random(0)), FakeTopic(9 * BATCH, 5 * BATCH)
    run(monkeypatch, store, topic)
    assert store.held == topic.values
    assert 1 < store.most_waiting <= MOST_IN_FLIGHT


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_sink_has_committed_only_what_is_written_and_the_next_one_writes_the_rest(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    topic, held = FakeTopic(8 * BATCH + 7, 6 * BATCH), set[bytes]()
    for _ in range(3):
        store, polls = MemoryStore(rng), iter(range(rng.randrange(2, 5)))
        store.held = held
        with pytest.raises(Killed):
            run(monkeypatch, store, topic, lambda polls=polls: next(polls, None) is not None)  # type: ignore[misc]
    store = MemoryStore(rng)
    store.held = held
    run(monkeypatch, store, topic)
    assert held == topic.values


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("in_order", [True, False])
def test_writes_that_fail_while_others_are_on_their_way_are_repeated(
    monkeypatch: pytest.MonkeyPatch, seed: int, in_order: bool
) -> None:
    store, topic = MemoryStore(random.Random(seed), in_order=in_order, failures=0.2), FakeTopic(7 * BATCH, 9 * BATCH)
    run(monkeypatch, store, topic)
    assert store.held == topic.values


@pytest.mark.parametrize("seed", range(8))
def test_what_the_store_loses_while_writes_are_on_their_way_is_read_again(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    store, topic = MemoryStore(rng, in_order=True, failures=0.1), FakeTopic(12 * BATCH, 9 * BATCH)
    flushes = [rng.randrange(2, 12), rng.randrange(2, 12)]

    def alive() -> bool:
        if flushes and store.writes >= flushes[-1]:
            flushes.pop()
            store.lose_everything()
        return True

    run(monkeypatch, store, topic, alive, checked=False)
    assert store.held == topic.values
    assert store.marks == {(TOPIC, number): end for number, end in enumerate(topic.ends)}
