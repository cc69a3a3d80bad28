"""The pure steps of a micro-batch: decode its records, drop events that are already scored, encode the results.

No Kafka client, no clock, no model: :mod:`scoring.scorer` runs these steps between consuming and committing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.kafka.records import Consumed, Produced
from schemas.codec import Decoder, Undecodable, UnknownSchema
from schemas.records import TIMER
from scoring.decision import is_score
from scoring.memory import EventPosition
from scoring.predictions import InferenceResult, PredictionWriter, event_position
from scoring.vectors import FloatArray


class Candidate(NamedTuple):
    """A decoded feature record of an event, and the position of that raw event."""

    consumed: Consumed
    record: dict[str, Any]
    event: EventPosition


@dataclass
class DecodedBatch:
    """A decoded batch: candidates in order of arrival, dead letters of undecodable records, number of timers."""

    candidates: list[Candidate] = field(default_factory=list)
    dead_letters: list[Produced] = field(default_factory=list)
    timers: int = 0


def decode(batch: Iterable[Consumed], decoder: Decoder, writer: PredictionWriter, now: int) -> DecodedBatch:
    """Decode the records of a batch; ``now`` (epoch ms) is the timestamp of the dead letters."""
    result = DecodedBatch()
    for consumed in batch:
        if consumed.value is None:
            message = "a record without a value cannot be scored"
            result.dead_letters.append(writer.dead_letter(consumed, "decode", "penstock.Tombstone", message, now))
            continue
        try:
            record = decoder.decode(consumed.value)
        except (Undecodable, UnknownSchema) as error:
            reason = f"penstock.{type(error).__name__}"
            result.dead_letters.append(writer.dead_letter(consumed, "decode", reason, error.what, now))
            continue
        if record["trigger"] == TIMER:
            # Updates the stores, but is no event: there is nothing to score.
            result.timers += 1
        else:
            result.candidates.append(Candidate(consumed, record, event_position(record)))
    return result


def deduplicate(candidates: Iterable[Candidate], scored: Iterable[EventPosition]) -> list[Candidate]:
    """The candidates whose event is neither in ``scored`` nor earlier in the batch: the first emission counts."""
    seen = {event[:3] for event in scored}
    unscored = []
    for candidate in candidates:
        event = candidate.event[:3]
        if event not in seen:
            seen.add(event)
            unscored.append(candidate)
    return unscored


def encode_results(
    candidates: Sequence[Candidate],
    vectors: FloatArray,
    results: Sequence[InferenceResult | None],
    writer: PredictionWriter,
    now: int,
) -> tuple[list[Produced], list[Produced]]:
    """Encode one record per candidate: a prediction, or a dead letter if the score is missing or not finite.

    A prediction that is too long to write becomes a dead letter, too.
    """
    predictions, dead_letters = [], []
    for candidate, vector, result in zip(candidates, vectors, results, strict=True):
        consumed, record, event = candidate
        if result is None:
            message = "the model fails on this record, not on every input"
            dead_letters.append(writer.unscorable(consumed, event, "penstock.ModelFailed", message, now))
        elif not is_score(result.score):
            message = "the model's score is not a finite number"
            dead_letters.append(writer.unscorable(consumed, event, "penstock.NotANumber", message, now))
        elif (prediction := writer.prediction(consumed, record, vector, result, now)).bytes > writer.max_bytes:
            message = f"the prediction takes {prediction.bytes} bytes, more than the {writer.max_bytes} allowed"
            dead_letters.append(writer.unscorable(consumed, event, "penstock.TooLarge", message, now))
        else:
            predictions.append(prediction)
    return predictions, dead_letters
