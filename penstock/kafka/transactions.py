"""Kafka transactions: one call writes a batch and its offsets, all or nothing.

A call that fails says which of the two it was, or that it is unknown. The rules are pure (:func:`choose_recovery`,
:class:`Deadline`); :class:`TransactionalProducer` applies them to librdkafka. When the outcome is unknown, the caller
starts a new producer with the same transactional id. That fences the old producer and ends its transaction; the
committed offsets on the broker then tell whether the batch was written.

A producer whose last commit or abort may have been sent twice is replaced before its next transaction, see
:mod:`penstock.kafka.end_watch`.

Which records belong into a transaction is the caller's decision: nothing here knows about scoring or drift.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.call_timeout import CallTimeoutError, call_with_timeout
from penstock.kafka.end_watch import EndWatch, WatchedLog
from penstock.kafka.records import MAX_RECORD_BYTES, Produced

_log = logging.getLogger(__name__)

# The broker refuses the record itself: a retry would fail again, and skipping the record would leave a gap.
_REFUSED = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG}
)
_NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# Pause before a retriable call is repeated; librdkafka has its own backoff inside each call.
_PAUSE_S = 0.01
# How much longer than its timeout a call may take before it is abandoned.
_GRACE_S = 1.0
_ABORT_S = 10.0
# What a process that shall stop still gives to the transaction in progress: an answer takes milliseconds, and a batch
# that is not committed is read again. Containers are killed 30 s after they were told to stop.
_STOP_S = 5.0


class Recovery(enum.Enum):
    """How to recover from a failed call."""

    RETRY = "repeat the call until the deadline"
    ABORT = "abort: nothing of the batch was written"
    RENEW = "start a new producer: it is unknown whether the batch was written"
    STOP = "no retry can help, or another process has this instance's name"


def choose_recovery(error: KafkaError, *, committing: bool, expired: bool) -> Recovery:
    """The recovery from an error of a transactional call.

    A commit that timed out is not repeated: without KIP-890 its EndTxn may still arrive and end the next transaction.
    Any other retriable error is repeated until the deadline.

    Args:
        error: The error.
        committing: Whether the call commits the transaction.
        expired: Whether the deadline has expired.
    """
    code = error.code()
    if code == KafkaError.FENCED_INSTANCE_ID or code in _NOT_ALLOWED:
        return Recovery.STOP
    if error.txn_requires_abort():
        return Recovery.ABORT
    if error.fatal() or code in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED):  # noqa: SLF001 - public, in spite of _
        return Recovery.RENEW
    if committing and code == KafkaError._TIMED_OUT:  # noqa: SLF001
        return Recovery.RENEW
    if error.retriable():
        return Recovery.RENEW if expired else Recovery.RETRY
    return Recovery.RENEW


@dataclass(frozen=True)
class Deadline:
    """A point of monotonic time, shared by all calls that must end before it."""

    at: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float]) -> Deadline:
        """The deadline ``seconds`` from now on ``clock`` (monotonic seconds)."""
        return cls(clock() + seconds, clock)

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.remaining_s == 0.0


class TransactionAbortedError(Exception):
    """The transaction was aborted: nothing was written, and the batch must be read again."""


class OutcomeUnknownError(Exception):
    """The producer was discarded: only the broker knows whether the batch was written."""


class RecordRefusedError(PenstockError):
    """Kafka refuses a record for what it is, such as its length: the same batch would be refused again."""


class InstanceFencedError(PenstockError):
    """Another process has joined the consumer group as the same instance: this one must end."""


class TransactionClient(Protocol):
    """The methods of confluent-kafka's Producer that transactions need."""

    def init_transactions(self, timeout: float, /) -> None: ...  # noqa: D102
    def begin_transaction(self) -> None: ...  # noqa: D102
    def send_offsets_to_transaction(self, positions: list[Any], group_metadata: Any, timeout: float, /) -> None: ...  # noqa: D102
    def commit_transaction(self, timeout: float, /) -> None: ...  # noqa: D102
    def abort_transaction(self, timeout: float, /) -> None: ...  # noqa: D102
    def produce(self, topic: str, value: bytes | None, /, **rest: Any) -> None: ...  # noqa: D102
    def poll(self, timeout: float, /) -> int: ...  # noqa: D102


