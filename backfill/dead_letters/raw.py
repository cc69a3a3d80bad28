"""Puts refused raw events back to their topic, in the partition where they were, under the id that they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from backfill.dead_letters.lanes import PlacedLetter
from backfill.dead_letters.replay import Answers
from penstock.kafka.records import Produced

PUT_BACK = "put back to the raw topic"


def put_back(letters: Sequence[PlacedLetter], now: Callable[[], int]) -> Answers:
    """The records to put back; ``now`` is wall-clock epoch milliseconds: when the events arrive again."""
    records = []
    for placed in letters:
        letter = placed.letter.replayed(str(placed.place))
        headers = list(letter.original_headers)
        records.append(Produced(letter.topic, letter.partition, letter.key, letter.value, headers, now(), placed.place))
    return Answers(records, Counter({PUT_BACK: len(records)}))
