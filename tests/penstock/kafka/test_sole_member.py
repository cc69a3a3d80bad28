"""Who is fenced by another process, and who by its own session, which has ended."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.kafka.membership import MembershipLostError
from penstock.kafka.sole_member import Replaced, SessionLog, SoleMember
from penstock.kafka.transactions import InstanceFencedError

SESSION_TIMED_OUT = (
    logging.WARNING,
    "%s [%s] %s",
    "SESSTMOUT",
    "rdkafka#consumer-1",
    "Consumer group session timed out",
)


class Joined:
    """A consumer that is assigned its partition as soon as it joins."""

    def __init__(self) -> None:
        self.session = SessionLog(logging.getLogger("tests"))

    def subscribe(self, topics: list[str], *, on_assign: Any, **_: Any) -> None:
        on_assign(self, [SimpleNamespace(topic=topics[0], partition=0)])

    def incremental_assign(self, _: Any) -> None: ...

    def pause(self, _: Any) -> None: ...


def run(step: Any, consumer: Joined) -> None:
    watch = SimpleNamespace(started=lambda: None, assigned=lambda _: None)
    member = SoleMember(consumer, [("t", 0)], watch, lambda: None)  # type: ignore[arg-type]
    member.run(step, lambda: None, lambda: False, Replaced("another one runs", "leave it to that"))


def fenced() -> None:
    raise InstanceFencedError("fenced")


def test_who_is_fenced_is_replaced_by_another_process() -> None:
    with pytest.raises(InstanceFencedError, match="another one runs"):
        run(fenced, Joined())


def test_who_is_fenced_as_its_session_ends_joins_again_although_no_partition_was_reported_lost() -> None:
    consumer = Joined()

    def step() -> None:
        consumer.session.log(*SESSION_TIMED_OUT)
        fenced()

    with pytest.raises(MembershipLostError):
        run(step, consumer)


def test_a_session_that_ended_before_partitions_were_assigned_anew_counts_no_more() -> None:
    consumer = Joined()
    consumer.session.log(*SESSION_TIMED_OUT)
    with pytest.raises(InstanceFencedError):
        run(fenced, consumer)
