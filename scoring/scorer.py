"""The scoring consumer: features in, predictions out, exactly once.

One thread takes a micro-batch from Kafka, scores what is new in it with one call to Triton, and writes predictions,
dead letters and the batch's offsets in one transaction. No batch is under way while partitions change hands: that
happens only inside ``consume``. Whatever kills the process leaves the batch either committed or to be read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.records import Consumed, Produced
from penstock.kafka.transactions import AbortedError, OutcomeUnknownError, TransactionalProducer
from schemas.codec import Decoder
from scoring.batch import Candidate, Decoded, answered, decode, unscored
from scoring.history import HistoryUnavailableError, PredictionHistory
from scoring.inference import FALLBACK, PRIMARY, Inference
from scoring.memory import PartitionMemory, Source
from scoring.metrics import Metrics
from scoring.predictions import Answer, PredictionWriter
from scoring.vectors import Vectorizer

_log = logging.getLogger(__name__)

# How long an idle scorer waits for the next record before it looks whether it is to stop.
_IDLE_S = 0.2
# For the transaction of one batch: less than transaction.timeout.ms, or the broker would abort it under our hands.
_WRITE_S = 20.0
# To ask for committed offsets: short, because nothing is consumed meanwhile.
_COMMITTED_S = 5.0
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Limits:
    """The batch knobs: at most ``max_batch`` records, collected for at most ``linger_s`` seconds."""

    max_batch: int
    linger_s: float


@dataclass(frozen=True)
class Parts:
    """What a scorer is made of; each is owned, and closed, by who made it."""

    consumer: Consumer
    producer: TransactionalProducer
    history: PredictionHistory
    inference: Inference
    decoder: Decoder
    vectorizer: Vectorizer
    writer: PredictionWriter
    metrics: Metrics
    watch: LagWatch


class Scorer:
    """Runs one instance of a pipeline's scorer.

    Args:
        features_topic: The topic to score.
        parts: What it works with.
        limits: The batch knobs.
        now: Wall-clock epoch milliseconds.
        wait: Sleeps that many seconds, or less when the process is to stop.
        stopping: Whether it is to stop: the batch under way is finished first.
    """

    def __init__(
        self,
        features_topic: str,
        parts: Parts,
        limits: Limits,
        *,
        now: Callable[[], int],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._topic = features_topic
        self._parts = parts
        self._consumer = parts.consumer
        self._metrics = parts.metrics
        self._limits = limits
        self._now = now
        self._wait = wait
        self._stopping = stopping
        self._memories: dict[int, PartitionMemory] = {}
        self._astray = False  # positions are not those committed

    def run(self) -> None:
        """Score until told to stop.

        Raises:
            PenstockError: for what no retry can mend; nothing is lost by it, and a restart goes on from there.
        """
        if not self._parts.producer.start():
            return
        self._parts.watch.started()
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        idle = True
        while not self._stopping():
            if self._astray:
                self._wait(_PAUSE_S)
                self._astray = not self._rewound()
            # When idle, the next record is taken as soon as it comes; under load, what comes within the linger. Each
            # batch is the yield of one call, so that no rebalance can take a partition away from half of it.
            messages = (
                self._consumer.consume(1, timeout=_IDLE_S)
                if idle
                else self._consumer.consume(self._limits.max_batch, timeout=self._limits.linger_s)
            )
            # Taken here: if the group moves on while the batch is scored, its offsets are refused.
            group = self._consumer.consumer_group_metadata() if messages else None
            batch = [_consumed(message) for message in messages if not self._is_event(message)]
            idle = not batch
            # While astray what comes is dropped, and comes again; consuming goes on, or the group would think us dead.
            if batch and not self._astray:
                self._astray = not self._score(batch, group)

    def _score(self, batch: list[Consumed], group: Any) -> bool:
        """Take one batch through all stages; False if it was not committed, or may not have been."""
        metrics, parts, now = self._metrics, self._parts, self._now()
        metrics.batch(len(batch))
        with metrics.stage("decode"):
            decoded = decode(batch, parts.decoder, parts.writer, now)
        try:
            with metrics.stage("recall"):
                fresh = unscored(decoded.candidates, self._known(decoded.candidates))
        except HistoryUnavailableError as error:
            _log.warning("what is already scored cannot be told (%s); the batch is read again", error)
            return False
        with metrics.stage("infer"):
            vectors = parts.vectorizer.vectors([candidate.record for candidate in fresh])
            answers = parts.inference.answers(vectors) if fresh else []
        with metrics.stage("encode"):
            predictions, unscorable = answered(fresh, vectors, answers, parts.writer, self._now())
        records = [*predictions, *decoded.dead_letters, *unscorable]
        with metrics.stage("commit"):
            committed = self._commit(records, batch, group)
        if committed:
            self._remember(fresh)
            self._count(decoded, fresh, answers, len(unscorable))
            parts.watch.done({(self._topic, partition): end for partition, end in _ends(batch).items()})
        return committed

    def _known(self, candidates: Sequence[Candidate]) -> list[Source]:
        """Those of the candidates' events that are already scored."""
        known = []
        for partition, sources in _by_partition(candidates).items():
            memory = self._memories.setdefault(partition, PartitionMemory())
            since = memory.missing_before(sources)
            if since is not None:
                scored = self._parts.history.scored(partition, since)
                memory.extend(since, scored)
                _log.debug("partition %d: %d scored events from %d on", partition, len(scored), since)
            known += [source for source in sources if source in memory]
        return known

    def _commit(self, records: list[Produced], batch: list[Consumed], group: Any) -> bool:
        """Write all or nothing; False if it was nothing, or is not known."""
        ends = _ends(batch)
        offsets = [TopicPartition(self._topic, partition, end) for partition, end in ends.items()]
        try:
            self._parts.producer.write(records, offsets, group, _WRITE_S)
        except AbortedError as error:
            self._metrics.transaction_failures["aborted"].inc()
            _log.warning("transaction aborted (%s); the batch is read again", error)
            unknown = False
        except OutcomeUnknownError as error:
            self._metrics.transaction_failures["unknown"].inc()
            _log.warning("transaction of unknown outcome (%s); asking the broker what is committed", error)
            unknown = True
        else:
            return True
        # Only now, with the exception gone and its frames with it, can the producer that was given up be destroyed.
        if unknown:
            self._parts.producer.start()
            for partition in ends:
                self._forget(partition)
        return False

    def _remember(self, fresh: Sequence[Candidate]) -> None:
        for partition, sources in _by_partition(fresh).items():
            memory = self._memories[partition]
            memory.add(sources)
            if memory.shrink(before=min(source.timestamp for source in sources)):
                self._parts.history.forget(partition)

    def _rewound(self) -> bool:
        """Set every partition back to its committed offset (the beginning, if it has none); False if that failed."""
        try:
            # The broker lets transactions that are about to end do so first (isolation.level read_committed).
            positions = self._consumer.committed(self._consumer.assignment(), timeout=_COMMITTED_S)
            failure: KafkaError | None = next((tp.error for tp in positions if tp.error is not None), None)
            for tp in positions if failure is None else ():
                offset = tp.offset if tp.offset >= 0 else OFFSET_BEGINNING
                self._consumer.seek(TopicPartition(tp.topic, tp.partition, offset))
        except KafkaException as error:
            failure = error.args[0]
        if failure is not None:
            _log.warning("cannot go back to what is committed (%s); trying again", failure.str())
        return failure is None

    def _count(
        self, decoded: Decoded, fresh: Sequence[Candidate], answers: Sequence[Answer | None], unscorable: int
    ) -> None:
        routes = [answer.route for answer in answers if answer is not None]
        for route in (PRIMARY, FALLBACK):
            self._metrics.scored[route].inc(routes.count(route))
        self._metrics.skipped["again"].inc(len(decoded.candidates) - len(fresh))
        self._metrics.skipped["timer"].inc(decoded.timers)
        self._metrics.dead_letters["decode"].inc(len(decoded.dead_letters))
        self._metrics.dead_letters["infer"].inc(unscorable)
        if fresh:
            oldest = min(candidate.source.timestamp for candidate in fresh)
            self._metrics.age.observe(max(0, self._now() - oldest) / 1000)

    # Called from inside consume(), when no batch is under way. Positions come from the committed offsets.

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.info("assigned %s", _names(partitions))
        self._parts.watch.assigned((tp.topic, tp.partition) for tp in partitions)
        for tp in partitions:
            self._forget(tp.partition)

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.info("revoked %s", _names(partitions))
        self._gone(partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.warning("lost %s: this scorer was too slow for its group, or cut off from it", _names(partitions))
        self._gone(partitions)

    def _gone(self, partitions: list[TopicPartition]) -> None:
        self._parts.watch.revoked((tp.topic, tp.partition) for tp in partitions)
        for tp in partitions:
            self._forget(tp.partition)

    def _forget(self, partition: int) -> None:
        self._memories.pop(partition, None)
        self._parts.history.forget(partition)

    def _is_event(self, message: Message) -> bool:
        """Whether a message is no record but news from the client, which is dealt with here."""
        error: KafkaError | None = message.error()
        if error is None:
            return False
        if error.fatal() or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):  # noqa: SLF001 - public
            raise PenstockError(
                f"the consumer cannot go on: {error.str()}",
                where=self._topic,
                safe="every committed batch; nothing of another was written",
                next="give each scorer its own --instance, if another runs under this one's",
            )
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise PenstockError(
                f"topic {self._topic} is gone",
                where=self._topic,
                next="penstock topics create PIPELINE, then start again",
            )
        _log.warning("%s: %s", self._topic, error.str())
        return True


