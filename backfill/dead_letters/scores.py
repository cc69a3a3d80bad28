"""Scores the events again that became dead letters, and those whose feature record was too long to be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from backfill.dead_letters.lanes import PlacedLetter
from backfill.dead_letters.replay import AGAIN, Answers
from penstock.kafka.records import Consumed
from scoring.rescoring import Rescorer

PREDICTED, HAD = "predicted", "had a prediction already"
NO_VALUE, TIMER = "without a value: not replayed", "of a timer: nothing to score"


class ScoreReplay:
    """Answers letters with feature records.

    Args:
        rescorer: Scores them.
        from_excerpts: Whether the letters are of the job: the letter itself is then the feature record.
    """

    def __init__(self, rescorer: Rescorer, *, from_excerpts: bool) -> None:
        self._rescorer = rescorer
        self._from_excerpts = from_excerpts

    def answer(self, letters: Sequence[PlacedLetter]) -> Answers:
        """A prediction for each event that has none, or a new letter."""
        records = [self._record(placed) for placed in letters if placed.letter.value is not None]
        if not records:
            return Answers([], Counter({NO_VALUE: len(letters)}))
        found = self._rescorer.rescore(records)
        predictions = []
        for prediction in found.predictions:
            assert isinstance(prediction.origin, Consumed)
            replay = prediction.origin.headers[-2:]
            predictions.append(prediction._replace(headers=[*prediction.headers, *replay]))
        outcomes = {
            PREDICTED: len(predictions),
            AGAIN: len(found.letters),
            HAD: found.predicted,
            TIMER: found.timers,
            NO_VALUE: len(letters) - len(records),
        }
        return Answers([*predictions, *found.letters], Counter(outcomes))

    def _record(self, placed: PlacedLetter) -> Consumed:
        """The feature record as the scorer would consume it, with the replay's two headers at the end."""
        letter = placed.replayed()
        at = placed.place if self._from_excerpts else (letter.topic, letter.partition, letter.offset)
        return Consumed(*at, letter.key, letter.value, list(letter.original_headers))
