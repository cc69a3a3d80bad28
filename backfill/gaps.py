"""Gaps in what an archive and Kafka have of a topic together: on which side of one a range of time lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from backfill.topic_reading import Range, Topics
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.time import iso
from schemas.codec import Undecodable, UnknownSchema
from schemas.history import record_decoder

TAIL = 1_000
"""Records that are looked at before a gap: late events make the newest event seldom the last one."""

EventTimes = Callable[[Iterable[Record]], Sequence[int]]
"""The event times of the records that can be read, epoch ms."""


def prediction_times(records: Iterable[Record]) -> list[int]:
    """The event times of predictions."""
    decoder, found = record_decoder("prediction"), list[int]()
    for record in records:
        with suppress(Undecodable, UnknownSchema):
            found.append(decoder.decode(record.value or b"")["event_time"])
    return found


def run_with(
    topics: Topics, topic: str, runs: Mapping[int, Sequence[Range]], to_ms: int | None, event_times: EventTimes
) -> dict[int, Range]:
    """The run of each partition that has the events before ``to_ms``: the first with a later event, else the last.

    Raises:
        PenstockError: if Kafka or the archive does not answer.
    """
    found = {number: of[-1] for number, of in runs.items()}
    if to_ms is None:
        return found
    for number, of in runs.items():
        for first, end in of[:-1]:
            tail = topics.read(topic, start={number: max(first, end - TAIL)}, end={number: end})
            if any(time_ms >= to_ms for time_ms in event_times(tail)):
                found[number] = first, end
                break
    return found


def require_after_gaps(topics: Topics, topic: str, to_ms: int, event_times: EventTimes) -> None:
    """Check that a range that ends before ``to_ms`` lies before no gap, as what does counts as deleted.

    Raises:
        PenstockError: if it does, or Kafka or the archive does not answer.
    """
    runs = topics.runs(topic)
    for number, (first, end) in sorted(run_with(topics, topic, runs, to_ms, event_times).items()):
        if (first, end) != runs[number][-1]:
            begin = next(other for other, _ in runs[number] if other > first)
            raise PenstockError(
                f"the events before {iso(to_ms)} lie before a gap: offsets {end} to {begin} are neither in the archive "
                "nor in Kafka",
                where=f"{topic}[{number}]",
                safe="nothing was written",
                next="take a range after the gap; penstock archive list ARCHIVE shows what there is. "
                "`penstock backfill run` makes the features of a range before a gap",
            )
