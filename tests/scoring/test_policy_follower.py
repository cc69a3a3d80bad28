"""A scorer follows the latest policy that it can, says which it cannot, and knows when it is behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from scoring import policy_follower
from scoring.lineup import LineUp
from scoring.policy_follower import PolicyFollower
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange, encode
from scoring.rollout.policy_store import Logged
from streams.definitions.pipeline import Pipeline
from tests.scoring.scorer_bench import define

KAFKA = KafkaAccess(bootstrap="unused:1")


def change(version: int) -> PolicyChange:
    """A change to a policy in which this version of the model scores everything."""
    arms = (Arm(name="present", version=version, role="champion"),)
    policy = publish(RolloutPolicy(pipeline="taps_followed", mode="shadow", salt="s", arms=arms))
    return PolicyChange(policy=policy, author="ada", reason="test", previous=None, time_ms=0)


class Message:
    def __init__(self, value: bytes = b"", error: KafkaError | None = None) -> None:
        self._value, self._error = value, error

    def value(self) -> bytes:
        return self._value

    def error(self) -> KafkaError | None:
        return self._error

    def offset(self) -> int:
        return 0


class Topic:
    """The consumer of the policy's topic: what it holds at first, and what tests add."""

    def __init__(self, *changes: PolicyChange) -> None:
        end = Message(error=KafkaError(KafkaError._PARTITION_EOF))
        self._messages = [*(Message(encode(each)) for each in changes), end]

    def add(self, *changes: PolicyChange) -> None:
        self._messages += [Message(encode(each)) for each in changes]

    def assign(self, _partitions: object) -> None: ...

    def poll(self, _timeout: float) -> Message | None:
        if not self._messages:
            time.sleep(0.001)
            return None
        return self._messages.pop(0)

    def consume(self, _most: int, _timeout: float) -> list[Message]:
        found, self._messages = self._messages, []
        return found

    def close(self) -> None: ...


class FakeLineUp:
    def __init__(self, published: PublishedPolicy | None) -> None:
        self.published = published
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return define(tmp_path, "followed", partitions=1)[1]


Follow = Callable[..., Any]


@pytest.fixture
def follow(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """A follower of a topic; a policy of an ``unusable`` version cannot be prepared. Also its refusals, as counted."""

    @contextmanager
    def run(
        topic: Topic, unusable: tuple[int, ...] = (), log: tuple[PolicyChange, ...] = ()
    ) -> Iterator[tuple[PolicyFollower, list[None]]]:
        def prepare(published: PublishedPolicy | None) -> LineUp:
            if published is not None and published.policy.champion.version in unusable:
                raise PenstockError("the version cannot be loaded", where="here")
            return cast("LineUp", FakeLineUp(published))

        logged = [Logged(offset, 0, each) for offset, each in enumerate(log)]
        monkeypatch.setattr(policy_follower, "Consumer", lambda _configuration: topic)
        monkeypatch.setattr(policy_follower, "iterate_log", lambda _kafka, _pipeline: logged)
        counted: list[None] = []
        follower = PolicyFollower(pipeline, "0", KAFKA, prepare, lambda: 7, on_refused=lambda: counted.append(None))
        with follower.following():
            yield follower, counted

    return run


def until(holds: Callable[[], object]) -> None:
    while not holds():  # the test's own limit ends it
        time.sleep(0.001)


def version(follower: PolicyFollower) -> int | None:
    """Which version scores from now on; None without a policy."""
    published = follower.latest().published
    return None if published is None else published.policy.champion.version


def test_without_a_policy_nothing_is_behind(follow):
    with follow(Topic()) as (follower, refused):
        assert version(follower) is None
        assert not follower.is_behind()
    assert refused == []


def test_a_follower_is_behind_from_a_new_policy_until_it_scores(follow):
    topic = Topic(change(1))
    with follow(topic) as (follower, _):
        assert (version(follower), follower.is_behind()) == (1, False)
        topic.add(change(2))
        until(follower.is_behind)
        until(lambda: version(follower) == 2)
        assert not follower.is_behind()


def test_the_line_up_before_is_closed(follow):
    topic = Topic(change(1))
    with follow(topic) as (follower, _):
        before = follower.latest()
        topic.add(change(2))
        until(lambda: version(follower) == 2)
        assert before.is_closed


def test_a_policy_that_cannot_be_followed_is_refused_once_and_the_one_before_goes_on(follow):
    topic = Topic(change(1))
    with follow(topic, unusable=(2,)) as (follower, refused):
        topic.add(change(2))
        until(lambda: refused)
        assert (version(follower), follower.is_behind()) == (1, True)
        (record,) = follower.refusals(8)
        assert b"the version cannot be loaded (here)" in (record.value or b"")
        assert follower.refusals(9) == []
    assert len(refused) == 1


def test_a_follower_that_refused_a_policy_is_behind_until_it_can_follow_another(follow):
    topic = Topic(change(1))
    with follow(topic, unusable=(2,)) as (follower, refused):
        topic.add(change(2))
        until(lambda: refused)
        topic.add(change(3))
        until(lambda: version(follower) == 3)
        assert not follower.is_behind()


def test_a_follower_that_starts_at_a_policy_that_it_cannot_follow_takes_the_last_that_it_can(follow):
    changes = change(1), change(2), change(3)
    with follow(Topic(changes[-1]), unusable=(2, 3), log=changes) as (follower, refused):
        assert (version(follower), follower.is_behind()) == (1, True)
    assert len(refused) == 1
