"""Decodes records of Penstock's topics, for tests in which all must be readable."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.kafka.reading import Record
from schemas.codec import Decoder
from verify.published import Published, readable


def published(records: Iterable[Record], decoder: Decoder) -> list[Published]:
    """The decoded records, none of which may be in another format."""
    found, unreadable = readable(records, decoder, "topic")
    assert unreadable == []
    return found
