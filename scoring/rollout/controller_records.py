"""Records as Kafka's client gives them to a controller, those that cannot be read, and the entries of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from penstock.errors import PenstockError
from scoring.rollout.policy_log import Entry, decode


class Message(Protocol):
    """A record as Kafka's client has it."""

    def partition(self) -> int: ...  # noqa: D102
    def offset(self) -> int: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102


class Unreadable(NamedTuple):
    """A record that was passed over: its topic, ``topic[partition]@offset``, and why."""

    topic: str
    where: str
    why: str


def read_log(topic: str, messages: Sequence[Message], passed: list[Unreadable]) -> list[Entry]:
    """The entries of a rollout log; adds those that cannot be read to ``passed``."""
    found = []
    for message in messages:
        where = place(topic, message)
        try:
            found.append(decode(message.value() or b"", where))
        except PenstockError as error:
            passed.append(Unreadable(topic, where, error.what))
    return found


def place(topic: str, message: Message) -> str:
    """Where a record is."""
    return f"{topic}[{message.partition()}]@{message.offset()}"
