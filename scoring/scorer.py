"""The scoring consumer: reads feature records and writes predictions, exactly once.

One thread consumes a micro-batch, drops events that are already scored, scores the others with one call to the model
server, and writes predictions, dead letters and the batch's offsets in one transaction. Rebalances happen only inside
``consume``, when no batch is in progress. A process that is killed at any moment leaves its batch either committed or
to be read again.

:mod:`scoring.service` makes the components and closes them; this module only runs them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.gaps import NO_RESET
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.records import Consumed, Produced
from penstock.kafka.retention import OffsetResets
from penstock.kafka.transactions import OutcomeUnknownError, TransactionAbortedError, TransactionalProducer
from schemas.codec import Decoder
from scoring.batch import Candidate, DecodedBatch, decode, deduplicate, encode_results
from scoring.decision import is_score
from scoring.history import HistoryUnavailableError, PredictionHistory
from scoring.inference import FALLBACK, PRIMARY, Inference
from scoring.memory import EventPosition
from scoring.predictions import InferenceResult, PredictionWriter
from scoring.recall import OtherLogError, Recall
from scoring.scorer_metrics import ScorerMetrics
from scoring.vectors import Vectorizer

_log = logging.getLogger(__name__)

# How long an idle scorer waits for the next record before it checks whether to stop.
_IDLE_S = 0.2
# Time limit of a batch's transaction: less than transaction.timeout.ms, or the broker would abort it first.
_WRITE_S = 20.0
# Time limit for reading committed offsets: short, because nothing is consumed meanwhile.
_COMMITTED_S = 5.0
# Pause before the offsets are read again.
_PAUSE_S = 0.5


@dataclass(frozen=True)
class BatchLimits:
    """A batch has at most ``max_batch`` records, collected for at most ``linger_s`` seconds."""

    max_batch: int
    linger_s: float


@dataclass(frozen=True)
class ScorerComponents:
    """The components of a scorer. Their creator owns and closes them."""

    consumer: Consumer
    producer: TransactionalProducer
    history: PredictionHistory
    inference: Inference
    decoder: Decoder
    vectorizer: Vectorizer
    writer: PredictionWriter
    metrics: ScorerMetrics
    watch: LagWatch
    resets: OffsetResets


class Scorer:
    """Runs one instance of a pipeline's scorer.

    Args:
        features_topic: The topic of feature records.
        raw_topic: The topic of the events that they are of.
        components: Consumer, producer, model and the rest.
        limits: The limits of a batch.
        now: Wall-clock epoch milliseconds.
        wait: Sleeps that many seconds, or less if the process shall stop.
        stopping: Whether the process shall stop; the current batch is finished first.
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
        self._consumer = components.consumer
        self._metrics = components.metrics
        self._limits = limits
        self._now = now
        self._wait = wait
        self._stopping = stopping
        self._recall = Recall(raw_topic, components.history, self._committed_metadata, clock=time.monotonic)
        self._rewind_needed = False  # the consumer's positions are not the committed offsets

    def run(self) -> None:
        """Score until told to stop.

        Raises:
            PenstockError: if no retry can help. No committed result is lost; a restart continues after the last batch.
        """
        components = self._components
        if not components.producer.start():
            return
        components.watch.started()
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        idle = True
        while not self._stopping():
            components.producer.serve()
            for partition, gap in components.resets.place(self._consumer).items():
                if gap is not None:
                    components.watch.done({partition: gap.earliest})
            if self._rewind_needed:
                self._wait(_PAUSE_S)
                self._rewind_needed = not self._rewind()
            # An idle scorer takes the next record as soon as it arrives; under load it collects for the linger time.
            # Each batch is the result of one call, so that no rebalance can revoke a partition in the middle of it.
            messages = (
                self._consumer.consume(1, timeout=_IDLE_S)
                if idle
                else self._consumer.consume(self._limits.max_batch, timeout=self._limits.linger_s)
            )
            # The group's generation as of this batch: if the group rebalances later, the broker refuses the offsets.
            group = self._consumer.consumer_group_metadata() if messages else None
            batch = [_to_record(message) for message in messages if self._is_record(message)]
            idle = not batch
            # Until the rewind succeeds, records are dropped and will be read again. Consuming continues all the same:
            # a consumer that stopped polling would be removed from its group.
            if batch and not self._rewind_needed:
                self._rewind_needed = not self._score(batch, group)

    def _score(self, batch: list[Consumed], group: Any) -> bool:
        """Score and commit a batch; False if it was not committed, or if that is unknown."""
        metrics, components, now = self._metrics, self._components, self._now()
        metrics.observe_batch(len(batch))
        with metrics.time_stage("decode"):
            decoded = decode(batch, components.decoder, components.writer, now)
        try:
            with metrics.time_stage("recall"):
                for partition in _next_offsets(batch):
                    self._recall.prepare(partition)
                unscored = deduplicate(decoded.candidates, self._scored(decoded.candidates))
        except HistoryUnavailableError as error:
            _log.warning("cannot tell which events are already scored (%s); the batch is read again", error)
            return False
        with metrics.time_stage("infer"):
            vectors = components.vectorizer.vectors([candidate.record for candidate in unscored])
            results = components.inference.infer(vectors) if unscored else []
        with metrics.time_stage("encode"):
            predictions, unscorable = encode_results(unscored, vectors, results, components.writer, self._now())
        records = [*predictions, *decoded.dead_letters, *unscorable]
        with metrics.time_stage("commit"):
            committed = self._commit(records, batch, unscored, group)
        if committed:
            for partition, events in _events_by_partition(unscored).items():
                self._recall.remember(partition, events)
            self._record_metrics(decoded, unscored, results, len(unscorable))
            components.watch.done({(self._topic, partition): end for partition, end in _next_offsets(batch).items()})
        return committed

    def _scored(self, candidates: Sequence[Candidate]) -> list[EventPosition]:
        """Those of the candidates' events that are already scored.

        Raises:
            HistoryUnavailableError: if it cannot be told now.
            PenstockError: if the raw topic was made anew.
        """
        try:
            return [
                event
                for partition, events in _events_by_partition(candidates).items()
                for event in self._recall.scored(partition, events)
            ]
        except OtherLogError as error:
            raise _other_log_error(error.event, self._topic, self._components.writer.topic) from error

    def _commit(
        self, records: list[Produced], batch: list[Consumed], unscored: Sequence[Candidate], group: Any
    ) -> bool:
        """Write the records and commit the batch's offsets; False if nothing was written, or if that is unknown."""
        next_offsets = _next_offsets(batch)
        events = _events_by_partition(unscored)
        offsets = [
            TopicPartition(self._topic, partition, offset, self._recall.metadata(partition, events.get(partition, ())))
            for partition, offset in next_offsets.items()
        ]
        try:
            self._components.producer.write(records, offsets, group, _WRITE_S)
        except TransactionAbortedError as error:
            self._metrics.transaction_failures["aborted"].inc()
            _log.warning("transaction aborted (%s); the batch is read again", error)
            unknown = False
        except OutcomeUnknownError as error:
            self._metrics.transaction_failures["unknown"].inc()
            _log.warning("transaction with unknown outcome (%s); asking the broker what is committed", error)
            unknown = True
        else:
            return True
        # Outside the except block: its exception refers to frames that keep the discarded producer alive, and the
        # producer must be destroyed before its successor is made.
        if unknown:
            self._components.producer.start()
            for partition in next_offsets:
                self._recall.forget(partition)
        return False

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

    def _record_metrics(
        self,
        decoded: DecodedBatch,
        scored: Sequence[Candidate],
        results: Sequence[InferenceResult | None],
        unscorable: int,
    ) -> None:
        routes = [result.route for result in results if result is not None and is_score(result.score)]
        for route in (PRIMARY, FALLBACK):
            self._metrics.scored[route].inc(routes.count(route))
        self._metrics.skipped["again"].inc(len(decoded.candidates) - len(scored))
        self._metrics.skipped["timer"].inc(decoded.timers)
        self._metrics.dead_letters["decode"].inc(len(decoded.dead_letters))
        self._metrics.dead_letters["infer"].inc(unscorable)
        if scored:
            oldest = min(candidate.event.timestamp for candidate in scored)
            self._metrics.age.observe(max(0, self._now() - oldest) / 1000)

    # The client calls these inside consume(), when no batch is in progress. Positions come from the committed offsets.

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.info("assigned %s", _partition_names(partitions))
        self._components.watch.assigned((tp.topic, tp.partition) for tp in partitions)
        for tp in partitions:
            self._recall.forget(tp.partition)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.info("revoked %s", _partition_names(partitions))
        self._release(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.warning("lost %s: this scorer was too slow or disconnected from its group", _partition_names(partitions))
        self._release(partitions)

    def _release(self, partitions: list[TopicPartition]) -> None:
        self._components.watch.revoked((tp.topic, tp.partition) for tp in partitions)
        self._components.resets.forget((tp.topic, tp.partition) for tp in partitions)
        for tp in partitions:
            self._recall.forget(tp.partition)

    def _is_record(self, message: Message) -> bool:
        """False for an error event of the client, which is logged, or raised if no retry can help.

        Raises:
            PenstockError: if the consumer is fenced or fails for good, or if the topic is gone.
        """
        error: KafkaError | None = message.error()
        if error is None:
            return True
        if self._components.resets.takes(message):
            return False
        if error.fatal() or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):  # noqa: SLF001 - public
            raise PenstockError(
                f"the consumer cannot continue: {error.str()}",
                where=self._topic,
                safe="every committed batch; nothing of any other batch was written",
                next="give each process of this service its own --instance, if two have the same",
            )
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise PenstockError(
                f"topic {self._topic} is gone",
                where=self._topic,
                next="penstock topics create PIPELINE, then start again",
            )
        _log.warning("%s: %s", self._topic, error.str())
        return False


