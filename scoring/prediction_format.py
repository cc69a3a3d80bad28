"""The bytes of a prediction, most of them copied from its feature record.

A prediction and a feature record encode event id, times, entities, emissions and source in the same way. So the bytes
are copied as they stand: no value is decoded, and no record is built. ``schemas.records.PREDICTION_SCHEMA`` is the
format; the tests compare every byte with an encoder of that schema. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from penstock.kafka.records import Consumed
from schemas.codec import HEADER_LENGTH, Encoder
from schemas.columns import Columns
from schemas.records import EMISSION_FIELD_NAMES, EMISSION_FIELDS, PREDICTION_SCHEMA, SOURCE_FIELDS
from scoring.cascade import Band
from scoring.decision import Policy
from scoring.reasons import Reason

# Encoded: null and not null, the end of an array.
NULL, _PRESENT, _END = b"\x00", b"\x02", b"\x00"
_BOOLEANS = (b"\x00", b"\x01")
_DOUBLE = struct.Struct("<d")
# The first of several bytes of an encoded integer from 0 on, by its lowest six bits.
_FIRST_BYTES = [bytes([0x80 | bits << 1]) for bits in range(64)]
_FIRST_EMISSION, _LAST_EMISSION = EMISSION_FIELD_NAMES[0], EMISSION_FIELD_NAMES[-1]


CopiedParts: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes]
"""What a prediction copies from its feature record, encoded.

