"""The records that the scorer writes: predictions with their headers, and dead letters.

Pure: no Kafka client, no clock; the time is an argument. :class:`PredictionWriter` encodes, :func:`event_position` and
:func:`event_position_of_dead_letter` find in a written record the raw event that it answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES, Consumed, Headers, Produced
from penstock.time import iso
from schemas.columns import Integers
from schemas.dead_letters import DeadLetter
from scoring.decision import Policy
from scoring.inference import Scores
from scoring.memory import EventPosition
from scoring.mixing import mix
from scoring.prediction_format import (
    NULL,
    CascadeIdentity,
    CascadeScore,
    CopiedParts,
    ModelIdentity,
    PredictionFormat,
    encode_integer,
    text_of,
)
from scoring.reasons import Attribution, Reason
from scoring.vectors import FloatArray
from streams.definitions.pipeline import Pipeline
from streams.plan.model import PipelinePlan

# W3C Trace Context; version 00 is fixed length, later versions may append.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

# The headers of a prediction whose feature record has no state of a trace. Without the event id, which is in the value,
# too, they take less than this.
_HEADERS, _HEADERS_BYTES = 7, 1_024

# The reasons of a decision: as many as a person reads.
_REASONS = 3
_COMPONENT = "penstock.scorer"
_SOURCE = "penstock.source."


Span: TypeAlias = tuple[str, str]
"""Identifies the scoring of one record for tracing, in hex: the trace id of its event, and the id of the span."""


class Moment(NamedTuple):
    """The time of a batch: epoch ms, the same encoded, and the headers that all its predictions have."""

    ms: int
    scored_at: bytes
    headers: Headers


class PredictionWriter:
    """Encodes the scored feature records of one pipeline for its predictions topic and dead-letter topic.

    ``kept`` are the names of the outputs that the model returns beside the score. ``attribution`` finds the reasons of
    its scores, if it can, and ``strong_attribution`` those of the strong model of ``cascade``. ``max_bytes`` is the
    length of the longest prediction that its topic takes, ``letter_bytes`` that of the longest dead letter. The
    producer may take less. ``topic`` is where the predictions go, by default to the pipeline's predictions topic.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: PipelinePlan,
        model: ModelIdentity,
        *,
        kept: Sequence[str] = (),
        attribution: Attribution | None = None,
        cascade: CascadeIdentity | None = None,
        strong_attribution: Attribution | None = None,
        max_bytes: int,
        letter_bytes: int = MAX_RECORD_BYTES,
        topic: str | None = None,
    ) -> None:
        self.max_bytes = min(max_bytes, MAX_RECORD_BYTES)
        self._surely_taken = (self.max_bytes - _HEADERS_BYTES) // 2
        self._letter_bytes = letter_bytes
        self.topic = topic or pipeline.predictions_topic
        self.dead_letter_topic = dead_letters_of(pipeline.predictions_topic)
        self.policy = Policy.of(pipeline.model)
        self._attribution = attribution
        self._strong_attribution = strong_attribution
        self._pipeline = pipeline.name
        self.format = PredictionFormat(
            pipeline.name,
            [(view.name, view.id) for view in plan.views],
            pipeline.views[0].name,
            model,
            self.policy,
            kept,
            cascade,
        )

    def moment(self, now: int) -> Moment:
        """The time of a batch, epoch ms."""
        # CloudEvents 1.0, Kafka binary mode; the id differs for each prediction.
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", f"/penstock/{self._pipeline}/scorer".encode()),
            ("ce_type", b"penstock.prediction.v1"),
            ("ce_time", iso(now).encode()),
            ("content-type", b"application/avro"),
        ]
        return Moment(now, encode_integer(now), headers)

    def spans(
        self, consumed: Sequence[Consumed], topics: Sequence[str], topic_of: Integers, sources: Integers
    ) -> list[Span]:
        """The span of each record, and the trace that it begins if the record has none: hashes of positions.

        Args:
            consumed: The records.
            topics: Names of raw topics.
            topic_of: (n,) Which of them the raw event is on.
            sources: (3, n) Raw partition, raw offset, and the timestamp, which does not count.
        """
        if not consumed:
            return []
        seeds = np.array([_seed("trace", self._pipeline, topic) for topic in topics], np.uint64)[topic_of]
        raw_partitions, raw_offsets = sources[:2].astype(np.uint64)
        high = mix(mix(seeds ^ raw_partitions) ^ raw_offsets)
        places = np.array([record[1:3] for record in consumed], np.uint64).reshape(len(consumed), 2)
        span = mix(mix(np.uint64(_seed("span", consumed[0].topic)) ^ places[:, 0]) ^ places[:, 1])
        text = np.stack([high, mix(high), span], axis=1).astype(">u8").tobytes().hex()
        return [(text[at : at + 32], text[at + 32 : at + 48]) for at in range(0, len(text), 48)]

    def reasons(self, vectors: FloatArray, scores: Scores) -> list[tuple[Reason, ...]]:
        """The reasons of each score on which the decision is positive, or which is audited; none of the others."""
        found: list[tuple[Reason, ...]] = [()] * len(vectors)
        explained = scores.finite & (scores.values >= self.policy.threshold)
        by_strong = np.zeros_like(explained)
        if scores.cascade is not None:
            explained |= scores.cascade.audited
            by_strong = scores.cascade.in_band
        for attribution, mask in (
            (self._attribution, explained & ~by_strong),
            (self._strong_attribution, explained & by_strong),
        ):
            rows = np.flatnonzero(mask)
            if attribution is not None and len(rows):
                tops = attribution.top(vectors[rows], _REASONS)
                for row, reasons in zip(rows.tolist(), tops, strict=True):
                    found[row] = reasons
        return found

    def prediction(
        self,
        consumed: Consumed,
        parts: CopiedParts,
        vector: bytes,
        score: float,
        route: str,
        event_timestamp: int,
        span: Span,
        moment: Moment,
        *,
        decision: str,
        outputs: Sequence[float] = (),
        reasons: Sequence[Reason] = (),
        cascade: CascadeScore | None = None,
        rollout: bytes = NULL,
    ) -> Produced:
        """The prediction for one feature record: same key, same partition, never dated before its event.

        ``rollout`` is the arm, encoded.

        :mod:`scoring.memory` relies on a Kafka timestamp that is at least the raw event's, ``event_timestamp``.
        """
        value = self.format.encode(
            consumed,
            parts,
            vector,
            score,
            decision,
            route,
            moment.scored_at,
            outputs=outputs,
            reasons=reasons,
            cascade=cascade,
            rollout=rollout,
        )
        headers = [*_trace(consumed.headers, *span), ("ce_id", text_of(parts[0])), *moment.headers]
        timestamp = max(moment.ms, event_timestamp)
        return Produced(self.topic, consumed.partition, consumed.key, value, headers, timestamp, consumed)

    def is_too_long(self, prediction: Produced) -> bool:
        """Whether the topic does not take it."""
        # Most are far shorter. To count all bytes of each would take longer than to encode it.
        copied = len(prediction.value or b"") + len(prediction.key or b"")
        if copied < self._surely_taken and len(prediction.headers) == _HEADERS:
            return False
        return prediction.bytes > self.max_bytes

    def dead_letter(
        self, consumed: Consumed, stage: str, reason: str, message: str, now: int, more_headers: Headers | None = None
    ) -> Produced:
        """A record that cannot be scored, verbatim if Kafka takes it, with the reason in its headers.

        ``message`` must hold no value of a field.
        """
        topic, partition, offset, key, value, original = consumed
        letter = DeadLetter(
            topic=topic,
            partition=partition,
            offset=offset,
            pipeline=self._pipeline,
            stage=stage,
            component=_COMPONENT,
            reason=reason,
            message=message,
            key=key,
            value=value,
            original_headers=original,
        )
        return letter.record(self.dead_letter_topic, now, self._letter_bytes, more_headers or ())

    def unscorable(self, consumed: Consumed, event: EventPosition, reason: str, message: str, now: int) -> Produced:
        """A dead letter of a record that could be read but not scored: its headers name the raw event.

        The event therefore counts as answered after a restart.
        """
        named: Headers = [(_SOURCE + name, str(value).encode()) for name, value in event._asdict().items()]
        return self.dead_letter(consumed, "score", reason, message, max(now, event.timestamp), named)


