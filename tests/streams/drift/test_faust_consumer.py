"""What the fetching thread of faust's consumer does while partitions have no valid position."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.drift import faust_consumer

PARTITION = TopicPartition("features.x", 3)


class Transport:
    """Runs in the same loop, and keeps what is out of range."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.told: list[set[TP]] = []

    def out_of_range(self, partitions: set[TP]) -> None:
        self.told.append(partitions)


def fetch_during(seconds: float, error: Exception, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[set[TP]]]:
    """Fetch in a loop, as faust does; returns how often, and the partitions that were told to be out of range."""

    async def fail(*_: Any, **__: Any) -> None:
        raise error

    async def run() -> tuple[int, list[set[TP]]]:
        thread = object.__new__(faust_consumer._Thread)
        thread._fetched_few = False
        thread.consumer = type("Consumer", (), {"transport": Transport()})()
        fetches, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            assert await thread._fetch_records(None, set()) == {}
            fetches += 1
        return fetches, thread.consumer.transport.told

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fail)
    return asyncio.run(run())


def test_partitions_that_are_not_sought_yet_do_not_keep_a_core_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches, told = fetch_during(0.25, NoOffsetForPartitionError(PARTITION), monkeypatch)
    assert (fetches <= 3, told) == (True, [])


def test_partitions_that_are_out_of_range_are_told_and_do_not_keep_a_core_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches, told = fetch_during(0.25, OffsetOutOfRangeError({PARTITION: 7}), monkeypatch)
    assert fetches <= 3
    assert told
    assert all(partitions == {TP("features.x", 3)} for partitions in told)


class Fetched(NamedTuple):
    offset: int


@pytest.mark.parametrize(("records", "is_held_up"), [(1, True), (499, True), (500, False)])
def test_a_slow_stream_is_gathered_and_a_fast_one_is_not_held_up(
    records: int, is_held_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(*_: Any, **__: Any) -> dict[TopicPartition, list[Fetched]]:
        return {PARTITION: [Fetched(offset) for offset in range(records)]}

    async def run() -> int:
        thread = object.__new__(faust_consumer._Thread)
        thread._delivered, thread._fetched_few = {}, False
        fetches, end = 0, time.monotonic() + 0.25
        while time.monotonic() < end and fetches < 50:
            await thread._fetch_records(None, set())
            fetches += 1
        return fetches

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    assert (asyncio.run(run()) <= 6) == is_held_up


def test_the_records_of_a_fetch_are_one_block_that_says_what_was_delivered_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = TP("features.x", 3)
    # 2 is a transaction marker; after 5, faust seeks back to 4.
    fetches = [[Fetched(0), Fetched(1), Fetched(3)], [], [Fetched(5)], [Fetched(4), Fetched(5)]]

    async def fetch(*_: Any, **__: Any) -> dict[TopicPartition, list[Fetched]]:
        return {PARTITION: fetches.pop(0)}

    async def run() -> list[tuple[list[int], int]]:
        thread = object.__new__(faust_consumer._Thread)
        thread._delivered, thread._fetched_few = {}, False
        blocks: list[Any] = []
        while fetches:
            if len(fetches) == 1:
                thread._delivered[place] = 4
            blocks += (await thread._fetch_records(None, set())).get(place, [])
        return [([record.offset for record in one.records], one.delivered_until) for one in blocks]

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    assert asyncio.run(run()) == [([0, 1, 3], 0), ([5], 4), ([4, 5], 4)]