Event id, event time, the entity of the pipeline's first view (or null), the array of emissions, attempt and source; and
the array of views that were not served, see :func:`with_other_views`.
"""


class ModelIdentity(NamedTuple):
    """The model version that returned the scores."""

    name: str
    version: str


class CascadeIdentity(NamedTuple):
    """The strong model of a cascade, and the band of fast scores that it decides."""

    strong: ModelIdentity
    band: Band


class CascadeScore(NamedTuple):
    """How a cascade scored an event: ``strong`` is None where the strong model was not asked, or has no score."""

    fast: float
    strong: float | None
    in_band: bool
    audited: bool


class PredictionFormat:
    """Encodes the predictions of one pipeline.

    Args:
        pipeline: Its name.
        views: Name and id of each view, in the plan's order.
        first_view: The view whose entity is the prediction's.
        model: The model version that returns the scores; of a cascade, the fast one.
        policy: Decides on them.
        kept: The names of the outputs that the version returns beside the score.
        cascade: The strong model and its band, if there is a cascade.
    """

    def __init__(
        self,
        pipeline: str,
        views: Sequence[tuple[str, str]],
        first_view: str,
        model: ModelIdentity,
        policy: Policy,
        kept: Sequence[str] = (),
        cascade: CascadeIdentity | None = None,
    ) -> None:
        self._header = Encoder(PREDICTION_SCHEMA).header
        self._pipeline = encode_text(pipeline)
        self._views = [(name, encode_text(id_)) for name, id_ in views]
        self._first_view = first_view
        self._model = _encode_model(model)
        self._policy_version = encode_text(policy.version)
        self._outcomes: dict[tuple[str, str, bool], bytes] = {}
        self._places: dict[tuple[str, int], bytes] = {}
        self._kept = [encode_text(name) for name in kept]
        if cascade is not None:
            self._strong = _encode_model(cascade.strong)
            self._versions = encode_text(model.version) + encode_text(cascade.strong.version)
            self._band = _DOUBLE.pack(cascade.band.low) + _DOUBLE.pack(cascade.band.high)
        self._emission = _part_encoder(EMISSION_FIELDS)
        source = {"name": "source", "type": {"type": "record", "name": "Source", "fields": SOURCE_FIELDS}}
        self._origin = _part_encoder([{"name": "attempt", "type": "long"}, source])

    def parts_of_columns(self, columns: Columns) -> list[CopiedParts]:
        """What is copied from each of the records; meaningless for a record that is not plain."""
        entities = columns.encoded(f"{self._first_view}.entity")
        return list(
            zip(
                columns.encoded("event_id"),
                columns.encoded("event_time"),
                [_PRESENT + entity if entity else NULL for entity in entities],
                map(_array, zip(*(self._emissions(columns, *view) for view in self._views), strict=True)),
                columns.encoded("attempt", "source"),
                [_END] * len(columns),
                strict=True,
            )
        )

    def parts_of_record(self, record: Mapping[str, Any]) -> CopiedParts:
        """The same of a record that is decoded."""
        first = record[self._first_view]
        return (
            encode_text(record["event_id"]),
            encode_integer(record["event_time"]),
            NULL if first is None else _PRESENT + encode_text(first["entity"]),
            _array(
                [
                    id_ + self._emission.encode(record[view])[HEADER_LENGTH:]
                    for view, id_ in self._views
                    if record[view] is not None
                ]
            ),
            self._origin.encode(record)[HEADER_LENGTH:],
            _END,
        )

    def parts_of_prediction(self, prediction: Mapping[str, Any]) -> CopiedParts:
        """The same of a prediction that is decoded, to write another of the same event."""
        entity = prediction["entity"]
        return (
            encode_text(prediction["event_id"]),
            encode_integer(prediction["event_time"]),
            NULL if entity is None else _PRESENT + encode_text(entity),
            _array([encode_emission(**view) for view in prediction["views"]]),
            self._origin.encode(prediction)[HEADER_LENGTH:],
            _array([encode_defaulted(**each) for each in prediction["defaulted"]]),
        )

    def encode(
        self,
        consumed: Consumed,
        parts: CopiedParts,
        vector: bytes,
        score: float,
        decision: str,
        route: str,
        scored_at: bytes,
        *,
        outputs: Sequence[float] = (),
        reasons: Sequence[Reason] = (),
        cascade: CascadeScore | None = None,
        rollout: bytes = NULL,
    ) -> bytes:
        """The value of the prediction for a feature record.

        Args:
            consumed: The feature record.
            parts: What is copied from it.
            vector: The model's inputs, packed.
            score: A finite number.
            decision: The decision on it.
            route: ``primary`` or ``fallback``.
            scored_at: Epoch ms, from :func:`encode_integer`: a batch has one.
            outputs: The values of the outputs that are kept.
            reasons: The reasons of a positive decision, or of an audited one.
            cascade: How a cascade came to the score.
            rollout: The arm that scored the event, from :func:`encode_arm`.
        """
        event_id, event_time, entity, views, origin, defaulted = parts
        by_strong = cascade is not None and cascade.in_band
        outcome = self._outcomes.get((decision, route, by_strong)) or self._outcome(decision, route, by_strong)
        place = self._places.get(consumed[:2]) or self._place(consumed)
        return b"".join(
            (
                self._header,
                event_id,
                self._pipeline,
                event_time,
                entity,
                _DOUBLE.pack(score),
                outcome,
                views,
                scored_at,
                origin,
                place,
                _offset(consumed.offset),
                encode_integer(len(vector)),
                vector,
                self._outputs(outputs) if outputs else _END,
                self._reasons(reasons) if reasons else _END,
                defaulted,
                NULL if cascade is None else self._cascade(cascade),
                rollout,
            )
        )

    def _outputs(self, values: Sequence[float]) -> bytes:
        return _array([name + _DOUBLE.pack(value) for name, value in zip(self._kept, values, strict=True)])

    @staticmethod
    def _reasons(reasons: Sequence[Reason]) -> bytes:
        return _array([encode_text(reason.input) + _DOUBLE.pack(reason.contribution) for reason in reasons])

    @staticmethod
    def _emissions(columns: Columns, view: str, id_: bytes) -> list[bytes]:
        emissions = columns.encoded(f"{view}.{_FIRST_EMISSION}", f"{view}.{_LAST_EMISSION}")
        return [id_ + emission if emission else b"" for emission in emissions]

    def _cascade(self, scores: CascadeScore) -> bytes:
        fast, strong, _, audited = scores
        of_strong = NULL if strong is None else _PRESENT + _DOUBLE.pack(strong)
        return b"".join((_PRESENT, self._versions, _DOUBLE.pack(fast), of_strong, self._band, _BOOLEANS[audited]))

    def _outcome(self, decision: str, route: str, by_strong: bool) -> bytes:
        model = self._strong if by_strong else self._model
        outcome = encode_text(decision) + model + encode_text(route) + self._policy_version
        return self._outcomes.setdefault((decision, route, by_strong), outcome)

    def _place(self, consumed: Consumed) -> bytes:
        place = encode_text(consumed.topic) + encode_integer(consumed.partition)
        return self._places.setdefault((consumed.topic, consumed.partition), place)


def _encode_model(model: ModelIdentity) -> bytes:
    return encode_text(model.name) + encode_text(model.version)


def with_other_views(parts: CopiedParts, served: Sequence[bytes], defaulted: Sequence[bytes]) -> CopiedParts:
    """The parts with the views of other pipelines: the emissions that were served, and what was not.

    Both are encoded, see :func:`encode_emission` and :func:`encode_defaulted`.
    """
    event_id, event_time, entity, views, origin, _ = parts
    # A block of its own: an array's blocks end with an empty one.
    return event_id, event_time, entity, views[: -len(_END)] + _array(served), origin, _array(defaulted)


def encode_emission(view: str, entity: str, epoch: int, seq: int, as_of: int) -> bytes:
    """One of a prediction's ``views``."""
    return encode_text(view) + encode_text(entity) + b"".join(map(encode_integer, (epoch, seq, as_of)))


