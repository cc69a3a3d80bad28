"""The follower seeks back to gaps, resumes from the saved state after a failed save, and counts no record twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from examples.fraud.pipeline import pipeline as fraud
from penstock.errors import PenstockError
from schemas.codec import Undecodable
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import DriftRecordBuilder
from streams.drift.faust_consumer import SequencedMessage
from streams.drift.partition_follower import PartitionFollower
from streams.drift.state_store import NotSavedError, ResumePoint
from streams.drift.track import Observation, TrackState
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


def read(value: bytes) -> Observation | None:
    if value.startswith(b"garbage"):
        raise Undecodable("no record")
    number = int(value)
    return Observation(UNTIL_MS + 1 + number, ("events", 0, number), [10.0])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def message(offset: int, delivered_until: int, value: bytes | None = None) -> SequencedMessage:
    content = b"%d" % offset if value is None else value
    one = SequencedMessage("features.p", 0, offset, 0.0, 0, [("h", b"1")], b"k", content, None, tp=PLACE)
    one.delivered_until = delivered_until
    return one


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def follower(store: FakeStore) -> PartitionFollower:
    metrics = DriftMetrics(CollectorRegistry(), "p", REFERENCE)
    made = PartitionFollower(
        REFERENCE,
        store,
        {"features.p": read},
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
