"""What a writer of policies does where Kafka fails it. On a real broker: tests/integration/test_rollout_policy.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record
from penstock.kafka.records import Produced
from penstock.kafka.transactions import OutcomeUnknownError, TransactionAbortedError
from scoring.rollout import policy_store
from scoring.rollout.policy import RolloutPolicy, publish
from scoring.rollout.policy_log import Logged, Marker, PolicyChange, encode
from scoring.rollout.policy_store import (
    change_policy,
    log_record,
    read_followed,
    read_log,
    read_policy,
    why_unreadable,
)
from streams.definitions.pipeline import Pipeline
from tests.scoring.scorer_bench import define

KAFKA = KafkaAccess(bootstrap="127.0.0.1:1")
ABORTED, LOST = TransactionAbortedError("aborted"), OutcomeUnknownError("lost")


class FakeKafka:
    """Topics in memory. Each transaction takes the next of ``outcomes``: an error, and whether it is written."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self.outcomes: list[tuple[Exception | None, bool]] = []
        self.unreadable = False
        self.starts = 0

    def started(self, _kafka: object, _pipeline: object) -> FakeKafka:
        self.starts += 1
        return self

    def write(self, records: Sequence[Produced], _offsets: object, _group: object, _timeout_s: float) -> None:
        error, is_written = self.outcomes.pop(0) if self.outcomes else (None, True)
        for record in records if is_written else ():
            self.put(record.topic, record.value)
        if error is not None:
            self.unreadable = self.unreadable or str(error) == "gone"
            raise error

    def put(self, topic: str, value: bytes | None) -> None:
        known = self.topics.setdefault(topic, [])
        known.append(Record(0, 2 * len(known), 7, b"k", value, ()))

    def read(self, _kafka: object, topic: str) -> Iterator[Record]:
        if self.unreadable:
            raise PenstockError("Kafka cannot be reached")
        return iter(self.topics.get(topic, []))


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    fake = FakeKafka()
    places: dict[str, Any] = {"start_writer": fake.started, "read_topic": fake.read, "_pause": lambda _: None}
    for name, place in {**places, "require_topics": lambda *_, **__: None}.items():
        monkeypatch.setattr(policy_store, name, place)
    return fake


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return define(tmp_path, "store", 1)[1]


def change(pipeline: Pipeline, present: PolicyChange | None, salt: str = "s") -> PolicyChange:
    arms = [{"name": "present", "version": 1, "role": "champion"}]
    policy = RolloutPolicy.model_validate({"pipeline": pipeline.name, "mode": "shadow", "salt": salt, "arms": arms})
    previous = None if present is None else present.policy.hash
    return PolicyChange(policy=publish(policy), author="ada", reason="why", previous=previous, time_ms=5)


def test_a_change_is_written_to_both_topics_and_read_back(kafka: FakeKafka, pipeline: Pipeline) -> None:
    written = change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    assert read_policy(KAFKA, pipeline) == written
    assert read_log(KAFKA, pipeline) == [Logged(0, 7, written)]


def test_what_was_committed_although_the_answer_was_lost_is_not_written_again(
    kafka: FakeKafka, pipeline: Pipeline
) -> None:
    kafka.outcomes = [(LOST, True)]
    written = change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    assert [logged.entry for logged in read_log(KAFKA, pipeline)] == [written]


@pytest.mark.parametrize("error", [ABORTED, LOST])
def test_what_was_not_written_is_decided_again(kafka: FakeKafka, pipeline: Pipeline, error: Exception) -> None:
    kafka.outcomes = [(error, False)]
    asked: list[PolicyChange | None] = []

    def decide(present: PolicyChange | None) -> PolicyChange:
        asked.append(present)
        return change(pipeline, present)

    assert change_policy(KAFKA, pipeline, decide) == read_policy(KAFKA, pipeline)
    assert (asked, len(read_log(KAFKA, pipeline))) == ([None, None], 1)


def test_after_a_number_of_attempts_it_gives_up_and_says_that_nothing_was_written(
    kafka: FakeKafka, pipeline: Pipeline
) -> None:
    kafka.outcomes = [(ABORTED, False), (LOST, False)] * 20
    with pytest.raises(PenstockError, match="could not be changed in 8 attempts") as refused:
        change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    assert (refused.value.safe, read_log(KAFKA, pipeline)) == ("nothing was written", [])


def test_where_the_outcome_cannot_be_found_out_the_error_says_so(kafka: FakeKafka, pipeline: Pipeline) -> None:
    kafka.outcomes = [(OutcomeUnknownError("gone"), True)]
    with pytest.raises(PenstockError, match="it is not known whether the policy was changed") as unknown:
        change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    assert (unknown.value.safe, unknown.value.next) == (
        "the change was written whole or not at all",
        "penstock rollout show PIPELINE",
    )


def test_where_there_is_nothing_to_do_nothing_is_written(kafka: FakeKafka, pipeline: Pipeline) -> None:
    assert change_policy(KAFKA, pipeline, lambda _: None) is None
    assert kafka.topics == {}


def test_a_change_that_does_not_follow_from_what_was_read_is_a_defect(kafka: FakeKafka, pipeline: Pipeline) -> None:
    first = change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    assert first is not None
    with pytest.raises(ValueError, match="does not follow"):
        change_policy(KAFKA, pipeline, lambda _: change(pipeline, None, "another"))


@pytest.mark.parametrize("value", [b"{", None])
def test_a_record_that_cannot_be_read_is_named_by_its_place(
    kafka: FakeKafka, pipeline: Pipeline, value: bytes | None
) -> None:
    marker = Marker(partition=0, first_offset=1, policy="a" * 64)
    kafka.put(pipeline.rollout_log_topic, log_record(pipeline, marker, 1).value)
    kafka.put(pipeline.rollout_log_topic, value)
    with pytest.raises(PenstockError, match="no entry of a rollout log") as refused:
        read_log(KAFKA, pipeline)
    assert refused.value.where == "rollout.taps_store.log[0]@2"


@pytest.mark.parametrize("value", [b"{", None, encode(Marker(partition=0, first_offset=1, policy="a" * 64))])
def test_garbage_is_an_error_for_whoever_does_not_repair_it(
    kafka: FakeKafka, pipeline: Pipeline, value: bytes | None
) -> None:
    first = change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    kafka.put(pipeline.rollout_topic, value)
    with pytest.raises(PenstockError) as refused:
        change_policy(KAFKA, pipeline, lambda present: change(pipeline, present, "another"))
    assert (refused.value.where, str(refused.value.next)[:22]) == ("rollout.taps_store[0]@2", "penstock rollout apply")
    assert [logged.entry for logged in read_log(KAFKA, pipeline)] == [first]


def test_a_writer_that_repairs_replaces_garbage_by_what_follows_from_the_log(
    kafka: FakeKafka, pipeline: Pipeline
) -> None:
    first = change_policy(KAFKA, pipeline, lambda present: change(pipeline, present))
    kafka.put(pipeline.rollout_topic, b"{")
    assert (read_followed(KAFKA, pipeline), why_unreadable(KAFKA, pipeline) is None) == (first, False)
    second = change_policy(KAFKA, pipeline, lambda present: change(pipeline, present, "another"), repairs=True)
    assert first is not None
    assert second is not None
    assert second.previous == first.policy.hash
    assert (read_policy(KAFKA, pipeline), why_unreadable(KAFKA, pipeline)) == (second, None)
