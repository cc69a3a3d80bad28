"""From a written value to the value of its column, and back.

The job's kernel has the same rules (``WrittenValue.java``).

A written value is what a JSON or an Avro reader gives. What cannot be read becomes :class:`Unreadable`, which says why
and never quotes the value.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.constraints import INT64_MAX, INT64_MIN
from schemas.written import TIME_FORMS, Form

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_UUID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
# A longer number than any column holds; it is not computed.
_LONGEST_DECIMAL = 100
_MOST_BYTES = 40

LogicalType = Mapping[str, Any]
"""The type in a writer's Avro schema of a field with a logical type: ``penstock.logicalType``, ``scale``."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that its field's form does not allow. No column can hold it, so validation refuses it."""

    problem: str


def column_value(
    raw: Any, form: Form | None, kind: str, scale: int | None, precision: int | None, avro: LogicalType | None
) -> Any:
    """The value of a column of type ``kind`` for a value that is written as ``form``; None stays None.

    Without a form, only times of Avro's logical types are converted: the caller gives their type for times only.
    """
    if raw is None:
        return None
    if form is None or form in TIME_FORMS:
        return _time(raw, form, avro)
    match form:
        case "date":
            return _date(raw, kind)
        case "uuid":
            return _uuid(raw)
        case "bytes":
            return _bytes(raw)
        case _:
            assert scale is not None
            assert precision is not None
            return _decimal(raw, kind, scale, precision, avro)


def written_value(value: Any, form: Form | None, scale: int | None, *, avro: bool) -> Any:
    """The inverse of :func:`column_value`, in JSON's form or in that of the contract's Avro schema."""
    if value is None or form is None:
        return value
    written = value
    match form:
        case "iso8601":
            written = _iso_text(value)
        case "seconds":
            written = value // 1000
        case "microseconds":
            written = value * 1000
        case "nanoseconds":
            written = value * 1_000_000
        case "date":
            day = date.fromisoformat(value) if isinstance(value, str) else date.fromordinal(value + EPOCH_ORDINAL)
            written = day.toordinal() - EPOCH_ORDINAL if avro else day.isoformat()
        case "bytes" if avro:
            written = base64.b64decode(value)
        case "decimal":
            written = value if isinstance(value, str) else f"{value:.{scale}f}"
            if avro:
                unscaled = int(written.replace(".", ""))
                written = unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
    return written


def _time(raw: Any, form: Form | None, avro: LogicalType | None) -> Any:
    if type(raw) is int and avro is not None:
        form = _FORM_OF[avro["penstock.logicalType"]]
    if form is None:
        return raw
    if form == "iso8601":
        return _iso_ms(raw) if type(raw) is str else Unreadable("must be a text, a time in ISO 8601 with its zone")
    if type(raw) is not int:
        return Unreadable(f"must be an integer, {form} since 1970")
    ms = {"seconds": raw * 1000, "microseconds": raw // 1000, "nanoseconds": raw // 1_000_000}[form]
    return ms if INT64_MIN <= raw <= INT64_MAX and INT64_MIN <= ms <= INT64_MAX else Unreadable("must fit 64 bits")


_FORM_OF: dict[str, Form | None] = {
    "timestamp-millis": None,
    "timestamp-micros": "microseconds",
    "timestamp-nanos": "nanoseconds",
}
TIMESTAMPS = tuple(_FORM_OF)
"""Avro's logical types of times with a zone."""


def _iso_ms(text: str) -> int | Unreadable:
    match = _ISO.fullmatch(text)
    if match is None:
        return Unreadable("must be a time in ISO 8601, such as 2026-03-01T12:30:00.250Z")
    day, hour, minute, second, fraction, zone = match.groups()
    if zone is None:
        return Unreadable("has no zone: it must end with Z or an offset such as +01:00")
    offset = 0
    if zone not in "Zz":
        digits = zone[1:].replace(":", "") + "00"
        hours, minutes = int(digits[:2]), int(digits[2:4])
        offset = (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)
    else:
        hours, minutes = 0, 0
    days = _days(day)
    if days is None or int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59 or hours > 23 or minutes > 59:
        return Unreadable("is not a time that exists")
    seconds = ((days * 24 + int(hour)) * 60 + int(minute) - offset) * 60 + int(second or 0)
    return seconds * 1000 + int(((fraction or "") + "000")[:3])


def _iso_text(ms: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _days(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() - EPOCH_ORDINAL
    except ValueError:
        return None


def _date(raw: Any, kind: str) -> Any:
    days = raw if type(raw) is int else _days(raw) if type(raw) is str and _DATE.fullmatch(raw) else None
    if days is None or not 1 <= days + EPOCH_ORDINAL <= date.max.toordinal():
        return Unreadable("must be a date: YYYY-MM-DD, or days since 1970")
    return days if kind == "long" else date.fromordinal(days + EPOCH_ORDINAL).isoformat()


def _uuid(raw: Any) -> Any:
    if type(raw) is bytes and len(raw) == 16:
        text = raw.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    if type(raw) is str and _UUID.fullmatch(raw):
        return raw.lower()
    return Unreadable("must be a UUID")


def _bytes(raw: Any) -> Any:
    if type(raw) is bytes:
        return base64.b64encode(raw).decode()
    if type(raw) is str:
        try:
            canonical = base64.b64encode(base64.b64decode(raw, validate=True)).decode()
        except (binascii.Error, ValueError):
            canonical = None
        if canonical == raw:
            return raw
    return Unreadable("must be bytes, in JSON as base64 with padding")


def _scale_of(avro: LogicalType) -> int:
    """The scale in a writer's schema; one that is no number of 64 bits is none, as in the kernel."""
    scale = avro.get("scale", 0)
    if type(scale) is float and math.isfinite(scale):
        return int(scale)
    return scale if type(scale) is int and INT64_MIN <= scale <= INT64_MAX else 0


def _decimal(raw: Any, kind: str, scale: int, precision: int, avro: LogicalType | None) -> Any:
    if type(raw) is bytes and raw:
        written_scale = scale if avro is None else _scale_of(avro)
        if len(raw) > _MOST_BYTES or not 0 <= written_scale <= _LONGEST_DECIMAL:
            return Unreadable(f"must have at most {precision} digits")
        unscaled = int.from_bytes(raw, "big", signed=True)
    elif type(raw) is str and _DECIMAL.fullmatch(raw):
        if len(raw) > _LONGEST_DECIMAL:
            return Unreadable(f"must have at most {precision} digits")
        written_scale = len(raw.partition(".")[2])
        unscaled = int(raw.replace(".", ""))
    else:
        return Unreadable('must be a decimal number: a text such as "12.50", or bytes in Avro')
    if written_scale > scale:
        unscaled, rest = divmod(unscaled, 10 ** (written_scale - scale))
        if rest:
            return Unreadable(f"must have at most {scale} decimal places")
    else:
        unscaled *= 10 ** (scale - written_scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    if len(str(abs(unscaled))) > precision:
        return Unreadable(f"must have at most {precision} digits")
    exact = ("-" if unscaled < 0 else "") + digits[: len(digits) - scale] + ("." + digits[-scale:] if scale else "")
    return float(exact) if kind == "double" else exact
