"""The headers of a record that was replayed from a dead letter (docs/reference/dead-letters.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_REPLAY_OF, _REPLAY_COUNT = "penstock.replay.of", "penstock.replay.count"
_MOST_DIGITS = 9
_PLACE = re.compile(r"(?P<topic>[\w.-]+)\[(?P<partition>\d+)\]@(?P<offset>\d+)")


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


def replays_before(headers: Iterable[tuple[str, bytes | None]], component: str, where: str) -> int:
    """How often the record of a letter had been replayed when it was refused; ``where`` is the letter's place.

    Of a letter of the job, only headers that name another letter of its topic count, and in its partition only an
    earlier one: anybody who may write raw events can write others.
    """
    replay = replay_in(headers)
    if replay is None or replay.count < 0:
        return 0
    named, own = _PLACE.fullmatch(replay.of), _PLACE.fullmatch(where)
    if named is None or own is None:
        return 0
    is_earlier = named["partition"] != own["partition"] or int(named["offset"]) < int(own["offset"])
    is_true = named["topic"] == own["topic"] and is_earlier
    return replay.count if is_true or component != "penstock.job" else 0


def without_replay(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes | None], ...]:
    """The headers that a record had before it was replayed."""
    return tuple(header for header in headers if header[0] not in (_REPLAY_OF, _REPLAY_COUNT))
