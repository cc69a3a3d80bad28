"""What a micro-batch comes to: which records are scored, which are dead letters, which are passed over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.kafka.records import Consumed, Produced
from schemas.codec import Decoder, Undecodable, UnknownSchema
from schemas.records import TIMER
from scoring.decision import is_score
from scoring.memory import Source
from scoring.predictions import Answer, PredictionWriter, source_of
from scoring.vectors import FloatArray


class Candidate(NamedTuple):
    """A feature record that could be read, and the raw event that it answers."""

    consumed: Consumed
    record: dict[str, Any]
    source: Source


@dataclass
class Decoded:
    """A batch, read: events in arrival order, and dead letters for what could not be read."""

    candidates: list[Candidate] = field(default_factory=list)
    dead_letters: list[Produced] = field(default_factory=list)
    timers: int = 0


def decode(batch: Iterable[Consumed], decoder: Decoder, writer: PredictionWriter, now: int) -> Decoded:
    """Read the records of a batch; ``now`` (epoch ms) dates the dead letters."""
    result = Decoded()
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
            # News for the stores, but no event, and so nothing to score.
            result.timers += 1
        else:
            result.candidates.append(Candidate(consumed, record, source_of(record)))
    return result


def unscored(candidates: Iterable[Candidate], scored: Iterable[Source]) -> list[Candidate]:
    """The candidates whose event is neither in ``scored`` nor earlier in the batch: the first emission counts."""
    seen = {source[:3] for source in scored}
    fresh = []
    for candidate in candidates:
        event = candidate.source[:3]
        if event not in seen:
            seen.add(event)
            fresh.append(candidate)
    return fresh


def answered(
    candidates: Sequence[Candidate],
    vectors: FloatArray,
    answers: Sequence[Answer | None],
    writer: PredictionWriter,
    now: int,
) -> tuple[list[Produced], list[Produced]]:
    """The predictions, and the dead letters of those whose answer is None or no number: one per candidate in all."""
    predictions, dead_letters = [], []
    for candidate, vector, answer in zip(candidates, vectors, answers, strict=True):
        consumed, record, source = candidate
        if answer is None:
            message = "the model fails on this record, not on every input"
            dead_letters.append(writer.unscorable(consumed, source, "penstock.ModelFailed", message, now))
        elif not is_score(answer.score):
            message = "the model's score is not a finite number"
            dead_letters.append(writer.unscorable(consumed, source, "penstock.NotANumber", message, now))
        else:
            predictions.append(writer.prediction(consumed, record, vector, answer, now))
    return predictions, dead_letters
