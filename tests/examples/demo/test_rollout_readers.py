"""The demo's readers of rollouts: the policy's log, and the guardrails on the controller's page."""

from __future__ import annotations

import math
from typing import Any

import pytest

from examples.demo import rollout_readers
from examples.demo.rollout_readers import Guardrail, GuardrailReader, PolicyReader, guardrails
from examples.fraud.pipeline import pipeline
from penstock.kafka.access import KafkaAccess
from scoring.rollout.policy_log import encode
from tests.examples.demo.sample_rollouts import PARTITIONS, log

PAGE = """
# TYPE penstock_rollout_status gauge
penstock_rollout_status{pipeline="fraud",status="running"} 1.0
# TYPE penstock_rollout_step gauge
penstock_rollout_step{pipeline="fraud"} 1.0
# TYPE penstock_rollout_guardrail_low gauge
penstock_rollout_guardrail_low{guardrail="quality",pipeline="fraud"} 0.8
# TYPE penstock_rollout_guardrail_high gauge
penstock_rollout_guardrail_high{guardrail="quality",pipeline="fraud"} +Inf
# TYPE penstock_rollout_guardrail_bound_low gauge
penstock_rollout_guardrail_bound_low{guardrail="quality",pipeline="fraud"} 0.0
# TYPE penstock_rollout_guardrail_bound_high gauge
penstock_rollout_guardrail_bound_high{guardrail="quality",pipeline="fraud"} 1.05
# TYPE penstock_rollout_guardrail_verdict gauge
penstock_rollout_guardrail_verdict{guardrail="quality",pipeline="fraud",verdict="continue"} 1.0
penstock_rollout_guardrail_verdict{guardrail="quality",pipeline="fraud",verdict="worse"} 0.0
penstock_rollout_guardrail_verdict{guardrail="split",pipeline="fraud",verdict="worse"} 1.0
"""


class FakeMessage:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def error(self) -> None:
        return None

    def value(self) -> bytes:
        return self._value


class FakeConsumer:
    """Has the log, and gives what was released so far."""

    waiting: list[bytes]

    def __init__(self, _: dict[str, Any]) -> None:
        self.released = 0

    def subscribe(self, topics: list[str]) -> None:
        assert topics == ["rollout.fraud.log"]

    def consume(self, _count: int, timeout: float) -> list[FakeMessage]:
        assert timeout == 0
        taken, self.waiting[:] = self.waiting[: self.released], self.waiting[self.released :]
        return [FakeMessage(value) for value in taken]

    def close(self) -> None:
        pass


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> PolicyReader:
    monkeypatch.setattr(rollout_readers, "Consumer", FakeConsumer)
    FakeConsumer.waiting = [encode(logged.entry) for logged in log()]
    return PolicyReader(KafkaAccess(bootstrap="nowhere:1"), pipeline)


def read(reader: PolicyReader, entries: int) -> None:
    reader._consumer.released = entries
    reader.poll()


def test_before_the_first_policy_nothing_is_followed(reader: PolicyReader) -> None:
    reader.poll()
    assert (reader.present, reader.is_followed) == (None, False)


def test_a_policy_is_followed_when_every_partition_has_taken_it_up(reader: PolicyReader) -> None:
    read(reader, PARTITIONS)
    assert reader.present == log()[0].entry
    assert not reader.is_followed
    read(reader, 1)
    assert reader.is_followed


def test_the_next_policy_is_not_followed_by_what_has_taken_up_the_one_before(reader: PolicyReader) -> None:
    read(reader, PARTITIONS + 2)
    assert reader.present == log()[PARTITIONS + 1].entry
    assert not reader.is_followed


def test_guardrails_have_their_verdict_interval_and_bounds() -> None:
    found = guardrails(PAGE, 1)
    assert found["quality"] == Guardrail("continue", 0.8, math.inf, 0.0, 1.05)


def test_a_guardrail_without_numbers_has_no_limits() -> None:
    assert guardrails(PAGE, 1)["split"] == Guardrail("worse", 0.0, math.inf, 0.0, math.inf)


def test_what_a_controller_says_of_another_step_does_not_count() -> None:
    assert guardrails(PAGE, 2) == {}


def test_a_controller_that_judges_nothing_says_nothing() -> None:
    assert guardrails(PAGE.replace('status="running"} 1.0', 'status="running"} 0.0'), 1) == {}


def test_a_controller_that_does_not_answer_says_nothing() -> None:
    reader = GuardrailReader("http://127.0.0.1:9/metrics")
    assert reader.read(0) == {}
    reader.close()
