"""Kafka transactions: one call writes a batch and its offsets, all or nothing, and says which when it cannot.

The rules are pure (:func:`verdict`, :class:`Deadline`); :class:`TransactionalProducer` applies them to librdkafka.
After an outcome that is not known, the producer is destroyed and a new one initialised with the same transactional id,
which fences whatever the old one still had under way; the offsets committed on the broker then tell what happened.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.records import Produced

_log = logging.getLogger(__name__)

# The broker refuses these records for what they are: trying again cannot help, and skipping would be a gap.
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
# Pause before a retriable call is made again; librdkafka has its own backoff inside each call.
_PAUSE_S = 0.01
# How much longer than its timeout a call may take that does not keep to it.
_GRACE_S = 1.0


class Verdict(enum.Enum):
    """What to do about a failed call."""

    RETRY = "call again until the deadline"
    ABORT = "abort: nothing of the batch was written"
    RENEW = "a new producer: whether the batch was written is not known"
    STOP = "no retry can help, or another process has this instance's name"


def verdict(error: KafkaError, *, committing: bool, expired: bool) -> Verdict:
    """The rule for an error of a transactional call; ``committing`` is true from the call that ends the transaction.

    A commit that timed out is not tried again: without KIP-890 its EndTxn may still arrive, and hit the next
    transaction. Any other retriable error is, until the deadline has expired.
    """
    code = error.code()
    if code == KafkaError.FENCED_INSTANCE_ID or code in _NOT_ALLOWED:
        return Verdict.STOP
    if error.txn_requires_abort():
        return Verdict.ABORT
    if error.fatal() or code in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED):  # noqa: SLF001 - public, in spite of _
        return Verdict.RENEW
    if committing and code == KafkaError._TIMED_OUT:  # noqa: SLF001
        return Verdict.RENEW
    if error.retriable():
        return Verdict.RENEW if expired else Verdict.RETRY
    return Verdict.RENEW


@dataclass(frozen=True)
class Deadline:
    """A point of monotonic time, shared by everything that must fit before it."""

    at: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float]) -> Deadline:
        """The deadline ``seconds`` from now on ``clock`` (monotonic seconds)."""
        return cls(clock() + seconds, clock)

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        """Whether none are."""
        return self.left == 0.0


class AbortedError(Exception):
    """The transaction was aborted: nothing was written, the batch is to be read again."""


class OutcomeUnknownError(Exception):
    """The producer was given up: only the broker knows whether the batch was written."""


class ProducerLike(Protocol):
    """The part of confluent-kafka's Producer that transactions need."""

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
        create: Makes a producer; called again whenever one has to be given up.
        transactional_id: For messages only; ``create`` configures it.
        clock: Monotonic seconds.
        wait: Sleeps that many seconds, or less when the process is to stop.
        stopping: Whether the process is to stop; ends the wait for a broker that is away.
    """

    def __init__(
        self,
        create: Callable[[], ProducerLike],
        transactional_id: str,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._create = create
        self._id = transactional_id
        self._clock = clock
        self._wait = wait
        self._stopping = stopping
        self._producer: ProducerLike | None = None

    def start(self) -> bool:
        """Fence every earlier producer of this id, and abort what it left unfinished; False if told to stop first.

        A broker that is away is waited for.

        Raises:
            PenstockError: if the broker does not allow this transactional id.
        """
        self._producer = None  # destroyed before its successor exists
        pause = 0.1
        while not self._stopping():
            producer = self._create()
            try:
                producer.init_transactions(10.0)
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.code() in _NOT_ALLOWED:
                    raise _forbidden(self._id, error) from failure
                _log.warning("transactional id %s cannot be initialised (%s); trying again", self._id, error.str())
                del producer
                self._wait(pause)
                pause = min(pause * 2, 5.0)
            else:
                self._producer = producer
                return True
        return False

    def write(
        self, records: Iterable[Produced], offsets: list[TopicPartition], group_metadata: Any, budget_s: float
    ) -> None:
        """Write ``records`` and commit ``offsets`` for the consumer group, in one transaction, within ``budget_s``.

        Raises:
            AbortedError: nothing was written.
            OutcomeUnknownError: the producer was given up; call :meth:`start` and ask the broker for the offsets.
            PenstockError: the broker refuses a record, or fences this instance, for good. Nothing was written.
        """
        producer = self._producer
        if producer is None:
            raise OutcomeUnknownError("no producer")
        deadline = Deadline.after(budget_s, self._clock)
        refused: list[tuple[str, KafkaError]] = []
        try:
            self._call(deadline, producer.begin_transaction)
            for record in records:
                _produce(producer, record, deadline, refused)
            if offsets:
                self._call(
                    deadline,
                    lambda: _within(
                        deadline.left + _GRACE_S,
                        lambda: producer.send_offsets_to_transaction(offsets, group_metadata, max(deadline.left, 0.1)),
                    ),
                )
            self._call(deadline, lambda: producer.commit_transaction(max(deadline.left, 0.1)), committing=True)
        except _AbortError as abort:
            self._abort(producer)
            if refused:
                raise _refused(*refused[0]) from abort
            raise AbortedError(abort.error.str()) from abort
        except OutcomeUnknownError:
            self._producer = None
            raise
        except PenstockError:
            # The process will end: free the readers of what follows now, not when the transaction times out.
            with contextlib.suppress(OutcomeUnknownError):
                self._abort(producer)
            raise

    def _call(self, deadline: Deadline, call: Callable[[], None], *, committing: bool = False) -> None:
        while True:
            try:
                call()
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                match verdict(error, committing=committing, expired=deadline.expired):
                    case Verdict.RETRY:
                        self._wait(_PAUSE_S)
                    case Verdict.ABORT:
                        raise _AbortError(error) from failure
                    case Verdict.RENEW:
                        raise OutcomeUnknownError(error.str()) from failure
                    case Verdict.STOP:
                        raise _forbidden(self._id, error) from failure
            else:
                return

    def _abort(self, producer: ProducerLike) -> None:
        """Abort, or, where even that fails, leave it to the fence that the next producer sets."""
        try:
            producer.abort_transaction(10.0)
        except KafkaException as failure:
            self._producer = None
            raise OutcomeUnknownError(f"abort failed: {failure.args[0].str()}") from failure


def _produce(
    producer: ProducerLike, record: Produced, deadline: Deadline, refused: list[tuple[str, KafkaError]]
) -> None:
    """Hand one record to the client; what the broker will not have at all is added to ``refused``."""

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None and error.code() in _REFUSED:
            refused.append((record.origin, error))

    while True:
        try:
            producer.produce(
                record.topic,
                record.value,
                key=record.key,
                partition=record.partition,
                headers=record.headers,
                timestamp=record.timestamp,
                on_delivery=delivered,
            )
        except BufferError:  # librdkafka's queue is full: let it drain
            if deadline.expired:
                raise OutcomeUnknownError("the producer's queue stayed full") from None
            producer.poll(_PAUSE_S)
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() in _REFUSED:
                refused.append((record.origin, error))
            raise _AbortError(error) from failure
        else:
            return


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Make a call that may ignore its timeout, and give it up after ``seconds``: its thread is left to itself.

    ``send_offsets_to_transaction`` can hang for ever when the group's coordinator leaves the cluster (librdkafka#5511).

    Raises:
        OutcomeUnknownError: if it did not return in time; else whatever it raises.
    """
    raised: list[Exception | None] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, name="offsets", daemon=True)
    thread.start()
    thread.join(seconds)
    if not raised:
        raise OutcomeUnknownError("offsets are not being taken, and the call does not return")
    if raised[0] is not None:
        raise raised[0]