def consumer_config(kafka: KafkaAccess, group: str, instance: str) -> dict[str, Any]:
    """The settings of the scorer's consumer, each with its reason."""
    return {
        **kafka.client(),
        "group.id": group,
        # Static membership: a scorer that is killed and restarted gets its partitions back at once, without a
        # rebalance; and a process that has lost its membership cannot commit, because its instance id is fenced.
        "group.instance.id": f"{group}-{instance}",
        "client.id": f"{group}-{instance}",
        "partition.assignment.strategy": "cooperative-sticky",
        # The transactions commit the offsets.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # A new group starts at the oldest feature record, and no event is missed in silence.
        **NO_RESET,
        # Default 45 s: how long the partitions of a killed scorer that is not restarted stay unassigned.
        "session.timeout.ms": 10_000,
        # Default 5 min. The first batch of a long re-emission waits until all predictions since then are read.
        "max.poll.interval.ms": 600_000,
        # Default 500: how long a partition that was rewound or assigned waits for the fetch in progress.
        "fetch.wait.max.ms": 10,
        # Defaults 100 and 10 000: try (and log) an unreachable broker about once a second instead of twenty times, and
        # find one that was away for long within 2 s.
        "reconnect.backoff.ms": 1_000,
        "reconnect.backoff.max.ms": 2_000,
        # Default rebootstrap: when no broker is left, the client discards all brokers and starts over, and requests to
        # the old ones, such as for committed offsets, are then never answered (librdkafka#5511 is one such case).
        "metadata.recovery.strategy": "none",
        # Default 1000: a full local queue would stop fetching for a second, longer than its records last.
        "fetch.queue.backoff.ms": 10,
    }


def _to_record(message: Message) -> Consumed:
    return Consumed(
        message.topic(), message.partition(), message.offset(), message.key(), message.value(), message.headers() or []
    )


def _other_log_error(event: EventPosition, features_topic: str, predictions_topic: str) -> PenstockError:
    """The error for a raw topic that was deleted and created again while its predictions were kept."""
    return PenstockError(
        f"topic {event.topic} was made anew: another event was scored at the same offset",
        where=f"{event.topic}[{event.partition}]@{event.offset}",
        safe="every committed batch; no event of the new topic was skipped",
        next=f"delete the topics {features_topic}, {predictions_topic} and {predictions_topic}.dlq too, or give the "
        "pipeline another name",
    )


def _next_offsets(batch: Sequence[Consumed]) -> dict[int, int]:
    return {consumed.partition: consumed.offset + 1 for consumed in batch}


def _events_by_partition(candidates: Sequence[Candidate]) -> dict[int, list[EventPosition]]:
    events: dict[int, list[EventPosition]] = {}
    for candidate in candidates:
        events.setdefault(candidate.consumed.partition, []).append(candidate.event)
    return events


def _partition_names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{tp.topic}[{tp.partition}]" for tp in partitions) or "nothing"
