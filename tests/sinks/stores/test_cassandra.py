"""Rows become requests of limited size, and a write ends when all its requests have."""

from __future__ import annotations

import threading

import pytest
from pydantic import ValidationError

from sinks.stores.cassandra import CassandraOptions, InFlight, _Write, group_into_batches


def test_rows_with_the_same_replicas_share_batches_of_limited_size() -> None:
    assert group_into_batches([("a", 100, 1), ("b", 100, 2), ("a", 100, 3)]) == [([1, 3], 200), ([2], 100)]
    assert [len(group) for group, _ in group_into_batches([("a", 500, 0)] * 25)] == [10, 10, 5]
    assert [len(group) for group, _ in group_into_batches([("a", 900_000, 0)] * 2 + [("a", 1, 0)])] == [1, 1, 1]


def test_a_write_is_done_when_its_last_request_has_ended() -> None:
    write = _Write(lambda error: error)
    write.begin()
    write.begin()
    write.end()
    write.end()
    assert not write.done.done(), "more requests may follow"
    write.end()
    assert write.done.result(0) == {}


def test_a_write_fails_with_its_first_error_but_not_before_its_other_requests_have_ended() -> None:
    write = _Write(lambda error: ValueError(str(error)))
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


@pytest.mark.parametrize("ttl", ["999ms", "7301d", "20000d"])
def test_a_time_to_live_that_cassandra_cannot_count_is_refused(ttl: str) -> None:
    with pytest.raises(ValidationError, match=f"{ttl} is no time to live for Cassandra"):
        CassandraOptions.model_validate({"history_ttl": ttl})
    with pytest.raises(ValidationError, match="7300d"):
        CassandraOptions.model_validate({"prediction_ttl": ttl})


@pytest.mark.parametrize("ttl", ["1s", "7300d"])
def test_cassandras_limits_are_times_to_live(ttl: str) -> None:
    assert CassandraOptions.model_validate({"history_ttl": ttl}).history_ttl
