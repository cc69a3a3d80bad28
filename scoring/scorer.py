"""The scoring consumer: reads feature records and writes predictions, exactly once.

Two stages work at the same time. The front, the calling thread, consumes a batch, drops the events that are scored
already, scores the others with one call to the model server, and encodes the answers. The back, one thread, writes
answers and offsets in one transaction. Meanwhile the front scores further batches, which are then written together: the
slower the transactions, the larger they become. An idle scorer takes a record as soon as it arrives.

While a transaction is in progress, only the back touches the producer. If it fails, all that was scored after it is
thrown away and read again. Rebalances happen only inside ``consume``; before partitions are given up, all that was
scored is committed. A process that is killed at any moment leaves the answer to each record either committed or to be
made again.

:mod:`scoring.service` makes the components and closes them; this module only runs them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.membership import MembershipLostError
from penstock.kafka.records import Consumed, Produced
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.batch import Candidates
from scoring.feature_consumer import records_of
from scoring.history import HistoryUnavailableError
from scoring.hosted_inference import NoScoresNow
from scoring.lineup import ScoredBatch, encode_batch
from scoring.memory import EventPosition
from scoring.recall import OtherLogError, Recall
from scoring.scorer_components import BatchLimits, ScorerComponents
from scoring.scorer_metrics import AnswerCounts

_log = logging.getLogger(__name__)

# How long an idle scorer waits for the next record before it checks whether to stop.
_IDLE_S = 0.2
# Time limit of a transaction: less than transaction.timeout.ms, or the broker would abort it first.
_WRITE_S = 20.0
# Time limit for reading committed offsets: short, because nothing is consumed meanwhile.
_COMMITTED_S = 5.0
# Pause before the offsets are read again.
_PAUSE_S = 0.5
# Batches in one transaction, at most: what a slow transaction makes wait stays small enough for the next one.
_MOST_BATCHES = 8


@dataclass
class _Answers:
    """What one transaction writes: the answers to one or more batches, and the offsets after them.

    ``group`` is the consumer group's generation as of the first of the batches: if the group rebalances later, the
    broker refuses the offsets. ``refusals`` are those of the records that no batch will bring again.
    """

    group: Any
    records: list[Produced] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    batches: int = 0
    counts: list[AnswerCounts] = field(default_factory=list)
    refusals: list[Produced] = field(default_factory=list)


class Scorer:
    """Runs one instance of a pipeline's scorer.

    Args:
        features_topic: The topic of feature records.
        raw_topic: The topic of the events that they are of.
        components: Consumer, producer, model and the rest.
        limits: The limits of a batch.
        now: Wall-clock epoch milliseconds.
        wait: Sleeps that many seconds, or less if the process shall stop.
        stopping: Whether the process shall stop; what was scored is committed first.
    """

    def __init__(
        self,
        features_topic: str,
        raw_topic: str,
        components: ScorerComponents,
        limits: BatchLimits,
        *,
        now: Callable[[], int],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._topic = features_topic
        self._components = components
        self._metrics = components.metrics
        self._limits = limits
        self._now = now
        self._wait = wait
        self._stopping = stopping
        self._recall = Recall(raw_topic, components.history, self._committed_metadata, clock=time.monotonic)
        self._back = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._scored: _Answers | None = None  # not given to the back yet
        self._in_flight: tuple[_Answers, Future[int | None]] | None = None
        self._refusals: list[Produced] = []  # whose transaction failed; they are written again
        self._line_up = components.line_ups.latest()
        self._line_up.show(self._metrics)
        self._rewind_needed = False  # the consumer's positions are not the committed offsets
        self._is_lost = False  # the group has given this scorer's partitions to others, and it has not joined again

    def run(self) -> None:
        """Score until told to stop.

        Raises:
            PenstockError: if no retry can help. No committed result is lost; a restart continues after the last batch.
        """
        if not self._components.producer.start():
            return
        self._components.watch.started()
        with self._back:
            while not self._run_as_member():
                _log.warning("fenced, because the membership of the group was lost: joining it again")

    def _run_as_member(self) -> bool:
        """Join the group, and score until told to stop; False if the group must be joined again."""
        with closing(self._components.new_consumer()) as self._consumer:
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            idle = True
            try:
                while not self._stopping():
                    idle = not self._step(idle)
            except MembershipLostError:
                return False
            self._commit_scored()
            return True

    def _step(self, idle: bool) -> bool:
        """Consume a batch and score it, if there is one; returns whether there was."""
        components = self._components
        if self._in_flight is None:
            components.producer.serve()
        for partition, gap in components.resets.place(self._consumer).items():
            if gap is not None:
                components.watch.done({partition: gap.earliest})
        if self._rewind_needed and self._in_flight is None:
            self._wait(_PAUSE_S)
            self._rewind_needed = self._line_up.waits() or not self._rewind()
        # Each batch is the result of one call, so that no rebalance can revoke a partition in the middle of it.
        messages = (
            self._consumer.consume(1, timeout=_IDLE_S)
            if idle
            else self._consumer.consume(self._limits.max_batch, timeout=self._limits.linger_s)
        )
        group = self._consumer.consumer_group_metadata() if messages else None
        batch = self._records_of(messages)
        self._follow()
        # Until the rewind succeeds, records are dropped and will be read again. Consuming continues all the same: a
        # consumer that stopped polling would be removed from its group.
        if batch and not self._rewind_needed:
            self._score(batch, group)
        self._pass_on()
        return bool(batch) or self._scored is not None

    def _records_of(self, messages: Sequence[Message]) -> list[Consumed]:
        try:
            return records_of(messages, self._topic, self._components.resets)
        except InstanceFencedError as error:
            if self._is_lost:
                raise MembershipLostError from error
            raise

    def _score(self, batch: list[Consumed], group: Any) -> None:
        """Score a batch, and add the answers to those that wait for the back."""
        metrics, components = self._metrics, self._components
        metrics.observe_batch(len(batch))
        with metrics.time_stage("decode"):
            decoded = components.reader.decode(batch, self._now())
        with metrics.time_stage("recall"):
            unscored = self._claim({consumed.partition for consumed in batch}, decoded.candidates)
        if unscored is None or self._lacks_policy(unscored):
            return
        unscored = components.other_views.complete(unscored)
        with metrics.time_stage("infer"):
            scored = self._infer(unscored)
        if scored is None:
            return
        now = self._now()
        with metrics.time_stage("encode"):
            predictions, unscorable, counts = encode_batch(scored, now)
        if self._scored is None:
            self._scored = _Answers(group)
        answers = self._scored
        refusals, self._refusals = [*self._refusals, *components.line_ups.refusals(now)], []
        answers.records += [*predictions, *decoded.dead_letters, *unscorable, *self._markers(unscored, now), *refusals]
        answers.refusals += refusals
        answers.next_offsets |= {consumed.partition: consumed.offset + 1 for consumed in batch}
        answers.batches += 1
        answers.counts += counts
        answers.counts.append(
            AnswerCounts(
                again=len(decoded.candidates) - len(unscored),
                timers=decoded.timers,
                undecodable=len(decoded.dead_letters),
            )
        )

    def _follow(self) -> None:
        """Score with the latest line-up from now on. An idle scorer does so too, for its metrics say who scores."""
        latest = self._components.line_ups.latest()
        if latest is not self._line_up:
            self._line_up = latest
            latest.show(self._metrics)

    def _markers(self, scored: Candidates, now: int) -> list[Produced]:
        """What the log of rollouts must say: from where on which partitions take the policy up."""
        policy = self._line_up.published
        if policy is None:
            return []
        partitions, rows = np.unique(scored.partitions, return_index=True)
        return [
            self._components.line_ups.marker(partition, scored.consumed[row].offset, policy.hash, now)
            for partition, row in zip(partitions.tolist(), rows.tolist(), strict=True)
            if self._recall.take_up(partition, policy.hash)
        ]

    def _lacks_policy(self, unscored: Candidates) -> bool:
        """Whether events must wait: their partition is under a policy, and this scorer has none.

        No marker can say that a policy is no longer effective, so what it answered would contradict the log.
        """
        partitions = [] if self._line_up.published is not None else np.unique(unscored.partitions).tolist()
        policy = next(filter(None, map(self._recall.policy, partitions)), None)
        if policy is None:
            return False
        self._components.line_ups.await_policy(policy)
        self._discard()
        return True

    def _infer(self, unscored: Candidates) -> ScoredBatch | None:
        """The scores; None if none are to be had now: the batch is read again."""
        try:
            return self._line_up.score(unscored)
        except NoScoresNow:  # which is logged
            self._metrics.waits.inc()
            self._discard()
            return None

    def _claim(self, partitions: Iterable[int], candidates: Candidates) -> Candidates | None:
        """Those of the candidates whose event is not scored yet; None if that cannot be told now.

        Args:
            partitions: All partitions of the batch.
            candidates: Its events.

        Raises:
            PenstockError: if the raw topic was made anew.
        """
        by_partition = candidates.by_partition()
        events = {partition: [events for _, events in by_partition.get(partition, ())] for partition in partitions}
        if any(self._recall.reads(*some) for some in events.items()) and not self._commit_scored():
            return None
        rows = [np.empty(0, np.int64)]
        try:
            for partition, some in events.items():
                self._recall.prepare(partition)
                claimed = self._recall.claim(partition, some)
                groups = by_partition.get(partition, ())
                rows += [group[mask] for (group, _), mask in zip(groups, claimed, strict=True)]
        except HistoryUnavailableError as error:
            _log.warning("cannot tell which events are already scored (%s); the batch is read again", error)
            self._discard()
            return None
        except OtherLogError as error:
            raise _other_log_error(error.event, self._topic, self._line_up.champion.writer.topic) from error
        return candidates.take(np.sort(np.concatenate(rows)))

    def _pass_on(self, *, wait: bool = False) -> bool:
        """Give what was scored to the back if it is free, or as soon as it is; False if a transaction failed."""
        if self._in_flight is not None:
            answers, outcome = self._in_flight
            full = self._scored is not None and self._scored.batches >= _MOST_BATCHES
            if not (wait or full or outcome.done()):
                return True
            committed_at = outcome.result()
            self._in_flight = None
            if committed_at is None:
                self._refusals += answers.refusals
                self._discard()
                return False
            self._metrics.observe_committed(answers.counts, len(answers.records), committed_at)
            ends = {(self._topic, partition): end for partition, end in answers.next_offsets.items()}
            self._components.watch.done(ends)
        if self._scored is not None:
            answers, self._scored = self._scored, None
            offsets = [
                TopicPartition(self._topic, partition, offset, self._recall.metadata(partition))
                for partition, offset in answers.next_offsets.items()
            ]
            self._in_flight = answers, self._back.submit(self._commit, answers, offsets)
        return True

    def _commit_scored(self) -> bool:
        """Commit all that was scored; False if a transaction failed."""
        while self._in_flight is not None or self._scored is not None:
            if not self._pass_on(wait=True):
                return False
        return True

    def _discard(self) -> None:
        """Throw away what was scored but not committed, to read it again."""
        if self._scored is not None:
            self._refusals += self._scored.refusals
        self._scored = None
        self._recall.forget_all()
        self._rewind_needed = True

    def _commit(self, answers: _Answers, offsets: list[TopicPartition]) -> int | None:
        """In the back: write the answers and commit the offsets.

        Returns:
            When they were committed (epoch ms); None if nothing was written, or if that is unknown.
        """
        try:
            with self._metrics.time_stage("commit"):
                self._components.producer.write(answers.records, offsets, answers.group, _WRITE_S)
        # Whether another process has replaced this one, the consumer finds out: its heartbeats are fenced, too.
        except (TransactionAbortedError, InstanceFencedError) as error:
            self._metrics.transaction_failures["aborted"].inc()
            _log.warning("transaction aborted (%s); the records are read again", error)
            unknown = False
        except OutcomeUnknownError as error:
            self._metrics.transaction_failures["unknown"].inc()
            _log.warning("transaction with unknown outcome (%s); asking the broker what is committed", error)
            unknown = True
        else:
            return self._now()
        # Outside the except block: its exception refers to frames that keep the discarded producer alive, and the
        # producer must be destroyed before its successor is made.
        if unknown:
            self._components.producer.start()
        return None

    def _committed_metadata(self, partition: int) -> str | None:
        try:
            # As in `_rewind`, the broker answers only after pending offset commits have ended.
            (position,) = self._consumer.committed([TopicPartition(self._topic, partition)], timeout=_COMMITTED_S)
            error: KafkaError | None = position.error
        except KafkaException as failure:
            error = failure.args[0]
        if error is not None:
            raise HistoryUnavailableError(f"committed offset of {self._topic}[{partition}]: {error.str()}")
        metadata: str | None = position.metadata
        return metadata

    def _rewind(self) -> bool:
        """Seek every partition to its committed offset, or to the beginning if it has none; False if that failed."""
        try:
            # With isolation.level read_committed the broker answers only after pending offset commits have ended.
            positions = self._consumer.committed(self._consumer.assignment(), timeout=_COMMITTED_S)
            failure: KafkaError | None = next((tp.error for tp in positions if tp.error is not None), None)
            for tp in positions if failure is None else ():
                offset = tp.offset if tp.offset >= 0 else OFFSET_BEGINNING
                self._consumer.seek(TopicPartition(tp.topic, tp.partition, offset))
        except KafkaException as error:
            failure = error.args[0]
        if failure is not None:
            _log.warning("cannot go back to the committed offsets (%s); trying again", failure.str())
        return failure is None

    # The client calls these inside consume(). Positions come from the committed offsets.

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.info("assigned %s", _partition_names(partitions))
        self._is_lost = False
        self._components.watch.assigned((tp.topic, tp.partition) for tp in partitions)
        for tp in partitions:
            self._recall.forget(tp.partition)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.info("revoked %s", _partition_names(partitions))
        self._commit_scored()
        self._release(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.warning("lost %s: this scorer was too slow or disconnected from its group", _partition_names(partitions))
        self._is_lost = True
        self._discard()
        self._release(partitions)

    def _release(self, partitions: list[TopicPartition]) -> None:
        self._components.watch.revoked((tp.topic, tp.partition) for tp in partitions)
        self._components.resets.forget((tp.topic, tp.partition) for tp in partitions)
        for tp in partitions:
            self._recall.forget(tp.partition)


def _other_log_error(event: EventPosition, features_topic: str, predictions_topic: str) -> PenstockError:
    """The error for a raw topic that was deleted and created again while its predictions were kept."""
    return PenstockError(
        f"topic {event.topic} was made anew: another event was scored at the same offset",
        where=f"{event.topic}[{event.partition}]@{event.offset}",
        safe="every committed batch; no event of the new topic was skipped",
        next=f"delete the topics {features_topic}, {predictions_topic} and {predictions_topic}.dlq too, or give the "
        "pipeline another name",
    )


def _partition_names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{tp.topic}[{tp.partition}]" for tp in partitions) or "nothing"