def consumer_config(kafka: KafkaAccess, group: str, instance: str) -> dict[str, Any]:
    """The consumer's settings, each with its reason."""
    return {
        **kafka.client(),
        "group.id": group,
        # Static membership: a scorer that is killed and started again gets its partitions back at once, without a
        # rebalance; and a process that outlived its place in the group cannot commit, because its name is fenced.
        "group.instance.id": f"{group}-{instance}",
        "client.id": f"{group}-{instance}",
        "partition.assignment.strategy": "cooperative-sticky",
        # Offsets belong to the transactions.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # A new group starts with the oldest feature record: no event may be missed.
        "auto.offset.reset": "earliest",
        # Default 45 s: how long the partitions of a killed scorer, that is not started again, lie idle.
        "session.timeout.ms": 10_000,
        # Default 5 min. The first batch after a re-emission waits until the predictions since then are read.
        "max.poll.interval.ms": 600_000,
        # Default 500: how long a partition that was rewound or assigned waits for the fetch that is under way.
        "fetch.wait.max.ms": 10,
        # Defaults 100 and 10 000: a broker that is away is tried, and complained about, twice a second and not twenty
        # times; and one that was away for long is found again within 2 s.
        "reconnect.backoff.ms": 1_000,
        "reconnect.backoff.max.ms": 2_000,
        # Default rebootstrap: when no broker is left, all are forgotten and learnt again; but what was asked of the old
        # ones, such as committed offsets, is then never answered (librdkafka#5511 tells of one such case).
        "metadata.recovery.strategy": "none",
        # Default 1000: a full local queue would stop fetching for a second, longer than it lasts.
        "fetch.queue.backoff.ms": 10,
    }


def _consumed(message: Message) -> Consumed:
    return Consumed(
        message.topic(), message.partition(), message.offset(), message.key(), message.value(), message.headers() or []
    )


def _ends(batch: Sequence[Consumed]) -> dict[int, int]:
    return {consumed.partition: consumed.offset + 1 for consumed in batch}


def _by_partition(candidates: Sequence[Candidate]) -> dict[int, list[Source]]:
    sources: dict[int, list[Source]] = {}
    for candidate in candidates:
        sources.setdefault(candidate.consumed.partition, []).append(candidate.source)
    return sources


def _names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{tp.topic}[{tp.partition}]" for tp in partitions) or "nothing"