class TransactionalProducer:
    """Writes batches exactly once under one transactional id.

    Args:
        create: Makes a producer that calls back the watch; called again after a producer was discarded.
        transactional_id: For messages only; ``create`` configures it.
        clock: Monotonic seconds.
        wait: Sleeps that many seconds, or less if the process shall stop.
        pause: Sleeps that many seconds in any case, so that retries do not spin while the process stops.
        stopping: Whether the process shall stop; ends the wait for an unreachable broker at once, and a transaction
            after a few seconds.
        on_replaced: Called with one of :data:`~penstock.kafka.end_watch.DOUBTS` when a producer is replaced because an
            end may have been sent twice.
        shared: Whether other processes write under this id, too, each after it has read what the others wrote. A
            producer in doubt is then only discarded: the caller reads again after it has started the next.
    """

    def __init__(
        self,
        create: Callable[[EndWatch], TransactionClient],
        transactional_id: str,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
        pause: Callable[[float], object] = time.sleep,
        on_replaced: Callable[[str], None] = lambda _doubt: None,
        shared: bool = False,
    ) -> None:
        self._create = create
        self._id = transactional_id
        self._clock = clock
        self._wait = wait
        self._stopping = stopping
        self._pause = pause
        self._stop_at: float | None = None
        self._on_replaced = on_replaced
        self._shared = shared
        self._producer: TransactionClient | None = None
        self._watch = EndWatch(clock)

    def start(self) -> bool:
        """Start a producer: fences every earlier producer of this id, and aborts its open transaction.

        Waits for an unreachable broker; returns False if the process shall stop meanwhile.

        Raises:
            PenstockError: if the broker does not allow this transactional id.
        """
        self._producer = None  # destroyed before its successor exists
        pause = 0.1
        while not self._stopping():
            watch = EndWatch(self._clock)
            producer = self._create(watch)
            try:
                producer.init_transactions(10.0)
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.code() in _NOT_ALLOWED:
                    raise _not_allowed(self._id, error) from failure
                _log.warning("transactional id %s cannot be initialised (%s); trying again", self._id, error.str())
                del producer
                self._wait(pause)
                pause = min(pause * 2, 5.0)
            else:
                self._producer, self._watch = producer, watch
                return True
        return False

    def serve(self) -> None:
        """Take in what the client tells between transactions; it keeps that in memory until then. Never waits."""
        if self._producer is not None:
            self._producer.poll(0)
            self._watch.settle()

    def write(
        self, records: Sequence[Produced], offsets: list[TopicPartition], group_metadata: Any, timeout_s: float
    ) -> None:
        """Write ``records`` and commit ``offsets`` for the consumer group, in one transaction.

        Args:
            records: The records; none is copied.
            offsets: The offsets to commit; if empty, the transaction has records only.
            group_metadata: The consumer group's, as of when the batch was consumed.
            timeout_s: The time limit of all calls together, in seconds.

        Raises:
            TransactionAbortedError: nothing was written.
            OutcomeUnknownError: the producer was discarded; call :meth:`start`, then read the committed offsets.
            RecordRefusedError: the broker refuses a record, permanently. Nothing was written.
            InstanceFencedError: the broker fences this instance, permanently. Nothing was written.
            PenstockError: the broker does not allow it. Nothing was written.
        """
        self._replace_if_in_doubt(may_renew=bool(offsets) and not self._shared)
        producer = self._producer
        if producer is None:
            raise OutcomeUnknownError("no producer")
        deadline = Deadline.after(timeout_s, self._clock)

        refused: list[tuple[Produced, KafkaError]] = []
        try:
            self._retry(deadline, producer.begin_transaction)
            _produce(producer, records, lambda: self._expired(deadline), refused)
            if offsets:
                self._retry(
                    deadline,
                    self._within(
                        deadline, lambda left: producer.send_offsets_to_transaction(offsets, group_metadata, left)
                    ),
                )
            with self._watch.ending():
                self._retry(deadline, self._within(deadline, producer.commit_transaction), committing=True)
        except _AbortRequiredError as abort:
            self._abort(producer)
            if refused:
                raise _record_refused(*refused[0]) from abort
            raise TransactionAbortedError(abort.error.str()) from abort
        except OutcomeUnknownError as unknown:
            if refused:
                # The commit waited in vain for the records behind the refused one, and was never sent.
                with contextlib.suppress(OutcomeUnknownError):
                    self._abort(producer)
                raise _record_refused(*refused[0]) from unknown
            self._producer = None
            raise
        except CallTimeoutError as error:
            self._producer = None
            raise OutcomeUnknownError(str(error)) from error
        except PenstockError:
            # The process will end: abort now, or readers would wait until the transaction times out.
            with contextlib.suppress(OutcomeUnknownError):
                self._abort(producer)
            raise

    def _replace_if_in_doubt(self, *, may_renew: bool) -> None:
        """Replace the producer if its last end may have been sent twice, so that the broker refuses the late copy.

        Only the group's generation, which the offsets carry, tells a process that was cut off from the owner. Without
        offsets, a producer that renews itself could fence the new owner: the caller decides.
        """
        self.serve()
        doubt = self._watch.doubt
        if self._producer is None or doubt is None:
            return
        _log.warning(
            "transactional id %s: the end of its last transaction may have been sent twice (%s); the next transaction "
            "begins with a new producer",
            self._id,
            doubt,
        )
        self._on_replaced(doubt)
        self._producer = None
        if not may_renew:
            raise OutcomeUnknownError("the end of the last transaction may have been sent twice")
        if not self.start():
            raise TransactionAbortedError("stopping")

    def _retry(self, deadline: Deadline, call: Callable[[], None], *, committing: bool = False) -> None:
        while True:
            try:
                call()
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                match choose_recovery(error, committing=committing, expired=self._expired(deadline)):
                    case Recovery.RETRY:
                        self._pause(_PAUSE_S)
                    case Recovery.ABORT:
                        raise _AbortRequiredError(error) from failure
                    case Recovery.RENEW:
                        raise OutcomeUnknownError(error.str()) from failure
                    case Recovery.STOP:
                        raise _not_allowed(self._id, error) from failure
            else:
                return

    def _within(self, deadline: Deadline, request: Callable[[float], None]) -> Callable[[], None]:
        """A call with the time that is left, which is abandoned if it does not return or the process stops for long."""

        def call() -> None:
            left = max(deadline.remaining_s, 0.1)
            call_with_timeout(left + _GRACE_S, lambda: request(left), self._stops_for_long)

        return call

    def _expired(self, deadline: Deadline) -> bool:
        return deadline.expired or self._stops_for_long()

    def _stops_for_long(self) -> bool:
        if self._stop_at is None and self._stopping():
            self._stop_at = self._clock() + _STOP_S
        return self._stop_at is not None and self._clock() >= self._stop_at

    def _abort(self, producer: TransactionClient) -> None:
        """Abort the transaction; if that fails, discard the producer: its successor fences it.

        Raises:
            OutcomeUnknownError: if the transaction could not be aborted.
        """
        try:
            with self._watch.ending():
                producer.abort_transaction(_STOP_S if self._stopping() else _ABORT_S)
        except KafkaException as failure:
            self._producer = None
            raise OutcomeUnknownError(f"abort failed: {failure.args[0].str()}") from failure


