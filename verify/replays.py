"""The headers of a record that was replayed from a dead letter (docs/reference/dead-letters.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_REPLAY_OF, _REPLAY_COUNT = "penstock.replay.of", "penstock.replay.count"
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Replayed:
    """What the headers of a replayed record say: the place of its letter, and how often it has been replayed."""

    of: str
    count: int


def replay_in(headers: Iterable[tuple[str, bytes | None]]) -> Replayed | None:
    """The replay that a record comes from; None if it comes from none, a count of -1 if the headers make no sense."""
    found = dict(headers)
    of = found.get(_REPLAY_OF)
    if of is None:
        return None
    count = found.get(_REPLAY_COUNT) or b""
    return Replayed(of.decode(errors="replace"), int(count) if count.isdigit() and len(count) <= _MOST_DIGITS else -1)


def without_replay(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes | None], ...]:
    """The headers that a record had before it was replayed."""
    return tuple(header for header in headers if header[0] not in (_REPLAY_OF, _REPLAY_COUNT))
