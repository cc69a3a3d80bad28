"""Looks at every error that Kafka reports to a sink, of single partitions too: none is ignored.

An error that no retry can help ends the sink. Any other is counted, and passes: the client reconnects by itself, and
the sink repeats its requests. While errors recur, one line a minute says how many there were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Partition

_log = logging.getLogger(__name__)

_LOG_EVERY_S = 60.0
# Without errors for this long, the next one begins a new outage. The client reports an unreachable broker every 2 s.
_OVER_S = 15.0
_NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
# Of the client itself, when it learns of the topic from another source than a fetch.
_NO_TOPIC = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001 - public
)


class KafkaErrors:
    """The errors of one sink.

    Args:
        kafka: For messages.
        pipeline: The pipeline, as named on the command line.
        count: Called for each error that passes.
        clock: Monotonic seconds.
    """

    def __init__(
        self, kafka: KafkaAccess, pipeline: str, count: Callable[[], object], clock: Callable[[], float]
    ) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._count = count
        self._clock = clock
        self._since: float | None = None
        self._last = self._logged = 0.0
        self._errors = 0

    def check(self, error: KafkaError | None, where: str) -> bool:
        """Whether ``error`` is one (None and the end of a partition are none); it is counted and logged then.

        Args:
            error: The error of a message, of a partition in an answer, or of a whole request.
            where: What it is about: a topic, ``topic[partition]``, a request.

        Raises:
            PenstockError: if no retry can help.
        """
        if error is None or error.code() in (KafkaError.NO_ERROR, KafkaError._PARTITION_EOF):  # noqa: SLF001 - public
            return False
        self._raise_if_final(error, where)
        self.passes(error, where)
        return True

    def passes(self, error: KafkaError, where: str) -> None:
        """Count and log the error of a request that is repeated in any case."""
        self._count()
        self._report(error, where)

    def settle(self) -> None:
        """Log the end of an outage, once no error has come for a while; call it now and then."""
        if self._since is not None and self._clock() - self._last > _OVER_S:
            _log.info("Kafka answers again: %d errors within %.0f s", self._errors, max(1.0, self._last - self._since))
            self._since = None

    def _raise_if_final(self, error: KafkaError, where: str) -> None:
        code, at = error.code(), f"{where} at {self._kafka}"
        if code in _NO_TOPIC:
            raise PenstockError(
                f"{where} does not exist any more",
                where=str(self._kafka),
                safe="everything that the store acknowledged",
                next=f"penstock topics create {self._pipeline}",
            )
        if code in _NOT_ALLOWED:
            raise PenstockError(
                f"Kafka denies access: {error.str()}",
                where=at,
                safe="everything that the store acknowledged; the rest is read again",
                next="give the sink its rights (deploy/security/kafka-acls.toml), then start it again",
            )
        if error.fatal():
            raise PenstockError(f"the Kafka client cannot go on: {error.str()}", where=at, next="start the sink again")

    def _report(self, error: KafkaError, where: str) -> None:
        now = self._clock()
        self.settle()
        if self._since is None:
            self._since, self._errors = now, 0
        self._last = now
        self._errors += 1
        if self._errors == 1 or now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            _log.warning(
                "Kafka: %s: %s%s; the client tries again",
                where,
                error.str(),
                f" ({self._errors} errors in {now - self._since:.0f} s)" if self._errors > 1 else "",
            )


def commit_offsets(consumer: Consumer, done: dict[Partition, int], errors: KafkaErrors) -> None:
    """Commit the next offset of each partition, and take those that Kafka has committed out of ``done``.

    Raises:
        PenstockError: if no retry can help. What failed otherwise stays in ``done``, for the next call.
    """
    if not done:
        return
    try:
        answers = consumer.commit(
            offsets=[TopicPartition(*partition, at) for partition, at in done.items()], asynchronous=False
        )
    except KafkaException as error:
        errors.check(error.args[0], "the commit of offsets")
        return
    for answer in answers:
        if not errors.check(answer.error, f"the commit of {answer.topic}[{answer.partition}]"):
            done.pop((answer.topic, answer.partition), None)