def event_position(record: Mapping[str, Any]) -> EventPosition:
    """The raw event of a decoded feature record or prediction."""
    source = record["source"]
    return EventPosition(source["topic"], source["partition"], source["offset"], source["timestamp"])


def event_position_of_dead_letter(headers: Sequence[tuple[str, bytes | None]]) -> EventPosition | None:
    """The raw event that a dead letter names; None if the record could not be decoded and so names none."""
    named = {name: value for name, value in headers if value is not None}
    try:
        return EventPosition(
            topic=named[f"{_SOURCE}topic"].decode(),
            partition=int(named[f"{_SOURCE}partition"]),
            offset=int(named[f"{_SOURCE}offset"]),
            timestamp=int(named[f"{_SOURCE}timestamp"]),
        )
    except (KeyError, ValueError):
        return None


def _trace(headers: Headers, new_trace: str, span: str) -> Headers:
    """The feature record's trace, continued by a span of the scorer; without one, the new trace."""
    begun: Headers = [("traceparent", f"00-{new_trace}-{span}-01".encode())]
    if not headers:
        return begun
    given = {name: value for name, value in headers if name in ("traceparent", "tracestate") and value}
    match = _TRACEPARENT.fullmatch(given["traceparent"].decode("ascii", "replace")) if "traceparent" in given else None
    if match is None:
        return begun
    continued: Headers = [("traceparent", f"00-{match[1]}-{span}-{match[2]}".encode())]
    return continued + [(name, value) for name, value in given.items() if name == "tracestate"]


def _seed(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")
