"""The follower seeks back to gaps, resumes from the saved state after a failed save, and counts no record twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from examples.fraud.pipeline import pipeline as fraud
from penstock.errors import PenstockError
from schemas.codec import Undecodable
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import DriftRecordBuilder, Reading
from streams.drift.faust_consumer import RecordBlock
from streams.drift.partition_follower import PartitionFollower
from streams.drift.state_store import NotSavedError, ResumePoint
from streams.drift.track import Observation, Observations, TrackState
from tests.streams.drift.references import UNTIL_MS, reference

REFERENCE = reference("x")
PLACE = TP("features.p", 0)


class FakeStore:
    """Keeps the last state in memory; can be set to refuse saves."""

    def __init__(self) -> None:
        self.states: list[TrackState] = []
        self.out: list[Any] = []
        self.refuse: NotSavedError | None = None
        self.served = False
        self.earliest = 0

    def acquire(self, _: Any) -> ResumePoint:
        state = self.states[-1] if self.states else None
        return ResumePoint(state, max(self.earliest, 0 if state is None else state.position))

    def save(self, _: Any, state: TrackState, out: Any, _now_ms: int) -> int:
        if self.refuse is not None:
            raise self.refuse
        self.states.append(state)
        self.out += out
        return 1

    def serve(self) -> None:
        self.served = True

    def release(self, _: Any) -> None: ...


class Reader:
    """Reads records whose value is the number of their event."""

    def read(self, offsets: list[int], values: list[bytes]) -> Reading:
        records = zip(offsets, values, strict=True)
        seen = [
            (offset, Observation(UNTIL_MS + 1 + int(value), ("events", 0, int(value)), [10.0]))
            for offset, value in records
            if not value.startswith(b"garbage")
        ]
        garbage = [offset for offset, value in zip(offsets, values, strict=True) if value.startswith(b"garbage")]
        return Reading(Observations.of(seen, 1), {offset: Undecodable("no record") for offset in garbage})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


class Fetched(NamedTuple):
    offset: int
    value: bytes
    key: bytes = b"k"
    headers: tuple[tuple[str, bytes], ...] = (("h", b"1"),)


def block(offsets: Sequence[int], delivered_until: int, values: Sequence[bytes] = ()) -> RecordBlock:
    made = RecordBlock("features.p", 0, offsets[-1], 0.0, 0, (), None, None, None, tp=PLACE)
    contents = values or [b"%d" % offset for offset in offsets]
    made.records = [Fetched(offset, content) for offset, content in zip(offsets, contents, strict=True)]
    made.delivered_until = delivered_until
    return made


def message(offset: int, delivered_until: int, value: bytes | None = None) -> RecordBlock:
    """A block of one record."""
    return block([offset], delivered_until, [] if value is None else [value])


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def follower(store: FakeStore) -> PartitionFollower:
    metrics = DriftMetrics(CollectorRegistry(), "p", REFERENCE)
    made = PartitionFollower(
        REFERENCE,
        store,
        {"features.p": Reader()},
        {"features.p": ("x",)},
        DriftRecordBuilder(fraud, REFERENCE, 1, {"features.p.dlq": 19_000}),
        metrics,
        clock=Clock(),
    )
    made.sought: list[dict[TP, int]] = []

    async def seek(positions: dict[TP, int]) -> None:
        made.sought.append(positions)

    async def commit(_: dict[TP, int]) -> None: ...

    made.seek, made.commit = seek, commit
    return made


async def keep_for(follower: PartitionFollower, seconds: float = 0.25) -> None:
    stopping = asyncio.Event()
    task = asyncio.create_task(follower.run(stopping))
    await asyncio.sleep(seconds)
    stopping.set()
    await task


def test_records_are_saved_with_their_offset(follower, store):
    async def scenario() -> None:
        assert await follower.acquire({PLACE}) == {PLACE: 0}
        for offset in (0, 1, 4):  # 2 and 3 are markers of transactions: 4 delivered_until 2
            follower.process(message(offset, min(offset, 2)))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert (store.states[-1].position, store.states[-1].observed) == (5, 3)


def test_the_follower_seeks_back_to_a_gap_and_skips_later_records_until_then(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(message(0, 0))
        follower.process(message(5, 5))  # 1 to 4 were lost
        follower.process(message(6, 6))
        await keep_for(follower)
        assert follower.sought == [{PLACE: 1}]
        for offset in range(1, 7):
            follower.process(message(offset, offset))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert (store.states[-1].position, store.states[-1].observed) == (7, 7)


def test_what_the_clients_tell_is_taken_in_while_nothing_is_saved(follower, store):
    asyncio.run(keep_for(follower, 0.05))
    assert store.served


def test_a_record_that_is_delivered_again_is_skipped(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        for offset in (0, 1, 0, 1, 2):
            follower.process(message(offset, offset))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert store.states[-1].observed == 3


def test_a_block_that_was_delivered_in_part_is_processed_from_the_next_record_on(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(block([0, 1, 4], 0))
        follower.process(block([1, 4, 5, 6], 1))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert (store.states[-1].position, store.states[-1].observed) == (7, 5)


def test_of_a_block_only_the_record_that_cannot_be_read_becomes_a_dead_letter(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(block([0, 1, 2, 3], 0, [b"0", b"garbage", b"2", b"3"]))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert [(letter.topic, letter.origin) for letter in store.out] == [("features.p.dlq", "features.p[0]@1")]
    assert (store.states[-1].position, store.states[-1].observed) == (4, 3)


def test_after_a_failed_save_the_partition_resumes_from_the_saved_state(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(message(0, 0))
        await keep_for(follower, 1.0)
        store.refuse = NotSavedError("no broker", lost=False)
        follower.process(message(1, 1))
        await keep_for(follower, 1.0)
        store.refuse = None
        follower.process(message(2, 2))  # of a partition that is not followed now
        await keep_for(follower, 1.0)
        assert follower.sought[-1] == {PLACE: 1}
        for offset in (1, 2):
            follower.process(message(offset, offset))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert [state.observed for state in store.states] == [1, 3]


def test_a_topic_that_the_pipeline_does_not_monitor_is_refused(follower):
    with pytest.raises(PenstockError, match=r"predictions\.p\[0\] is assigned .* monitors features\.p"):
        asyncio.run(follower.acquire({TP("predictions.p", 0)}))


def test_a_dead_letter_is_written_with_the_state_that_includes_its_record(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(message(0, 0, b"garbage"))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert [(letter.topic, letter.value, letter.headers[0]) for letter in store.out] == [
        ("features.p.dlq", b"garbage", ("h", b"1"))
    ]
    assert (store.states[-1].position, store.states[-1].observed) == (1, 0)


def test_a_dead_letter_that_its_topic_does_not_take_has_an_excerpt(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(message(0, 0, b"garbage".ljust(20_000)))
        await follower.release({PLACE})

    asyncio.run(scenario())
    (letter,) = store.out
    assert ("penstock.value.bytes", b"20000") in letter.headers
    assert len(letter.value) == 16 * 1024


def test_a_partition_whose_next_record_is_deleted_is_saved_and_goes_on_where_the_store_says(follower, store):
    async def scenario() -> None:
        await follower.acquire({PLACE})
        follower.process(message(0, 0))
        store.earliest = 60
        follower.out_of_range({PLACE})
        await keep_for(follower, 0.5)
        assert follower.sought == [{PLACE: 60}]
        follower.process(message(60, 60))
        await follower.release({PLACE})

    asyncio.run(scenario())
    assert [(state.position, state.observed) for state in store.states] == [(1, 1), (60, 1), (61, 2)]