def encode_defaulted(view: str, reason: str) -> bytes:
    """One of a prediction's views that were not served."""
    return encode_text(view) + encode_text(reason)


def encode_arm(
    policy: str, arm: str, probability: float, *, explored: bool, propensity: float, infer_ms: float
) -> bytes:
    """The arm of a rollout that scored an event; the arguments are the fields of a prediction's ``rollout``."""
    names = encode_text(policy) + encode_text(arm)
    return b"".join(
        (
            _PRESENT,
            names,
            _DOUBLE.pack(probability),
            _BOOLEANS[explored],
            _DOUBLE.pack(propensity),
            _DOUBLE.pack(infer_ms),
        )
    )


def encode_integer(value: int) -> bytes:
    """An Avro integer, of 64 bits: zigzag, seven bits a byte, the lowest first."""
    return _encode_unsigned((value << 1) ^ (value >> 63))


def encode_text(text: str) -> bytes:
    """An Avro string: its length in bytes, then UTF-8."""
    encoded = text.encode()
    return encode_integer(len(encoded)) + encoded


def text_of(encoded: bytes) -> bytes:
    """The UTF-8 bytes of an Avro string."""
    start = 1
    while encoded[start - 1] > 0x7F:
        start += 1
    return encoded[start:]


def entity_of(parts: CopiedParts) -> str | None:
    """The entity of the pipeline's first view."""
    return None if parts[2] == NULL else text_of(parts[2][1:]).decode()


def _offset(offset: int) -> bytes:
    """Like :func:`encode_integer`, for offsets that follow one another: they share all but the first byte."""
    return _FIRST_BYTES[offset & 0x3F] + _encode_unsigned(offset >> 6) if offset > 0x3F else encode_integer(offset)


@lru_cache(maxsize=1_024)
def _encode_unsigned(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _part_encoder(fields: list[dict[str, Any]]) -> Encoder:
    return Encoder({"type": "record", "name": "Part", "fields": fields})


def _array(items: Sequence[bytes]) -> bytes:
    """An Avro array of those items that are not empty."""
    count = len(items) - items.count(b"")
    return b"".join((encode_integer(count), *items, _END)) if count else _END
