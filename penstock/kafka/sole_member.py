"""The membership of a process that reads all partitions of its topics alone, and knows itself where to begin."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.membership import MembershipLostError
from penstock.kafka.transactions import InstanceFencedError

_log = logging.getLogger(__name__)


class Replaced(NamedTuple):
    """What a process says when another one has replaced it, and what to do then."""

    what: str
    next: str


class SoleConsumer(Consumer):  # type: ignore[misc] # the library has no types
    """A consumer that knows from its log that its session has timed out: the client calls back only later.

    Args:
        config: Its settings.
        log: Where its log goes.
    """

    def __init__(self, config: dict[str, Any], log: logging.Logger) -> None:
        self.session = SessionLog(log)
        super().__init__(config, logger=self.session)


class SessionLog:
    """The log of a consumer, passed on. The client calls nothing but ``log``.

    Attributes:
        has_ended: Whether the session has timed out since partitions were last assigned.
    """

    def __init__(self, log: logging.Logger) -> None:
        self.has_ended = False
        self._log = log

    def log(self, level: int, message: str, *values: object) -> None:
        """As :meth:`logging.Logger.log`."""
        self.has_ended |= "SESSTMOUT" in message % values
        self._log.log(level, message, *values)


class SoleMember:
    """The only member of a consumer group.

    Args:
        consumer: Its consumer.
        everything: All partitions of its topics.
        watch: Is told of the partitions.
        on_change: Called when partitions come or go: what was read of them counts no more.

    Attributes:
        is_lost: Whether another member may have the partitions, and this one has not joined again.
    """

    def __init__(
        self, consumer: SoleConsumer, everything: Collection[Partition], watch: LagWatch, on_change: Callable[[], None]
    ) -> None:
        self.is_lost = False
        self._consumer, self._everything = consumer, frozenset(everything)
        self._watch, self._on_change = watch, on_change
        self._assigned: set[Partition] = set()

    @property
    def has_everything(self) -> bool:
        """Whether all partitions are assigned."""
        return self._assigned >= self._everything

    def join(self) -> None:
        """Join the group."""
        topics = sorted({topic for topic, _ in self._everything})
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        self._watch.started()

    def run(
        self, step: Callable[[], None], finish: Callable[[], None], stopping: Callable[[], bool], replaced: Replaced
    ) -> None:
        """Join the group, do one step after the other until told to stop, and finish.

        Raises:
            InstanceFencedError: if another process has replaced this one.
            MembershipLostError: if the group must be joined again, with a new consumer.
            PenstockError: whatever a step raises.
        """
        self.join()
        try:
            while not stopping():
                step()
            finish()
        except InstanceFencedError as error:
            # Fenced at once when the session ends, the client has not said yet that the partitions are lost.
            if self.is_lost or self._consumer.session.has_ended:
                raise MembershipLostError from error
            raise InstanceFencedError(
                replaced.what,
                where=error.where,
                safe="everything that was saved; the other one goes on from there",
                next=replaced.next,
            ) from error

    # The client calls these inside consume().

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.is_lost = self._consumer.session.has_ended = False
        if not partitions:  # the group was balanced anew, and nothing has changed
            return
        # Where to begin is found out later. Without an offset, the client would report that there is none.
        consumer.incremental_assign([TopicPartition(tp.topic, tp.partition, OFFSET_END) for tp in partitions])
        consumer.pause(partitions)
        self._assigned |= {(tp.topic, tp.partition) for tp in partitions}
        self._watch.assigned((tp.topic, tp.partition) for tp in partitions)
        self._on_change()
        if missing := self._everything - self._assigned:
            _log.warning("waiting for %d partitions that another member of the group has", len(missing))

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned -= {(tp.topic, tp.partition) for tp in partitions}
        self._watch.revoked((tp.topic, tp.partition) for tp in partitions)
        self._on_change()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.is_lost = True
        self._on_revoke(consumer, partitions)


def run_as_member(run: Callable[[], None], stop: threading.Event) -> None:
    """Run with a new consumer each time, until told to stop; again where the membership was lost for good.

    Raises:
        PenstockError: whatever ``run`` raises.
    """
    while not stop.is_set():
        try:
            run()
        except MembershipLostError:
            _log.warning("fenced, because the membership of the group was lost: joining it again")
