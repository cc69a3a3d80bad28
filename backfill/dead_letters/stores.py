"""Writes records that a sink refused to its store. The store keeps what is newer, so a repeated write is harmless."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from backfill.dead_letters.lanes import PlacedLetter
from backfill.dead_letters.replay import AGAIN, Answers
from penstock.kafka.records import Produced
from schemas.codec import Undecodable, UnknownSchema
from sinks.store_interface import Store

WRITTEN = "written to the store"


class StoreReplay:
    """Answers letters of a sink.

    Args:
        store: The store, open.
        letter_bytes: How long a record each dead-letter topic takes.
        now: Wall-clock epoch milliseconds.
    """

    def __init__(self, store: Store[Any], letter_bytes: Callable[[str], int], now: Callable[[], int]) -> None:
        self._store = store
        self._letter_bytes = letter_bytes
        self._now = now

    def answer(self, letters: Sequence[PlacedLetter]) -> Answers:
        """Write what can be decoded now; what cannot gets a new letter.

        Raises:
            StoreUnavailable: if the store does not acknowledge the write.
        """
        by_topic: dict[str, list[PlacedLetter]] = defaultdict(list)
        for placed in letters:
            by_topic[placed.letter.topic].append(placed)
        again: list[Produced] = []
        decoded: list[Any] = []
        for topic, of_topic in by_topic.items():
            found = self._store.decode(topic, [placed.letter.value or b"" for placed in of_topic])
            for placed, one in zip(of_topic, found, strict=True):
                if isinstance(one, Undecodable | UnknownSchema):
                    again.append(self._letter(placed, one))
                else:
                    decoded.append(one)
        self._store.write(decoded).result()
        return Answers(again, Counter({WRITTEN: len(decoded), AGAIN: len(again)}))

    def _letter(self, placed: PlacedLetter, error: Undecodable | UnknownSchema) -> Produced:
        reason = f"penstock.{type(error).__name__}"
        letter = replace(placed.replayed(), reason=reason, message=error.what)
        topic = placed.place.topic
        return letter.record(topic, self._now(), self._letter_bytes(topic))
