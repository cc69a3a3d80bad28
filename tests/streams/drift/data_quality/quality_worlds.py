"""Seeded worlds of raw payments on two partitions: calm ones, and faults to put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract
from streams.drift.data_quality.learning import Watched, learn
from streams.drift.data_quality.quality_reference import QualityReference
from streams.drift.data_quality.raw_events import RawEvent, WatchedTopic
from streams.drift.data_quality.topic_watch import Finding, TopicWatch

PARTITIONS, WINDOW = 2, 200
BEGIN_MS = 1_767_571_200_000  # a Monday
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class Payment(Contract, name="payment_of_worlds", version=1):
    payment_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: Annotated[float, Field(gt=0, lt=1e12)]
    currency: Literal["EUR", "GBP", "JPY"]
    city: str
    device: str | None = None


TOPIC = WatchedTopic("events.payments", Payment, 60_000)
NAMES = [column.name for column in TOPIC.columns]
AMOUNT, CURRENCY = NAMES.index("amount"), NAMES.index("currency")

Fault = Callable[[RawEvent, int], RawEvent | None]
"""Changes an event, or takes it away; with its number since the fault began."""


@dataclass(frozen=True)
class World:
    """Payments of some days.

    Args:
        kind: ``independent``, ``rhythm`` (daily and weekly), ``heavy`` (tails of amounts), ``growing`` (cities), or
            ``sticky`` (nulls that stay alike for hours).
        days: How long.
        per_hour: How many payments an hour has on average.
        seed: Draws everything.
        fault: What goes wrong, from ``at_ms`` on.
        at_ms: See above, epoch ms.
    """

    kind: str = "independent"
    days: float = 14
    per_hour: float = 60
    seed: int = 0
    fault: Fault | None = None
    at_ms: int = 0

    @property
    def end_ms(self) -> int:
        return BEGIN_MS + round(self.days * DAY_MS)

    def with_fault(self, fault: Fault, at_ms: int) -> World:
        return replace(self, fault=fault, at_ms=at_ms)

    def events(self, from_ms: int = BEGIN_MS) -> Iterator[RawEvent]:
        """The payments since a time, in the order of their times."""
        rng = np.random.default_rng([self.seed, len(self.kind)])
        hours = round(self.days * 24)
        at = np.arange(hours)
        rate = np.full(hours, float(self.per_hour))
        if self.kind == "rhythm":
            rate *= 1 + 0.8 * np.sin(2 * np.pi * (at % 24) / 24)
            rate *= np.where(at // 24 % 7 >= 5, 0.5, 1.0)
        level = np.zeros(hours)
        if self.kind == "sticky":
            for hour in range(1, hours):
                level[hour] = level[hour - 1] * np.exp(-1 / 4) + rng.normal() * np.sqrt(1 - np.exp(-1 / 2))
        counts = rng.poisson(rate)
        number, offsets = 0, [0] * PARTITIONS
        since = 0
        for hour in range(hours):
            n = int(counts[hour])
            times = BEGIN_MS + hour * HOUR_MS + np.sort(rng.integers(0, HOUR_MS, n))
            amounts = np.exp(rng.normal(3, 1, n)) if self.kind != "heavy" else (rng.pareto(0.9, n) + 1) * 10
            null_share = 0.3 / (1 + np.exp(-level[hour])) * 2
            if self.kind == "rhythm":
                null_share = 0.3 + 0.25 * np.sin(2 * np.pi * (hour % 24) / 24)
            nulls, draws, cards = rng.random(n) < null_share, rng.random(n), rng.integers(0, 2_000, n)
            cities = 50 + (hour // 180 if self.kind == "growing" else 0)
            towns = (cities * rng.random(n) ** 2).astype(int)
            versions = rng.random(n) < 0.4
            for row in range(n):
                partition = int(cards[row]) % PARTITIONS
                time = int(times[row])
                values: dict[str, Any] = {
                    "payment_id": f"p{number}",
                    "event_time": time,
                    "card": f"card-{cards[row]}",
                    "amount": float(amounts[row]),
                    "currency": "EUR" if draws[row] < 0.8 else "GBP",
                    "city": f"city-{towns[row]}",
                    "device": None if nulls[row] else f"d{cards[row]}",
                }
                event: RawEvent | None = RawEvent(
                    partition,
                    offsets[partition],
                    time + 500,
                    time,
                    "4.2" if versions[row] else "4.1",
                    f"p{number}",
                    tuple(values[name] for name in NAMES),
                )
                number += 1
                if self.fault is not None and time >= self.at_ms:
                    event = self.fault(event, since)
                    since += 1
                if event is not None:
                    offsets[partition] += 1
                    if time >= from_ms:
                        yield event


def learnt(world: World, until_ms: int, false_alarm_every: int = 100_000) -> QualityReference:
    """What is learnt of a world until a time."""

    def events() -> Iterator[RawEvent]:
        for event in world.events():
            if event.event_time >= until_ms:
                return
            yield event

    topic = Watched(TOPIC.topic, TOPIC.columns, TOPIC.has_ids, events, {})
    return learn("payments", [topic], WINDOW, false_alarm_every, seed=1)


def watch_of(reference: QualityReference) -> TopicWatch:
    """A watch of the only topic."""
    (topic,) = reference.topics
    return TopicWatch(TOPIC, topic, reference.window, PARTITIONS)


def watched(watch: TopicWatch, world: World, from_ms: int) -> list[Finding]:
    """What a watch finds in the events since a time, whose clock is that of the events."""
    found = []
    for event in world.events(from_ms):
        found += watch.observe(event)
        found += watch.advance(range(PARTITIONS), event.timestamp)
    return found
