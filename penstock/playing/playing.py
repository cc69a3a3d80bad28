"""Checks the rows of a file, and sends them when they are due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from penstock.playing.event_order import EventOrder
from penstock.playing.files import Row, has_lines, is_text, read_rows
from penstock.playing.pace import Pace
from penstock.playing.target import Target
from penstock.playing.values import as_event
from schemas.contract import Contract
from schemas.producer import InvalidEvent, opened, validated

_SAVE_EVERY_S = 1.0


@dataclass(frozen=True)
class BadRow:
    """A row that does not fit: where it is (``file:line``), and why, without its values."""

    place: str
    why: str


class Sender(Protocol):
    """Sends events, as :class:`~schemas.producer.EventProducer` does."""

    def send(self, event: Contract) -> None: ...  # noqa: D102

    def flush(self) -> None: ...  # noqa: D102


def check_rows(path: Path, target: Target, order: EventOrder, most: int) -> tuple[list[BadRow], int]:
    """Put all good rows of a file in order; returns the first bad ones, and how many there are.

    Raises:
        PenstockError: if the file cannot be read.
        OSError: if what does not fit into memory cannot be put away.
    """
    bad: list[BadRow] = []
    count = 0
    for row in read_rows(path):
        event = _checked(row, target, is_text(path))
        if isinstance(event, str):
            count += 1
            if len(bad) < most:
                bad.append(BadRow(f"{path}:{row.number}" if has_lines(path) else f"{path}, row {row.number}", event))
        else:
            order.add(getattr(event, target.time_field), row.number, event.model_dump_json())
    return bad, count


def _checked(row: Row, target: Target, text: bool) -> Contract | str:
    """The event of a row, or why there is none."""
    if row.problem is not None:
        return row.problem
    try:
        fields = row.fields
        if target.envelope is not None and "specversion" in fields:
            fields = opened(fields, target.topic)
        return validated(as_event(fields, target.contract, is_text=text), target.contract, target.topic)
    except InvalidEvent as error:
        return error.what if error.where is None else f"{error.where}: {error.what}"


@dataclass(frozen=True)
class Played:
    """How far it is: the events that were sent, those of all, the event time reached, and by how much it is late."""

    sent: int
    total: int
    time_ms: int
    late_s: float


def play(
    order: EventOrder,
    contract: type[Contract],
    sender: Sender,
    pace: Pace,
    *,
    skip: int,
    save: Callable[[int], None],
    tell: Callable[[Played], None],
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Send events in order, each when it is due; returns how many of all are sent.

    Args:
        order: The events.
        contract: Their contract.
        sender: Sends them.
        pace: When they are due.
        skip: How many were sent before.
        save: Is told about each second how many Kafka has acknowledged, and at the end.
        tell: Is told several times a second how far it is.
        wait: Waits for so many seconds, or until told to stop; whether it was told so.
        clock: Monotonic seconds.

    Raises:
        DeliveryFailed: if Kafka does not accept events; what was saved is right.
    """
    began_s, saved_s = clock(), clock()
    first_ms: int | None = None
    sent = skip
    for time_ms, _, text in _from(order, skip):
        first_ms = time_ms if first_ms is None else first_ms
        due_s = began_s + pace.due_s(sent - skip, time_ms - first_ms)
        stopped = wait(0.0)
        while not stopped and (left := due_s - clock()) > 0:
            tell(Played(sent, order.count, time_ms, 0.0))
            stopped = wait(min(left, 0.2))
            if clock() - saved_s >= _SAVE_EVERY_S:
                saved_s = _saved(sender, sent, save, clock)
        if stopped:
            break
        sender.send(contract.model_validate_json(text))
        sent += 1
        now = clock()
        tell(Played(sent, order.count, time_ms, now - due_s))
        if now - saved_s >= _SAVE_EVERY_S:
            saved_s = _saved(sender, sent, save, clock)
    _saved(sender, sent, save, clock)
    return sent


def _saved(sender: Sender, sent: int, save: Callable[[int], None], clock: Callable[[], float]) -> float:
    sender.flush()
    save(sent)
    return clock()


def _from(order: EventOrder, skip: int) -> Iterable[tuple[int, int, str]]:
    return (placed for number, placed in enumerate(order) if number >= skip)