def _produce(
    producer: TransactionClient,
    records: Sequence[Produced],
    expired: Callable[[], bool],
    refused: list[tuple[Produced, KafkaError]],
) -> None:
    """Pass the records to the client; adds those to ``refused`` that the broker refuses for what they are."""

    # One function for all records: one for each would add a quarter to what passing a record to the client takes.
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() in _REFUSED:
            refused.append((_record_of(message, records), error))

    produce = producer.produce
    for record in records:
        topic, partition, key, value, headers, timestamp, _ = record
        while True:
            try:
                produce(
                    topic,
                    value,
                    key=key,
                    partition=partition,
                    headers=headers,
                    timestamp=timestamp,
                    on_delivery=delivered,
                )
            except BufferError:  # librdkafka's queue is full: wait until it drains
                if expired():
                    raise OutcomeUnknownError("the producer's queue stayed full") from None
                producer.poll(_PAUSE_S)
            except KafkaException as failure:
                error = failure.args[0]
                if error.code() in _REFUSED:
                    refused.append((record, error))
                raise _AbortRequiredError(error) from failure
            else:
                break


def _record_of(message: Message, records: Sequence[Produced]) -> Produced:
    """The first of the records that the message holds."""
    held = message.topic(), message.partition(), message.key() or b"", message.value() or b""
    return next(r for r in records if (r.topic, r.partition, r.key or b"", r.value or b"") == held)


