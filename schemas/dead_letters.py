"""Dead letters: the record that could not be used, verbatim, and in its headers where it came from and why.

The header names are those of Kafka Connect, so that its users and their tools find what they know. A message never
quotes a value of the event: dead-letter topics are read by people who may not see personal data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PREFIX = "__connect.errors."
TOPIC = PREFIX + "topic"
PARTITION = PREFIX + "partition"
OFFSET = PREFIX + "offset"
STAGE = PREFIX + "stage"
COMPONENT = PREFIX + "class.name"
REASON = PREFIX + "exception.class.name"
MESSAGE = PREFIX + "exception.message"
NAMES = (TOPIC, PARTITION, OFFSET, STAGE, COMPONENT, REASON, MESSAGE)

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class DeadLetter:
    """A record that was refused.

    Args:
        topic: Where the record was read, with partition and offset.
        partition: Its partition.
        offset: Its offset.
        stage: What was being done: ``decode``, ``validate``, ``score``.
        component: What refused it, such as ``penstock.job`` or ``penstock.scorer``.
        reason: The class of reason, such as ``penstock.InvalidField``.
        message: For a person; names fields, never their values.
        key: The record's key, verbatim.
        value: The record's value, verbatim; None for a tombstone.
        original_headers: The record's own headers, verbatim and in order.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    component: str
    reason: str
    message: str
    key: bytes | None = None
    value: bytes | None = None
    original_headers: Headers = ()

    def headers(self) -> list[tuple[str, bytes | None]]:
        """The headers to publish: the record's own, then Penstock's."""
        texts = (
            self.topic,
            str(self.partition),
            str(self.offset),
            self.stage,
            self.component,
            self.reason,
            self.message,
        )
        return [
            *self.original_headers,
            *((name, text.encode()) for name, text in zip(NAMES, texts, strict=True)),
        ]

    @classmethod
    def read(cls, key: bytes | None, value: bytes | None, headers: Headers | None) -> DeadLetter:
        """The dead letter in a record of a dead-letter topic.

        A record that was refused twice (replayed, and refused again) carries two sets; the last is the one meant and
        the earlier ones belong to the original.

        Raises:
            ValueError: if a header is missing, so that the record is not a dead letter of Penstock.
        """
        own = list(headers or ())
        found: dict[str, str] = {}
        for name in NAMES:
            last = max((i for i, (header, _) in enumerate(own) if header == name), default=None)
            if last is None:
                raise ValueError(f"not a dead letter: header {name} is missing")
            found[name] = (own.pop(last)[1] or b"").decode()
        return cls(
            topic=found[TOPIC],
            partition=int(found[PARTITION]),
            offset=int(found[OFFSET]),
            stage=found[STAGE],
            component=found[COMPONENT],
            reason=found[REASON],
            message=found[MESSAGE],
            key=key,
            value=value,
            original_headers=tuple(own),
        )
