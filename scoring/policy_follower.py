"""Follows the rollout policy of a pipeline: whoever scores learns of a new one within a second, without a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.records import Produced
from scoring.lineup import LineUp
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal, decode
from scoring.rollout.policy_store import iterate_log, log_record
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

_POLL_S = 0.2
# Longer than the open transaction of a killed writer can hide the records after it.
_STUCK_S = 90.0

Prepare = Callable[[PublishedPolicy | None], LineUp]
"""Makes the line-up of a policy; raises PenstockError if a version of it cannot be used."""


class PolicyFollower:
    """Reads the policy topic in a thread, and prepares the line-up of each new policy there.

    While a line-up is being prepared, the one before scores. A policy that cannot be followed is passed over: the log
    gets a refusal with the reason.

    Args:
        pipeline: The pipeline.
        instance: The scorer, for refusals.
        kafka: How to reach Kafka.
        prepare: Makes a line-up.
        now: Wall-clock epoch milliseconds.
        on_refused: Called for each policy that cannot be followed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        instance: str,
        kafka: KafkaAccess,
        prepare: Prepare,
        now: Callable[[], int],
        *,
        on_refused: Callable[[], object],
    ) -> None:
        self._pipeline = pipeline
        self._instance = instance
        self._kafka = kafka
        self._prepare = prepare
        self._now = now
        self._on_refused = on_refused
        self._stop = threading.Event()
        self._refusals: list[Refusal] = []
        self._seen: str | None = None
        self._next: LineUp | None = None
        self._line_up: LineUp | None = None

    def latest(self) -> LineUp:
        """Who scores from now on. The line-up before is closed: ask between two batches."""
        following, self._next = self._next, None
        if following is not None:
            if self._line_up is not None:
                self._line_up.close()
            self._line_up = following
        assert self._line_up is not None
        return self._line_up

    def is_behind(self) -> bool:
        """Whether :meth:`latest` returned another policy than the latest: that is being prepared, or was refused."""
        line_up = self._line_up
        published = None if line_up is None else line_up.published
        return self._seen != (None if published is None else published.hash)

    def refusals(self, now: int) -> list[Produced]:
        """The records of policies that could not be followed; each is returned once."""
        refused, self._refusals = self._refusals, []
        return [log_record(self._pipeline, refusal, now) for refusal in refused]

    def marker(self, partition: int, offset: int, policy: str, now: int) -> Produced:
        """The record that says that a policy is taken up on a partition from an offset on."""
        return log_record(self._pipeline, Marker(partition=partition, first_offset=offset, policy=policy), now)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Prepare the present policy, and follow changes for the duration of the block.

        If the present policy cannot be followed, the last one that can be is: a scorer that starts while a bad version
        is being tried must serve its users.

        Raises:
            PenstockError: if the topic cannot be read, or no policy can be followed.
        """
        consumer = Consumer(
            {
                **self._kafka.client(),
                "group.id": f"penstock-{self._pipeline.name}-policy-{self._instance}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 200,
                **QUIET,
            }
        )
        try:
            consumer.assign([TopicPartition(self._pipeline.rollout_topic, 0, OFFSET_BEGINNING)])
            self._begin(self._read_to_end(consumer))
            thread = threading.Thread(target=self._follow, args=(consumer,), name="policy", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                self.latest().close()
        finally:
            consumer.close()

    def _read_to_end(self, consumer: Consumer) -> PolicyChange | None:
        last, deadline = None, time.monotonic() + _STUCK_S
        while True:
            message = consumer.poll(_POLL_S)
            error = None if message is None else message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, in spite of _
                return last
            if time.monotonic() > deadline or (error is not None and not error.retriable()):
                raise PenstockError(
                    f"topic {self._pipeline.rollout_topic} cannot be read"
                    + (f": {error.str()}" if error is not None else ""),
                    where=str(self._kafka),
                    safe="nothing was read or scored",
                    next="penstock status",
                )
            if message is not None and error is None:
                last = self._change_in(message) or last

    def _begin(self, change: PolicyChange | None) -> None:
        published = None if change is None else change.policy
        self._seen = None if published is None else published.hash
        try:
            self._line_up = self._prepare(published)
        except PenstockError as error:
            if published is None:
                raise
            self._refuse(published, error)
            self._line_up = self._last_that_works(error)

    def _last_that_works(self, error: PenstockError) -> LineUp:
        changes = [logged.entry for logged in iterate_log(self._kafka, self._pipeline)]
        earlier = [change.policy for change in changes if isinstance(change, PolicyChange)]
        tried = {self._seen}
        for published in reversed(earlier):
            if published.hash in tried:
                continue
            tried.add(published.hash)
            try:
                line_up = self._prepare(published)
            except PenstockError:
                continue
            _log.warning("scoring under policy %s, the last one that can be followed", published.version)
            return line_up
        raise error

    def _follow(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            message = consumer.poll(_POLL_S)
            messages = [] if message is None else [message, *consumer.consume(100, 0)]
            changes = [change for each in messages if (change := self._change_in(each)) is not None]
            if changes and changes[-1].policy.hash != self._seen:
                self._take_up(changes[-1])

    def _take_up(self, change: PolicyChange) -> None:
        published = change.policy
        self._seen = published.hash
        try:
            self._next = self._prepare(published)
        except PenstockError as error:
            self._refuse(published, error)
        else:
            weights = ", ".join(f"{arm} {weight:g}" for arm, weight in published.weights.items())
            _log.info("policy %s by %s (%s): %s", published.version, change.author, change.reason, weights)

    def _refuse(self, published: PublishedPolicy, error: PenstockError) -> None:
        _log.error("policy %s cannot be followed, the one before goes on: %s", published.version, error)
        refusal = Refusal(
            instance=self._instance, policy=published.hash, reason=f"{error.what} ({error.where})", time_ms=self._now()
        )
        self._refusals = [*self._refusals, refusal]
        self._on_refused()

    def _change_in(self, message: Message) -> PolicyChange | None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                _log.warning("topic %s cannot be read now: %s", self._pipeline.rollout_topic, error.str())
            return None
        where = f"{self._pipeline.rollout_topic}[0]@{message.offset()}"
        try:
            entry = decode(message.value() or b"", where)
        except PenstockError as unreadable:
            _log.error("a policy that cannot be read is passed over: %s", unreadable)
            return None
        return entry if isinstance(entry, PolicyChange) else None
