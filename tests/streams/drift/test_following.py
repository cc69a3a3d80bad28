"""What is lost on the way is noticed and sought again; what cannot be saved is taken anew; nothing counts twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from examples.fraud.pipeline import pipeline as fraud
from schemas.codec import Undecodable
from streams.drift.consumer import Followed
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import Writer
from streams.drift.following import Following
from streams.drift.state_store import NotSavedError, ResumePoint
from streams.drift.track import Observation, TrackState
from tests.streams.drift.references import UNTIL_MS, reference

REFERENCE = reference("x")
PLACE = TP("features.p", 0)


class FakeStore:
    """Keeps the last state; refuses saves while told to."""

    def __init__(self) -> None:
        self.states: list[TrackState] = []
        self.out: list[Any] = []
        self.refuse: NotSavedError | None = None

    def take(self, _: Any) -> ResumePoint:
        state = self.states[-1] if self.states else None
        return ResumePoint(state, 0 if state is None else state.position)

    def save(self, _: Any, state: TrackState, out: Any, _now_ms: int) -> int:
        if self.refuse is not None:
            raise self.refuse
        self.states.append(state)
        self.out += out
        return 1

    def release(self, _: Any) -> None: ...


def read(value: bytes) -> Observation | None:
    if value == b"garbage":
        raise Undecodable("no record")
    number = int(value)
    return Observation(UNTIL_MS + 1 + number, ("events", 0, number), [10.0])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def message(offset: int, follows: int, value: bytes | None = None) -> Followed:
    content = b"%d" % offset if value is None else value
    one = Followed("features.p", 0, offset, 0.0, 0, [("h", b"1")], b"k", content, None, tp=PLACE)
    one.follows = follows
    return one


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def following(store: FakeStore) -> Following:
    metrics = DriftMetrics(CollectorRegistry(), "p", REFERENCE)
    made = Following(
        REFERENCE,
        store,
        {"features.p": read},
        {"features.p": ("x",)},
        Writer(fraud, REFERENCE, 1),
        metrics,
        clock=Clock(),
    )
    made.sought: list[dict[TP, int]] = []

    async def seek(positions: dict[TP, int]) -> None:
        made.sought.append(positions)

    async def committed(_: dict[TP, int]) -> None: ...

    made.seek, made.committed = seek, committed
    return made


async def keep_for(following: Following, seconds: float = 0.25) -> None:
    stopping = asyncio.Event()
    task = asyncio.create_task(following.keep(stopping))
    await asyncio.sleep(seconds)
    stopping.set()
    await task


def test_records_are_saved_with_their_offset(following, store):
    async def scenario() -> None:
        assert await following.positions({PLACE}) == {PLACE: 0}
        for offset in (0, 1, 4):  # 2 and 3 are markers of transactions: 4 follows 2
            following.take(message(offset, min(offset, 2)))
        await following.release({PLACE})

    asyncio.run(scenario())
    assert (store.states[-1].position, store.states[-1].observed) == (5, 3)


def test_a_gap_is_sought_again_and_nothing_after_it_is_taken_before(following, store):
    async def scenario() -> None:
        await following.positions({PLACE})
        following.take(message(0, 0))
        following.take(message(5, 5))  # 1 to 4 were lost
        following.take(message(6, 6))
        await keep_for(following)
        assert following.sought == [{PLACE: 1}]
        for offset in range(1, 7):
            following.take(message(offset, offset))
        await following.release({PLACE})

    asyncio.run(scenario())
    assert (store.states[-1].position, store.states[-1].observed) == (7, 7)


def test_what_comes_again_is_passed(following, store):
    async def scenario() -> None:
        await following.positions({PLACE})
        for offset in (0, 1, 0, 1, 2):
            following.take(message(offset, offset))
        await following.release({PLACE})

    asyncio.run(scenario())
    assert store.states[-1].observed == 3


def test_after_a_failed_save_the_partition_is_taken_anew_from_what_was_saved(following, store):
    async def scenario() -> None:
        await following.positions({PLACE})
        following.take(message(0, 0))
        await keep_for(following, 1.0)
        store.refuse = NotSavedError("no broker", lost=False)
        following.take(message(1, 1))
        await keep_for(following, 1.0)
        store.refuse = None
        following.take(message(2, 2))  # of a partition that is not followed now
        await keep_for(following, 1.0)
        assert following.sought[-1] == {PLACE: 1}
        for offset in (1, 2):
            following.take(message(offset, offset))
        await following.release({PLACE})

    asyncio.run(scenario())
    assert [state.observed for state in store.states] == [1, 3]


def test_garbage_goes_out_with_the_state_that_passed_it(following, store):
    async def scenario() -> None:
        await following.positions({PLACE})
        following.take(message(0, 0, b"garbage"))
        await following.release({PLACE})

    asyncio.run(scenario())
    assert [(letter.topic, letter.value, letter.headers[0]) for letter in store.out] == [
        ("features.p.dlq", b"garbage", ("h", b"1"))
    ]
    assert (store.states[-1].position, store.states[-1].observed) == (1, 0)
