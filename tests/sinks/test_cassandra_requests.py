"""Rows become requests of limited size, and a write ends when all its requests have."""

from __future__ import annotations

import threading

import pytest

from sinks.cassandra_requests import InFlight, Write, group_into_batches
from sinks.cassandra_rows import Row


def test_rows_with_the_same_replicas_share_batches_of_limited_size() -> None:
    def row(key: bytes, size: int) -> Row:
        return Row("t", key, (), size)

    rows = [row(b"a", 2_000), row(b"b", 2_000), row(b"c", 2_000), row(b"d", 9_000), row(b"e", 100), row(b"f", 3_000)]
    groups = group_into_batches(rows, lambda key: key < b"e")
    assert [[one.key for one in group] for group, _ in groups] == [[b"d"], [b"a", b"b"], [b"c"], [b"e", b"f"]]
    assert [size for _, size in groups] == [9_000, 4_000, 2_000, 3_100]


def test_many_rows_of_one_partition_share_larger_batches() -> None:
    """Cassandra limits the size of a batch only if it has several partitions."""
    rows = [Row(table, b"a", (), 1_000) for table in "tu" for _ in range(70)]
    groups = group_into_batches(rows, lambda _: 0)
    assert [({row.table for row in group}, len(group)) for group, _ in groups] == [
        ({"t"}, 50),
        ({"t"}, 20),
        ({"u"}, 50),
        ({"u"}, 20),
    ]


def test_a_write_is_done_when_its_last_request_has_ended() -> None:
    write = Write(lambda error: error)
    write.begin()
    write.begin()
    write.end()
    write.end()
    assert not write.done.done(), "more requests may follow"
    write.end()
    assert write.done.result(0) == {}


def test_a_write_fails_with_its_first_error_but_not_before_its_other_requests_have_ended() -> None:
    write = Write(lambda error: ValueError(str(error)))
    for _ in range(3):
        write.begin()
    write.end()
    write.end(KeyError("first"))
    assert write.has_failed
    write.end(KeyError("second"))
    assert not write.done.done()
    write.end()
    with pytest.raises(ValueError, match="first"):
        write.done.result(0)


@pytest.mark.parametrize("sizes", [[1] * 4, [60, 60], [500, 1], [1, 500]])
def test_a_request_waits_while_others_leave_no_room_for_it(sizes: list[int]) -> None:
    in_flight, entered = InFlight(requests=3, size=100), threading.Event()
    *first, last = sizes
    for size in first:
        in_flight.enter(size)
    waiting = threading.Thread(target=lambda: (in_flight.enter(last), entered.set()), daemon=True)
    waiting.start()
    assert not entered.wait(0.05)
    in_flight.leave(first[0])
    assert entered.wait(5)