class _AbortError(Exception):
    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error


def producer_factory(kafka: KafkaAccess, transactional_id: str, *, quiet: bool = False) -> Callable[[], Producer]:
    """Makes producers for :class:`TransactionalProducer`, each setting with its reason.

    ``quiet`` ones log only what is fatal: for a process that has many, which would all tell the same.
    """
    config = {
        **kafka.client(),
        **(QUIET if quiet else {}),
        "transactional.id": transactional_id,
        # Default 100: after each commit the broker answers CONCURRENT_TRANSACTIONS until its markers are written, and
        # the next transaction would wait that long. With 1, a commit takes about 3 ms instead of about 100.
        "retry.backoff.ms": 1,
        # The cap of the exponential backoff: without it a broker that is away would be asked a thousand times a second.
        "retry.backoff.max.ms": 200,
        # Defaults 100 and 10 000: as for the consumer.
        "reconnect.backoff.ms": 1_000,
        "reconnect.backoff.max.ms": 2_000,
        # Default rebootstrap: when no broker is left, all are forgotten and learnt again, and offsets for the group are
        # then sent to the one forgotten, for ever (librdkafka#5511). `_within` covers the other ways to get there.
        "metadata.recovery.strategy": "none",
        # A killed scorer's open transaction hides what follows it from read-committed readers: not for long. It must be
        # longer than a batch may take (Scorer's budget), and bounds message.timeout.ms, which may not exceed it.
        "transaction.timeout.ms": 30_000,
        "message.timeout.ms": 20_000,
        # A batch is produced whole and then flushed by the commit, so waiting for more (default 5) only adds latency.
        "linger.ms": 0,
        # Vectors of nearby events resemble each other; lz4 costs little and halves the topic.
        "compression.type": "lz4",
        # A delivery that succeeded needs no call back into Python for each record.
        "delivery.report.only.error": True,
        # The topic decides what is too large: a dead letter may be as large as anything that was accepted before.
        "message.max.bytes": 64 * 1024 * 1024,
        "client.id": transactional_id,
    }
    return lambda: Producer(config, logger=_log)


def _refused(origin: str, error: KafkaError) -> PenstockError:
    return PenstockError(
        f"Kafka refuses the answer to a record: {error.str()}",
        where=origin,
        safe="nothing of the batch was written, and its offsets are not committed",
        next="set max.message.bytes (or message.timestamp.after.max.ms) of the predictions topics, and start again",
    )


def _forbidden(transactional_id: str, error: KafkaError) -> PenstockError:
    if error.code() == KafkaError.FENCED_INSTANCE_ID:
        return PenstockError(
            "another scorer runs under the name of this instance, and has taken over",
            where=transactional_id,
            safe="nothing of this process's last batch was written",
            next="give each scorer its own --instance",
        )
    return PenstockError(
        f"Kafka does not allow it: {error.str()}",
        where=transactional_id,
        safe="nothing of the last batch was written",
        next="grant this user the topics, the group and the transactional id",
    )
