"""Predictions and labels of small worlds, and the naive computation of what they count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scoring.quality.book import Book
from scoring.quality.events import KnownLabel, Scored
from scoring.quality.facts import QualityFacts
from scoring.quality.histograms import DAY_MS, HOUR_MS, Histogram, Key
from scoring.quality.reading_clock import Reached

HORIZON_MS = 10_000
BEGIN_MS = 1_760_000_400_000 // DAY_MS * DAY_MS


def facts(**changes: Any) -> QualityFacts:
    settings: dict[str, Any] = {
        "model": "taps",
        "threshold": 0.5,
        "positive": "block",
        "policy": "threshold",
        "positive_class": None,
        "horizon_ms": HORIZON_MS,
        "absent": "negative",
        "hidden_by": None,
        "groups": ("event.shop",),
        "places": (1,),
    }
    return QualityFacts(**{**settings, **changes})


def scored(number: int, score: float = 0.25, **changes: Any) -> Scored:
    """The prediction of a numbered event, of which there is one each second."""
    at = BEGIN_MS + 1_000 * number
    fields: dict[str, Any] = {
        "event_id": f"event-{number}",
        "event_time_ms": at,
        "rank": (at, 0, number, number),
        "version": "1",
        "policy": "p",
        "arm": "present",
        "route": "primary",
        "score": score,
        "decision": "block" if score >= 0.5 else "pass",
        "threshold_policy": "threshold",
        "explored": False,
        "propensity": 1.0,
        "groups": (str(number % 3),),
        "is_shadow": False,
    }
    return Scored(**{**fields, **changes})


def label(number: int, value: bool | None, *, age_ms: int = 2_000, offset: int = 0) -> KnownLabel:
    """What became known of a numbered event, so long after it."""
    known_at = BEGIN_MS + 1_000 * number + age_ms
    return KnownLabel(f"event-{number}", (known_at, known_at, 0, offset), value)


def reached_by(labels: Iterable[KnownLabel], predictions: Iterable[Scored]) -> Reached:
    """How far everything has come when all of it is read."""
    labels_ms = max((one.known_at_ms for one in labels), default=None)
    predictions_ms = max((one.event_time_ms for one in predictions), default=None)
    both = None if labels_ms is None or predictions_ms is None else min(labels_ms, predictions_ms)
    return Reached(labels_ms=labels_ms, predictions_ms=predictions_ms, mature_ms=labels_ms, forget_ms=both)


def book_of(predictions: Sequence[Scored], labels: Sequence[KnownLabel], settings: QualityFacts | None = None) -> Book:
    """A book that was given everything at once."""
    book = Book(settings or facts())
    book.observe(predictions, labels)
    book.advance(reached_by(labels, predictions))
    return book


def counted(book: Book, key: Key, outcome: str) -> int:
    return book.histograms[key].count(outcome) if key in book.histograms else 0  # type: ignore[arg-type]


def total(book: Book) -> Histogram:
    """All events, without groups."""
    return Histogram.sum(histogram for key, histogram in book.histograms.items() if not key.group)


def key_of(number: int, **changes: Any) -> Key:
    hour = (BEGIN_MS + 1_000 * number) // HOUR_MS * HOUR_MS
    key = Key("1", "p", "present", "primary", "1", "", "", hour)
    return key._replace(**changes)
