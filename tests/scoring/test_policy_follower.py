"""A scorer follows the latest policy that it can, says which it cannot, and knows when it is behind."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
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
from scoring.rollout.policy_log import Entry, Marker, PolicyChange, decode, encode
from scoring.rollout.policy_store import Logged
from streams.definitions.pipeline import Pipeline
from tests.scoring.scorer_bench import define

KAFKA = KafkaAccess(bootstrap="unused:1")
MARKER = Marker(partition=0, first_offset=0, policy="0" * 64)


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
        self.is_closed = False
        end = Message(error=KafkaError(KafkaError._PARTITION_EOF))
        # Its appending and popping are atomic: two threads use it.
        self.messages = deque([*(Message(encode(each)) for each in changes), end])

    def add(self, *changes: PolicyChange) -> None:
        self.messages.extend(Message(encode(each)) for each in changes)

    def assign(self, _partitions: object) -> None: ...

    def poll(self, _timeout: float) -> Message | None:
        if not self.messages:
            time.sleep(0.001)
            return None
        return self.messages.popleft()

    def consume(self, most: int, _timeout: float) -> list[Message]:
        return [self.messages.popleft() for _ in range(min(most, len(self.messages)))]

    def close(self) -> None:
        self.is_closed = True


MADE: list[FakeLineUp] = []
"""All line-ups of a test."""


class FakeLineUp:
    def __init__(self, published: PublishedPolicy | None) -> None:
        self.published = published
        self.is_closed = False
        MADE.append(self)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return define(tmp_path, "followed", partitions=1)[1]


Follow = Callable[..., Any]


@pytest.fixture
def follow(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """A follower of a topic, and its refusals, as counted.

    A policy of an ``unusable`` version cannot be prepared, and one of a ``broken`` version fails as nobody expects.
    """
    MADE.clear()

    @contextmanager
    def run(
        topic: Topic,
        unusable: Collection[int] = (),
        broken: Collection[int] = (),
        log: tuple[Entry, ...] = (),
    ) -> Iterator[tuple[PolicyFollower, list[None]]]:
        def prepare(published: PublishedPolicy | None) -> LineUp:
            number = None if published is None else published.policy.champion.version
            if number in unusable:
                raise PenstockError("the version cannot be loaded", where="here")
            if number in broken:
                raise ZeroDivisionError("what is this?")
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


def made() -> list[int | None]:
    """The champions of all line-ups that were prepared."""
    return [None if one.published is None else one.published.policy.champion.version for one in MADE]


def reasons(follower: PolicyFollower) -> list[str]:
    return [json.loads(record.value or b"")["reason"] for record in follower.refusals(8)]


def test_a_policy_that_was_refused_is_tried_again_when_it_is_published_again(follow):
    topic, unusable = Topic(change(1)), {2}
    with follow(topic, unusable) as (follower, refused):
        topic.add(change(2))
        until(lambda: refused)
        topic.add(change(2))
        until(lambda: len(refused) == 2)
        assert (version(follower), len(reasons(follower))) == (1, 2)
        unusable.clear()
        topic.add(change(2))
        until(lambda: version(follower) == 2)


def test_a_policy_that_was_refused_is_tried_again_after_a_while_and_refused_once(follow, monkeypatch):
    monkeypatch.setattr(policy_follower, "_AGAIN_S", 0.0)
    topic, unusable = Topic(change(1)), {2}
    with follow(topic, unusable) as (follower, refused):
        topic.add(change(2))
        until(lambda: refused)
        assert version(follower) == 1
        unusable.clear()
        until(lambda: version(follower) == 2)
    assert len(refused) == 1


def test_a_change_that_leaves_the_policy_as_it_is_prepares_nothing(follow):
    topic = Topic(change(1))
    with follow(topic) as (follower, _):
        topic.add(change(1).model_copy(update={"status": "paused"}))
        topic.add(change(2))
        until(lambda: version(follower) == 2)
        topic.add(change(2).model_copy(update={"status": "paused"}))
        topic.add(change(1))
        until(lambda: version(follower) == 1)
    assert made() == [1, 2, 1]


def test_a_policy_that_no_batch_has_been_scored_under_yet_is_prepared_once(follow):
    topic = Topic(change(1))
    with follow(topic):
        topic.add(change(2))
        until(lambda: made() == [1, 2])
        topic.add(change(2).model_copy(update={"status": "paused"}))
        until(lambda: not topic.messages)
        topic.add(change(3))
        until(lambda: made()[-1] == 3)
    assert made() == [1, 2, 3]


def test_of_several_policies_at_once_the_last_is_prepared(follow):
    topic = Topic(change(1))
    with follow(topic, unusable=(3,)) as (follower, refused):
        topic.add(change(2), change(3), change(4))
        until(lambda: version(follower) == 4)
    assert refused == []
    assert set(made()) <= {1, 2, 4}


def test_after_a_refusal_the_policy_before_needs_no_preparation(follow):
    topic = Topic(change(1))
    with follow(topic, unusable=(2,)) as (follower, refused):
        topic.add(change(2))
        until(lambda: refused)
        topic.add(change(1))
        until(lambda: not follower.is_behind())
        assert version(follower) == 1
    assert made() == [1]


def test_every_line_up_is_closed_in_the_end_even_if_nothing_was_scored_with_it(follow):
    topic = Topic(change(1))
    with follow(topic):
        topic.add(change(2))
        until(lambda: made() == [1, 2])
        topic.add(change(3))
        until(lambda: made() == [1, 2, 3])
    assert [one.is_closed for one in MADE] == [True] * 3
    assert topic.is_closed


def test_whatever_fails_while_a_version_is_prepared_the_one_before_goes_on(follow, caplog):
    topic = Topic(change(1))
    with follow(topic, broken=(2,)) as (follower, refused):
        topic.add(change(2))
        until(lambda: refused)
        assert reasons(follower) == ["it cannot be prepared: ZeroDivisionError('what is this?')"]
        topic.add(change(3))
        until(lambda: version(follower) == 3)
    assert "Traceback" in caplog.text


def test_a_scorer_that_can_no_longer_follow_does_not_go_on(follow, monkeypatch):
    topic = Topic(change(1))

    def fail(_: float) -> None:
        raise RuntimeError("the client is broken")

    with follow(topic) as (follower, _):
        monkeypatch.setattr(topic, "poll", fail)
        until(follower._thread.done)
        with pytest.raises(RuntimeError, match="the client is broken"):
            follower.latest()
    assert [one.is_closed for one in MADE] == [True]


def test_a_record_that_cannot_be_read_is_passed_over_and_so_is_an_error_of_the_client(follow, caplog):
    topic = Topic(change(1))
    with follow(topic) as (follower, refused):
        topic.messages.append(Message(b"junk"))
        topic.messages.append(Message(error=KafkaError(KafkaError._TRANSPORT)))
        topic.messages.append(Message(encode(MARKER)))
        until(lambda: sum("is passed over" in message for message in caplog.messages) == 2)
        assert (version(follower), refused) == (1, [])
        topic.add(change(2))
        until(lambda: version(follower) == 2)
    assert any("cannot be read now" in message for message in caplog.messages)


@pytest.mark.parametrize("value", [b"junk", b"", encode(MARKER)])
def test_a_scorer_that_starts_at_garbage_takes_the_last_policy_of_the_log_and_is_behind(follow, value, caplog):
    topic = Topic(change(1))
    topic.messages.insert(1, Message(value))
    log = (change(3), change(2), MARKER)
    with follow(topic, log=log) as (follower, refused):
        assert (version(follower), follower.is_behind(), refused) == (2, True, [])
        topic.add(change(2))
        until(lambda: not follower.is_behind())
    assert made() == [2]
    (said,) = (message for message in caplog.messages if "rollout.taps_followed[0]@0" in message)
    assert said.startswith(f"going on with policy {change(2).policy.version}, the log's last one; ")
    assert "penstock rollout apply" in said


def test_a_scorer_that_starts_at_garbage_before_the_first_policy_scores_without_one(follow):
    topic = Topic()
    topic.messages.appendleft(Message(b"junk"))
    with follow(topic) as (follower, _):
        assert (version(follower), follower.is_behind()) == (None, True)


def test_where_neither_topic_nor_log_has_the_policy_that_is_followed_no_scorer_starts(follow):
    topic = Topic()
    topic.messages.appendleft(Message(b"junk"))
    with pytest.raises(PenstockError, match="no change that published it"), follow(topic, log=(MARKER,)):
        pass
    assert (made(), topic.is_closed) == ([], True)


def test_a_scorer_is_behind_while_the_last_record_is_garbage(follow):
    topic = Topic(change(1))
    with follow(topic) as (follower, _):
        topic.messages.append(Message(b"junk"))
        until(follower.is_behind)
        assert version(follower) == 1
        topic.add(change(1))
        until(lambda: not follower.is_behind())


def test_only_the_last_record_counts_at_the_start(follow):
    topic = Topic(change(1), change(2))
    topic.messages.appendleft(Message(b"junk"))
    with follow(topic) as (follower, refused):
        assert version(follower) == 2
    assert (made(), refused) == ([2], [])


def test_a_topic_that_is_not_there_is_an_error_at_the_start(follow):
    topic = Topic()
    topic.messages.appendleft(Message(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
    with pytest.raises(PenstockError, match=r"topic rollout\.taps_followed cannot be read"), follow(topic):
        pass
    assert topic.is_closed


def test_a_follower_that_starts_tries_each_policy_once_from_the_last_on(follow, caplog):
    changes = [change(number) for number in (1, 2, 3, 2, 4, 4)]
    with follow(Topic(changes[-1]), unusable=(2, 4), log=tuple(changes)) as (follower, refused):
        assert version(follower) == 3
        assert reasons(follower) == ["the version cannot be loaded (here)"]
    assert len(refused) == 1
    second, third = (change(number).policy.version for number in (2, 3))
    assert caplog.messages[1:] == [
        f"policy {second} cannot be followed either: the version cannot be loaded",
        f"scoring under policy {third}, the last one that can be followed",
    ]


def test_a_follower_that_can_follow_no_policy_does_not_start(follow):
    following = follow(Topic(change(1)), unusable=(1,), log=(change(1), MARKER))
    with pytest.raises(PenstockError, match="the version cannot be loaded"), following:
        pass


def test_where_no_policy_was_ever_taken_up_a_follower_of_none_starts_without(follow):
    with follow(Topic(change(1)), unusable=(1,), log=(change(1),)) as (follower, refused):
        assert (version(follower), follower.is_behind(), len(refused)) == (None, True, 1)


def test_without_a_policy_an_error_of_the_current_version_is_the_scorers(follow):
    with pytest.raises(PenstockError, match="the version cannot be loaded"), follow(Topic(), unusable=(None,)):
        pass


def test_a_marker_names_the_partition_the_offset_and_the_policy(follow):
    with follow(Topic()) as (follower, _):
        record = follower.marker(3, 41, "5f" * 32, 9)
    assert (record.topic, record.partition, record.timestamp) == ("rollout.taps_followed.log", 0, 9)
    assert decode(record.value or b"", "") == Marker(partition=3, first_offset=41, policy="5f" * 32)


def test_no_policy_and_no_refusal_is_lost_between_the_threads(follow):
    """The scorer asks all the time, while policies come, of which every second one is refused."""
    last, topic, found = 200, Topic(change(1)), 0
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with follow(topic, unusable=range(3, 1_000, 2)) as (follower, refused):
            for number in range(2, last + 1):
                topic.add(change(number))
                until(lambda: not topic.messages)
                follower.latest()
                found += len(reasons(follower))
            until(lambda: version(follower) == last)
            found += len(reasons(follower))
            assert found == len(refused) > 0
    finally:
        sys.setswitchinterval(before)
    assert all(one.is_closed for one in MADE)


def test_events_of_a_partition_under_a_policy_wait_for_it_or_for_another_scorer(follow, monkeypatch):
    monkeypatch.setattr(policy_follower, "_AGAIN_S", 0.0)
    topic, unusable = Topic(), {1}
    with follow(topic, unusable) as (follower, refused):
        follower.await_policy("1f" * 32)
        topic.add(change(1))
        until(lambda: refused)
        with pytest.raises(PenstockError, match=r"under policy 1f1f1f1f1f1f, .* the version cannot be loaded") as error:
            follower.await_policy("1f" * 32)
        assert "each waits for a scorer" in str(error.value.safe)
        unusable.clear()
        until(lambda: version(follower) == 1)
        follower.await_policy("1f" * 32)