class _AbortRequiredError(Exception):
    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error


def producer_factory(
    kafka: KafkaAccess, transactional_id: str, *, quiet: bool = False
) -> Callable[[EndWatch], Producer]:
    """A function that makes producers for :class:`TransactionalProducer`, each setting with its reason.

    Args:
        kafka: How to reach Kafka.
        transactional_id: The transactional id.
        quiet: Log fatal errors only: for a process with many producers, which would all log the same.
    """
    config = {
        **kafka.client(),
        "transactional.id": transactional_id,
        # Default 100: after each commit the broker answers CONCURRENT_TRANSACTIONS until its markers are written, and
        # the next transaction would wait 100 ms. With 1, a commit takes about 3 ms instead of about 100.
        "retry.backoff.ms": 1,
        # The limit of the exponential backoff: ask an unreachable broker five times a second, not a thousand times.
        "retry.backoff.max.ms": 200,
        # Defaults 100 and 10 000: as for the consumer.
        "reconnect.backoff.ms": 1_000,
        "reconnect.backoff.max.ms": 2_000,
        # Default rebootstrap: when no broker is left, the client discards all brokers and starts over, and then sends
        # the group's offsets to a discarded one forever (librdkafka#5511). `call_with_timeout` covers other causes.
        "metadata.recovery.strategy": "none",
        # Until this timeout, the open transaction of a killed process hides all later records from read-committed
        # readers. It must exceed the time limit of `write`, and message.timeout.ms may not exceed it.
        "transaction.timeout.ms": 30_000,
        "message.timeout.ms": 20_000,
        # The commit flushes a whole batch at once, so waiting for more records (default 5) only adds latency.
        "linger.ms": 0,
        # Vectors of nearby events are similar; lz4 costs little and halves the topic.
        "compression.type": "lz4",
        # A successful delivery needs no call into Python per record.
        "delivery.report.only.error": True,
        # The topic limits the size: a dead letter may be as large as any record that was accepted before.
        "message.max.bytes": MAX_RECORD_BYTES,
        "client.id": transactional_id,
        # The only way to see a request that was sent again without a word, as when the coordinator moved.
        "statistics.interval.ms": 1_000,
    }
    least = logging.CRITICAL if quiet else logging.INFO
    return lambda watch: Producer(
        {**config, "error_cb": watch.on_error, "stats_cb": watch.on_statistics}, logger=WatchedLog(watch, _log, least)
    )


def _record_refused(record: Produced, error: KafkaError) -> RecordRefusedError:
    return RecordRefusedError(
        f"Kafka refuses the record written for this one: {error.str()}",
        where=str(record.origin),
        safe="nothing of the batch was written, and its offsets are not committed",
        next=f"set max.message.bytes (or message.timestamp.after.max.ms) of topic {record.topic}, and start again",
    )


def _not_allowed(transactional_id: str, error: KafkaError) -> PenstockError:
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        return InstanceFencedError(
            "another process of the same instance has replaced this one",
            where=transactional_id,
            safe="nothing of this process's last batch was written",
            next="give each process of this service its own --instance",
        )
    return PenstockError(
        f"Kafka does not allow the transaction: {error.str()}",
        where=transactional_id,
        safe="nothing of the last batch was written",
        next="grant this user the topics, the group and the transactional id",
    )
