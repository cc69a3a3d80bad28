"""What a client returns and raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penstock.errors import PenstockError

LATE = "late"
NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the pipeline predicted for an event. ``event_time`` and ``scored_at`` are epoch milliseconds."""

    event_time: int
    decision: str
    score: float
    model: str
    model_version: str
    scored_at: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one event; whoever asks for the same event again gets the same one.

    Args:
        event_id: The event.
        decision: What to do: the model's decision, or the caller's own fallback.
        score: The model's score; None of a fallback.
        model: The name of the model; None of a fallback.
        model_version: Its version; None of a fallback.
        source: Who decided.
        reason: Why the model did not: ``late`` (the deadline passed), ``not_sent`` (Kafka did not take the event), or
            the reason of its dead letter, such as ``penstock.ModelFailed``. None if the model decided.
        waited_ms: Milliseconds from when the event was first asked for to the answer.
    """

    event_id: str
    decision: str
    score: float | None
    model: str | None
    model_version: str | None
    source: Literal["model", "fallback"]
    reason: str | None
    waited_ms: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the pipeline refused an event, from the headers of its dead letter; ``message`` quotes no value."""

    reason: str
    stage: str
    message: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a client knows of an event: what it answered, what the model predicted, and why it was refused.

    With a fallback as the answer, the prediction may have come later.
    """

    event_id: str
    answer: Answer | None
    prediction: Prediction | None
    refusal: Refusal | None


class TooBusy(PenstockError):  # noqa: N818 - describes what happened
    """As many events as allowed are in flight; this one was not sent. Ask again later."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(
            what,
            where=where,
            safe="the event was not sent",
            next="ask again after a pause; if it lasts, look at the scorer's lag, or allow more in flight",
        )


class EventConflict(PenstockError, ValueError):  # noqa: N818 - describes what the caller passed
    """The event id was used for another event before; this one was not sent."""

    def __init__(self, event_id_field: str) -> None:
        super().__init__(
            "another event with this id was sent before: an id names one event",
            where=f"field {event_id_field}",
            safe="the event was not sent",
            next="give each event an id of its own; to ask again, send the same event unchanged",
        )


class EventRefused(PenstockError, ValueError):  # noqa: N818 - describes what the caller passed
    """The pipeline refused the event: it is a dead letter. ``reason`` is that of the letter."""

    def __init__(self, refusal: Refusal, topic: str) -> None:
        super().__init__(
            f"the pipeline refused the event: {refusal.message}",
            where=topic,
            safe="the event is kept as a dead letter; no window has counted it",
            next="correct the event and send it under another id, or see penstock dlq list PIPELINE",
        )
        self.reason = refusal.reason
