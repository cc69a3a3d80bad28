"""Reads dead letters as ``docs/reference/dead-letters.md`` documents them, apart from the code that writes them."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.kafka.reading import Record
from verify.published import Position

ALWAYS_FITS = 64 * 1024
"""No topic of a pipeline takes fewer bytes: the commands that write to it check it. A shorter record is whole."""

_PREFIX = "__connect.errors."


@dataclass(frozen=True)
class Letter:
    """A dead letter: where its record was read, by which pipeline, who refused it why, and the record's own headers.

    ``pipeline`` is None in letters of releases that did not name it. ``value_bytes`` is the length of the whole value,
    if the letter has an excerpt of it.
    """

    topic: str
    position: Position
    pipeline: str | None
    stage: str
    component: str
    reason: str
    own_headers: tuple[tuple[str, bytes | None], ...]
    value_bytes: int | None = None


def read_letter(record: Record) -> Letter:
    """Read a record of a dead-letter topic: the last headers, from the topic on, are those of its refusal.

    Raises:
        ValueError: if a header is missing.
    """
    names = [name for name, _ in record.headers]
    if f"{_PREFIX}topic" not in names:
        raise ValueError(f"header {_PREFIX}topic is missing")
    begin = len(names) - 1 - names[::-1].index(f"{_PREFIX}topic")
    headers = {name.removeprefix(_PREFIX): (value or b"").decode() for name, value in record.headers[begin:]}
    try:
        return Letter(
            topic=headers["topic"],
            position=Position(int(headers["partition"]), int(headers["offset"])),
            pipeline=headers.get("connector.name"),
            stage=headers["stage"],
            component=headers["class.name"],
            reason=headers["exception.class.name"],
            own_headers=tuple(record.headers[:begin]),
            value_bytes=int(headers["penstock.value.bytes"]) if "penstock.value.bytes" in headers else None,
        )
    except KeyError as missing:
        raise ValueError(f"header {_PREFIX}{missing.args[0]} is missing") from missing
