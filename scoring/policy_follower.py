"""Follows the rollout policy of a pipeline: whoever scores learns of a new one within a second, without a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.records import Produced
from scoring.lineup import LineUp
from scoring.rollout.log_reading import last_change
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from scoring.rollout.policy_store import UnreadablePolicyError, change_in, instead, iterate_log, log_record
from streams.definitions.pipeline import Pipeline

_log = logging.getLogger(__name__)

_POLL_S = 0.2
# A policy that was refused is tried again after this time.
_AGAIN_S = 30.0
# Longer than the open transaction of a killed writer can hide the records after it.
_STUCK_S = 90.0

Prepare = Callable[[PublishedPolicy | None], LineUp]
"""Makes the line-up of a policy; raises PenstockError if a version of it cannot be used."""


class PolicyFollower:
    """Reads the policy topic in a thread, and prepares the line-up of each new policy there.

    While a line-up is being prepared, the one before scores. A policy that cannot be followed is passed over: the log
    gets a refusal with the reason. It is tried again when it is published again. A record that is no policy changes
    nothing either: what the log says was published last goes on.

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
        self._thread: Future[None] | None = None
        self._seen: str | None = None
        self._is_unreadable = False  # the last record of the topic
        self._refused: PolicyChange | None = None
        self._why_refused: PenstockError | None = None
        self._again_s = 0.0
        self._lock = threading.Lock()  # of the fields below, which both threads change
        self._refusals: list[Refusal] = []
        self._next: LineUp | None = None
        self._line_up: LineUp | None = None

    def latest(self) -> LineUp:
        """Who scores from now on. The line-up before is closed: ask between two batches.

        Raises:
            Exception: what ended the thread, if anything has: a scorer that follows no longer must not go on.
        """
        if self._thread is not None and self._thread.done():
            self._thread.result()
        with self._lock:
            following, self._next = self._next, None
            if following is not None:
                if self._line_up is not None:
                    self._line_up.close()
                self._line_up = following
            assert self._line_up is not None
            return self._line_up

    def is_behind(self) -> bool:
        """Whether :meth:`latest` returned another policy than the latest.

        That is being prepared, was refused, or is a record that cannot be read.
        """
        line_up = self._line_up
        published = None if line_up is None else line_up.published
        return self._is_unreadable or self._seen != (None if published is None else published.hash)

    def refusals(self, now: int) -> list[Produced]:
        """The records of policies that could not be followed; each is returned once."""
        with self._lock:
            refused, self._refusals = self._refusals, []
        return [log_record(self._pipeline, refusal, now) for refusal in refused]

    def marker(self, partition: int, offset: int, policy: str, now: int) -> Produced:
        """The record that says that a policy is taken up on a partition from an offset on."""
        return log_record(self._pipeline, Marker(partition=partition, first_offset=offset, policy=policy), now)

    def await_policy(self, policy: str) -> None:
        """A partition is under a policy, and :meth:`latest` has none: its events wait until there is one.

        Raises:
            PenstockError: if this scorer has refused the latest policy. Another one that can follow it takes the
                partition then.
        """
        error = self._why_refused
        if error is None:
            _log.warning("a partition is under policy %s, which is not ready here yet: its events wait", policy[:12])
            return
        raise PenstockError(
            f"a partition is under policy {policy[:12]}, and this scorer can follow none: {error.what}",
            where=error.where,
            safe="no event was scored without the policy: each waits for a scorer that can follow it",
            next=error.next or "penstock rollout show PIPELINE",
        )

    @contextmanager
    def following(self) -> Iterator[None]:
        """Prepare the present policy, and follow changes for the duration of the block.

        If the present policy cannot be followed, the last one that can be is, or none if none was ever taken up: a
        scorer that starts while a bad version is being tried must serve its users.

        Raises:
            PenstockError: if the topic cannot be read, nor the log where the topic's last record is no policy; or if
                no policy can be followed.
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
            last = self._read_to_end(consumer)
            self._begin(None if last is None else self._change_at_start(last))
            with ThreadPoolExecutor(1, "policy") as pool:
                self._thread = pool.submit(self._follow, consumer)
                try:
                    yield
                finally:
                    self._stop.set()
        finally:
            consumer.close()
            for line_up in (self._line_up, self._next):
                if line_up is not None:
                    line_up.close()

    def _read_to_end(self, consumer: Consumer) -> Message | None:
        last: Message | None = None
        deadline = time.monotonic() + _STUCK_S
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
                last = message

    def _begin(self, change: PolicyChange | None) -> None:
        if change is None:
            self._line_up = self._prepare(None)
            return
        published = change.policy
        self._seen = published.hash
        try:
            self._line_up = self._prepared(published)
        except PenstockError as error:
            self._refuse(published, error)
            self._try_again_later(change)
            self._line_up = self._last_that_works(error)

    def _last_that_works(self, error: PenstockError) -> LineUp:
        earlier: dict[str, PublishedPolicy] = {}  # by hash; in the order in which each was published last
        is_taken_up = False
        for _, _, entry in iterate_log(self._kafka, self._pipeline):
            is_taken_up |= isinstance(entry, Marker)
            if isinstance(entry, PolicyChange):
                earlier.pop(entry.policy.hash, None)
                earlier[entry.policy.hash] = entry.policy
        for published in reversed(earlier.values()):
            if published.hash == self._seen:
                continue
            try:
                line_up = self._prepared(published)
            except PenstockError as also:
                _log.warning("policy %s cannot be followed either: %s", published.version, also.what)
                continue
            _log.warning("scoring under policy %s, the last one that can be followed", published.version)
            return line_up
        if is_taken_up:
            raise error
        _log.warning("scoring without a policy: no scorer has ever taken one up")
        return self._prepare(None)

    def _follow(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            message = consumer.poll(_POLL_S)
            messages = [] if message is None else [message, *consumer.consume(100, 0)]
            changes = [change for each in messages if (change := self._change_in(each)) is not None]
            if changes:
                self._take_up(changes[-1])
            elif self._refused is not None and time.monotonic() >= self._again_s:
                self._take_up(self._refused)  # perhaps what was wrong has been mended

    def _take_up(self, change: PolicyChange) -> None:
        published = change.policy
        self._seen = published.hash
        if self._seen == self._followed():
            self._refused = self._why_refused = None
            return  # as when a rollout is paused
        try:
            line_up = self._prepared(published)
        except PenstockError as error:
            if change is not self._refused:
                self._refuse(published, error)
            self._try_again_later(change)
            return
        self._refused = self._why_refused = None
        with self._lock:
            unused, self._next = self._next, line_up
        if unused is not None:
            unused.close()
        weights = ", ".join(f"{arm} {weight:g}" for arm, weight in published.weights.items())
        _log.info("policy %s by %s (%s): %s", published.version, change.author, change.reason, weights)

    def _try_again_later(self, refused: PolicyChange) -> None:
        self._refused, self._again_s = refused, time.monotonic() + _AGAIN_S

    def _followed(self) -> str | None:
        """The hash of the policy that is scored with, or will be from the next batch on."""
        with self._lock:
            line_up = self._next or self._line_up
        published = None if line_up is None else line_up.published
        return None if published is None else published.hash

    def _prepared(self, published: PublishedPolicy) -> LineUp:
        """The line-up of a policy.

        Raises:
            PenstockError: if it cannot be followed, for whatever reason: no version may stop those who score.
        """
        try:
            return self._prepare(published)
        except PenstockError:
            raise
        except Exception as error:
            _log.exception("policy %s cannot be prepared", published.version)
            raise PenstockError(f"it cannot be prepared: {error!r}") from error

    def _refuse(self, published: PublishedPolicy, error: PenstockError) -> None:
        _log.error("policy %s cannot be followed, the one before goes on: %s", published.version, error)
        reason = error.kept if error.where is None else f"{error.kept} ({error.where})"
        refusal = Refusal(instance=self._instance, policy=published.hash, reason=reason, time_ms=self._now())
        self._why_refused = error
        with self._lock:
            self._refusals.append(refusal)
        self._on_refused()

    def _change_in(self, message: Message) -> PolicyChange | None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                _log.warning("topic %s cannot be read now: %s", self._pipeline.rollout_topic, error.str())
            return None
        try:
            change = self._change(message)
        except UnreadablePolicyError as unreadable:
            self._is_unreadable = True
            _log.error("a policy that cannot be read is passed over: %s", unreadable)
            return None
        self._is_unreadable = False
        return change

    def _change_at_start(self, last: Message) -> PolicyChange | None:
        try:
            return self._change(last)
        except UnreadablePolicyError as error:
            self._is_unreadable = True
            change = last_change(iterate_log(self._kafka, self._pipeline))
            _log.error("%s", instead(change, error))
            return change

    def _change(self, message: Message) -> PolicyChange:
        return change_in(message.value(), f"{self._pipeline.rollout_topic}[0]@{message.offset()}")
