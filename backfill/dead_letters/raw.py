"""Puts refused raw events back to their topic, in the partition where they were, under the id that they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from backfill.dead_letters.lanes import PlacedLetter
from backfill.dead_letters.replay import Answers
from penstock.kafka.records import Produced

PUT_BACK = "put back to the raw topic"
_NOT_PUT_BACK = "; not put back: "


def put_back(letters: Sequence[PlacedLetter], now: Callable[[], int]) -> Answers:
    """The records to put back; ``now`` is wall-clock epoch milliseconds: when the events arrive again."""
    records = []
    for placed in letters:
        letter = placed.replayed()
        headers = list(letter.original_headers)
        records.append(Produced(letter.topic, letter.partition, letter.key, letter.value, headers, now(), placed.place))
    return Answers(records, Counter({PUT_BACK: len(records)}))


def keep_refused(placed: PlacedLetter, why: str, letter_bytes: int, now: int) -> Produced:
    """A new letter of an event that Kafka does not take back, by now too long for its topic.

    Args:
        placed: The letter before.
        why: What Kafka says.
        letter_bytes: How long a record the dead-letter topic takes.
        now: Wall-clock epoch milliseconds.
    """
    message = placed.letter.message.partition(_NOT_PUT_BACK)[0] + _NOT_PUT_BACK + why
    record = replace(placed.replayed(), message=message).record(placed.place.topic, now, letter_bytes)
    # The job leaves the partition of its letters to the producer: it need not be that of the event.
    return record._replace(partition=placed.place.partition)
