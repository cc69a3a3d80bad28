"""The records that the scorer writes: predictions with their headers, and dead letters.

Pure: no Kafka client, no clock; the time is an argument. :class:`PredictionWriter` encodes, :func:`event_position` and
:func:`event_position_of_dead_letter` find in a written record the raw event that it answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES, Consumed, Headers, Produced
from penstock.time import iso
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from schemas.records import EMISSION_FIELD_NAMES, PREDICTION_SCHEMA
from scoring.decision import Policy
from scoring.memory import EventPosition
from scoring.vectors import FloatArray, pack_vector
from streams.definitions.pipeline import Pipeline
from streams.plan.model import PipelinePlan

# W3C Trace Context; version 00 is fixed length, later versions may append.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

_COMPONENT = "penstock.scorer"
_SOURCE = "penstock.source."


class InferenceResult(NamedTuple):
    """One score and the server that returned it: route is ``primary`` or ``fallback``."""

    score: float
    route: str


@dataclass(frozen=True)
class ModelIdentity:
    """The model version that returned the scores."""

    name: str
    version: str


class PredictionWriter:
    """Encodes the scored feature records of one pipeline for its predictions topic and dead-letter topic.

    ``max_bytes`` is the length of the longest prediction that its topic takes, ``letter_bytes`` that of the longest
    dead letter. The producer may take less.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: PipelinePlan,
        model: ModelIdentity,
        *,
        max_bytes: int,
        letter_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self.max_bytes = min(max_bytes, MAX_RECORD_BYTES)
        self._letter_bytes = letter_bytes
        self.topic = pipeline.predictions_topic
        self.dead_letter_topic = dead_letters_of(self.topic)
        self.policy = Policy.of(pipeline.model)
        self._pipeline = pipeline.name
        self._model = model
        self._first_view = pipeline.views[0].name
        self._views = [(view.name, view.id) for view in plan.views]
        self._encoder = Encoder(PREDICTION_SCHEMA)

    def prediction(
        self, consumed: Consumed, record: Mapping[str, Any], vector: FloatArray, result: InferenceResult, now: int
    ) -> Produced:
        """The prediction for one decoded feature record: same key, same partition, never dated before its event.

        ``now`` is epoch ms. :mod:`scoring.memory` relies on a Kafka timestamp that is at least the raw event's.
        """
        position = event_position(record)
        first = record[self._first_view]
        value = self._encoder.encode(
            {
                "event_id": record["event_id"],
                "pipeline": self._pipeline,
                "event_time": record["event_time"],
                "entity": None if first is None else first["entity"],
                "score": result.score,
                "decision": self.policy.decide(result.score),
                "model": self._model.name,
                "model_version": self._model.version,
                "route": result.route,
                "policy_version": self.policy.version,
                "views": [
                    {"view": id_, **{name: record[view][name] for name in EMISSION_FIELD_NAMES}}
                    for view, id_ in self._views
                    if record[view] is not None
                ],
                "scored_at": now,
                "attempt": record["attempt"],
                "source": record["source"],
                "features_topic": consumed.topic,
                "features_partition": consumed.partition,
                "features_offset": consumed.offset,
                "vector": pack_vector(vector),
            }
        )
        headers = [*_trace(self._pipeline, consumed, position), *self._cloud_event(record["event_id"], now)]
        timestamp = max(now, position.timestamp)
        return Produced(self.topic, consumed.partition, consumed.key, value, headers, timestamp, str(consumed))

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

    def _cloud_event(self, event_id: str, now: int) -> Headers:
        """CloudEvents 1.0, Kafka binary mode."""
        return [
            ("ce_specversion", b"1.0"),
            ("ce_id", event_id.encode()),
            ("ce_source", f"/penstock/{self._pipeline}/scorer".encode()),
            ("ce_type", b"penstock.prediction.v1"),
            ("ce_time", iso(now).encode()),
            ("content-type", b"application/avro"),
        ]


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


def _trace(pipeline: str, consumed: Consumed, event: EventPosition) -> Headers:
    """The feature record's trace, continued by a span of the scorer; without one, a trace id derived from the event."""
    given = {name: value for name, value in consumed.headers if name in ("traceparent", "tracestate") and value}
    match = _TRACEPARENT.fullmatch(given.get("traceparent", b"").decode("ascii", "replace"))
    span = _hex(16, "span", *consumed[:3])
    if match is None:
        trace = _hex(32, "trace", pipeline, *event[:3])
        return [("traceparent", f"00-{trace}-{span}-01".encode())]
    headers: Headers = [("traceparent", f"00-{match[1]}-{span}-{match[2]}".encode())]
    return headers + [(name, value) for name, value in given.items() if name == "tracestate"]


def _hex(digits: int, *parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:digits]
