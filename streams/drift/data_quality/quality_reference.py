"""What raw events were like in a good time, and the limits beyond which they are unusual."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError
from streams.drift.data_quality.hours import HOUR_MS
from streams.drift.data_quality.partition_counts import Usual
from streams.drift.drift_reference import NEVER

Kind = Literal[
    "null", "invalid", "range", "category", "distinct", "malformed", "duplicate", "late", "volume", "silence"
]
KINDS: tuple[Kind, ...] = (
    "null",
    "invalid",
    "range",
    "category",
    "distinct",
    "malformed",
    "duplicate",
    "late",
    "volume",
    "silence",
)


class UnreadableReferenceError(PenstockError):
    """What should be a reference is none."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limit(_Frozen):
    """What is usual of one check, and from where on it is not.

    Of a share of records, ``expected`` and ``high`` are shares. Of ``distinct`` they are numbers of values in a window,
    and ``low`` is the other limit.
    """

    column: str
    kind: Kind
    expected: float
    high: float
    low: float = -1.0


class Volume(_Frozen):
    """How many events an hour has.

    ``expected`` is for each hour of the week (168), of the day (24), or for any hour (1), counted from the epoch's;
    each is the mean of ``times`` hours. ``spread`` is the standard deviation, as a share, beyond that of chance.
    ``hour`` and ``day`` are the greatest usual deviations of an hour and of 24 hours, in standard deviations;
    ``silence`` is how many events must be missed in a row. Each is ``NEVER`` if it is refused.
    """

    expected: tuple[float, ...]
    times: float = 1.0
    spread: float = 0.0
    hour: float = NEVER
    day: float = NEVER
    silence: float = NEVER

    def expected_at(self, hour: int) -> float:
        """How many events are expected of an hour since the epoch."""
        return self.expected[hour % len(self.expected)]

    def deviation(self, hours: Sequence[tuple[int, int]]) -> float:
        """How unusual the numbers of events of some hours are together, in standard deviations.

        Args:
            hours: Hours since the epoch, each with its number of events.
        """
        usual = [self.expected_at(hour) for hour, _ in hours]
        expected, events = sum(usual), sum(count for _, count in hours)
        spread = self.spread * math.sqrt(sum(one * one for one in usual)) / max(expected, 1e-9)
        return (_levelled(events, spread) - _levelled(expected, spread)) / math.sqrt(1 + 1 / self.times)

    def missed(self, from_ms: int, to_ms: int) -> float:
        """How many events are expected between two times, epoch ms."""
        if to_ms - from_ms > 168 * HOUR_MS:  # weeks are alike
            weeks, rest = divmod(to_ms - from_ms, 168 * HOUR_MS)
            return weeks * sum(self.expected) * 168 / len(self.expected) + self.missed(to_ms - rest, to_ms)
        total, at = 0.0, from_ms
        while at < to_ms:
            end = min((at // HOUR_MS + 1) * HOUR_MS, to_ms)
            total += self.expected_at(at // HOUR_MS) * (end - at) / HOUR_MS
            at = end
        return total


def _levelled(events: float, spread: float) -> float:
    """A number of events on a scale on which its deviation is 1, whatever it is (Anscombe, Biometrika 1948)."""
    root = math.sqrt(events + 0.375)
    return 2 * math.asinh(spread * root) / spread if spread > 1e-6 else 2 * root


class TopicReference(_Frozen):
    """One topic. Events up to event time ``until_ms`` were learnt from, and are not watched.

    ``start`` has the offset at which to begin, by partition. ``ranges``, ``categories`` and ``late_ms`` are those of
    :class:`Usual`. ``refused`` says what is not watched, and why.
    """

    topic: str
    events: int
    from_ms: int
    until_ms: int
    start: Mapping[int, int]
    ranges: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]
    late_ms: int
    limits: tuple[Limit, ...]
    volume: Volume
    refused: tuple[str, ...]

    @cached_property
    def usual(self) -> Usual:
        """What its records are held against."""
        return Usual(
            dict(self.ranges), {name: frozenset(values) for name, values in self.categories.items()}, self.late_ms
        )


class QualityReference(_Frozen):
    """All watched topics of a pipeline. ``window`` and ``false_alarm_every`` are the monitors' settings."""

    format: Literal[1] = 1
    pipeline: str
    window: int
    false_alarm_every: int
    topics: tuple[TopicReference, ...]

    @cached_property
    def hash(self) -> str:
        """Content hash. What is counted belongs to exactly one reference."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def read_quality_reference(value: bytes, where: str) -> QualityReference:
    """The reference in a record.

    Raises:
        UnreadableReferenceError: if it is none.
    """
    try:
        return QualityReference.model_validate_json(value)
    except ValidationError as error:
        raise UnreadableReferenceError(
            f"the reference of data quality cannot be read: {error.errors()[0]['msg']}",
            where=where,
            safe="all published alerts",
            next="penstock data-quality profile PIPELINE",
        ) from error
