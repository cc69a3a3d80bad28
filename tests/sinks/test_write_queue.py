"""The queue of writes gives batches back in their order, without what the store lost or another member reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, cast

import pytest

from penstock.kafka.lag import Partition
from sinks.batch import Batch, Part
from sinks.sink_metrics import SinkMetrics
from sinks.store_interface import OffsetMark, StoreUnavailable
from sinks.write_queue import WriteQueue

P0, P1 = ("features.p", 0), ("features.p", 1)


class Store:
    """Keeps what is written, for the test to acknowledge."""

    def __init__(self) -> None:
        self.writes: list[tuple[list[str], dict[Partition, OffsetMark], Future[Mapping[Partition, int]]]] = []

    def write(self, records: Sequence[str], marks: Mapping[Partition, OffsetMark]) -> Future[Mapping[Partition, int]]:
        done: Future[Mapping[Partition, int]] = Future()
        self.writes.append((list(records), dict(marks), done))
        return done

    def acknowledge(self, write: int, lost: Mapping[Partition, int] | None = None) -> None:
        self.writes[write][2].set_result(lost or {})


class NoDeadLetters:
    def publish(self, letters: list[Any]) -> None:
        assert not letters


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def queue(store: Store) -> WriteQueue[str]:
    metrics = SinkMetrics("p", "queue", ["features.p"])
    queue: WriteQueue[str] = WriteQueue(cast("Any", store), cast("Any", NoDeadLetters()), metrics)
    queue.expected = {P0: 10, P1: 20}
    for end in (1, 2, 3):
        queue.add(Batch({P0: Part(10 + end, 0, [f"a{end}"]), P1: Part(20 + end, 0, [f"b{end}"])}))
    return queue


def ends(queue: WriteQueue[str], in_flight: int = 0) -> list[dict[Partition, int]]:
    return [{p: part.end for p, part in batch.parts.items()} for batch, _ in queue.acknowledged(in_flight)]


def test_each_write_expects_the_end_of_the_one_before(queue: WriteQueue[str], store: Store) -> None:
    queue.start()
    assert [marks[P0] for _, marks, _ in store.writes] == [(10, 11), (11, 12), (12, 13)]
    assert [records for records, _, _ in store.writes] == [["a1", "b1"], ["a2", "b2"], ["a3", "b3"]]


def test_batches_come_back_in_their_order_whatever_was_acknowledged_first(queue: WriteQueue[str], store: Store) -> None:
    queue.start()
    for write in (2, 0, 1):
        store.acknowledge(write)
    assert ends(queue, in_flight=1) == [{P0: 11, P1: 21}, {P0: 12, P1: 22}]
    assert ends(queue) == [{P0: 13, P1: 23}]


def test_a_failed_write_is_begun_again_with_those_behind_it_and_the_same_marks(
    queue: WriteQueue[str], store: Store
) -> None:
    queue.start()
    store.acknowledge(0)
    store.writes[1][2].set_exception(StoreUnavailable("down"))
    store.acknowledge(2)
    with pytest.raises(StoreUnavailable):
        ends(queue)
    queue.withdraw()
    queue.start()
    assert [marks for _, marks, _ in store.writes[3:]] == [marks for _, marks, _ in store.writes[1:3]]
    assert len(queue) == 2
    assert queue.records == 4


def test_a_partition_that_the_store_lost_is_no_part_of_the_batch(queue: WriteQueue[str], store: Store) -> None:
    queue.start()
    store.acknowledge(0, lost={P0: 4})
    ((batch, lost),) = queue.acknowledged(2)
    assert lost == {P0: 4}
    assert list(batch.parts) == [P1]
    queue.drop(lost)
    store.acknowledge(1, lost={P0: 4})
    assert [found for _, found in queue.acknowledged(1)] == [{}], "it is read again already"


def test_a_partition_that_was_revoked_is_neither_acknowledged_nor_written_again(
    queue: WriteQueue[str], store: Store
) -> None:
    queue.start()
    queue.drop([P1])
    for write in range(3):
        store.acknowledge(write)
    queue.withdraw()
    queue.start()
    assert [records for records, _, _ in store.writes[3:]] == [["a1"], ["a2"], ["a3"]]
    assert all(list(marks) == [P0] for _, marks, _ in store.writes[3:])
    for write in range(3, 6):
        store.acknowledge(write)
    assert ends(queue) == [{P0: 11}, {P0: 12}, {P0: 13}]
