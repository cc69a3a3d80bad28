"""A consumer that its broker fences: replaced by another process, or by itself.

When a consumer has not reached its broker for ``session.timeout.ms``, librdkafka gives its member id up, but goes on
with heartbeats until the application polls. A broker that returns meanwhile takes a heartbeat without a member id for
another process of the same ``group.instance.id``, and fences the instance (seen with librdkafka 2.16). The client is
then of no use any more, though nobody has replaced it: the process must join the group anew, with a new consumer.
"""

from __future__ import annotations

from confluent_kafka import KafkaError


class MembershipLostError(Exception):
    """The consumer is fenced because it lost its membership itself: join the group anew, with a new consumer."""


def is_fence(error: KafkaError) -> bool:
    """Whether the error says that another consumer has the same ``group.instance.id``."""
    # The client tells of it once by its code, and then by the text of a fatal error.
    return error.code() == KafkaError.FENCED_INSTANCE_ID or (is_fatal(error) and "fenced" in error.str().lower())


def is_fatal(error: KafkaError) -> bool:
    """Whether the client can do nothing any more."""
    return bool(error.fatal()) or error.code() == KafkaError._FATAL  # noqa: SLF001 - public, in spite of _
