"""The messages of the ads example: impressions, clicks and conversions as producers deliver them, including faults.

Messages are in order of arrival. Some come late, some twice, and some impressions are malformed. Event time starts at
the simulation's ``START_MS`` and does not depend on the wall clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from examples.ads.conversions import pipeline as of_conversions
from examples.ads.pipeline import Click, Conversion, pipeline
from examples.ads.pipeline import Impression as ImpressionContract
from examples.ads.simulation import (
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    START_MS,
    Impression,
    World,
    WorldConfig,
    as_facts,
)
from examples.messages import Arriving, EventFormats, Kind, Message, in_order_of_arrival
from schemas.codec import MARKER, Reason

Event = dict[str, Any]
IMPRESSIONS, CLICKS, CONVERSIONS = (source.topic for source in pipeline.sources)


@dataclass(frozen=True, kw_only=True)
class AdsConfig:
    """The simulated world, which labels it has, and the delivery faults of its messages as shares.

    Of the impressions, ``out_of_order`` ones arrive up to five minutes late and ``hours_late`` ones one to twelve
    hours. ``duplicates`` are the same bytes again within ten minutes, of impressions that are at most five minutes
    late. ``malformed`` impressions are sent in addition. ``clicked_again`` is the share of clicks that come twice.
    ``avro`` is the share of events in Avro; the others are JSON. ``labels`` are those of the pipeline of that name.
    """

    world: WorldConfig = field(default_factory=WorldConfig)
    labels: Literal["clicks", "conversions"] = "clicks"
    out_of_order: float = 0.02
    hours_late: float = 0.002
    duplicates: float = 0.005
    malformed: float = 0.005
    clicked_again: float = 0.04
    avro: float = 0.5


def messages(seed: int, limit: int | None = None, config: AdsConfig | None = None) -> Iterator[Message]:
    """The messages of the first ``limit`` impressions of the world (None: without end), in order of arrival.

    Exactly ``limit`` of them are valid impressions. Each click and each conversion comes when it happens, at the
    earliest with its impression. Only what did happen has a label. The same arguments always give the same bytes.
    """
    config = config or AdsConfig()
    delivery = _Delivery(random.Random(seed), config)  # noqa: S311 - a simulation
    return in_order_of_arrival(World(seed, config.world).days(), START_MS, delivery.deliver, limit)


class _Delivery:
    """Turns impressions into messages, each with its time of arrival and a number that orders equal times."""

    def __init__(self, rng: random.Random, config: AdsConfig) -> None:
        self._rng = rng
        self._config = config
        self._formats = {
            IMPRESSIONS: EventFormats(ImpressionContract),
            CLICKS: EventFormats(Click),
            CONVERSIONS: EventFormats(Conversion),
        }
        of = pipeline if config.labels == "clicks" else of_conversions
        assert of.labels is not None
        self._labels_topic, self._labels = of.labels.topic, EventFormats(of.labels.contract)
        self._sent = 0

    def deliver(self, impression: Impression, number: int) -> Iterator[Arriving]:
        rng, config, time = self._rng, self._config, impression.time_ms
        event = as_event(impression, f"i{number:08d}")
        arrival = time + self._delay_ms()
        message = self._message(IMPRESSIONS, event, time, "event")
        yield self._arriving(arrival, message)
        if rng.random() < config.duplicates and arrival - time <= 5 * MINUTE_MS:
            yield self._again(arrival, message)
        if rng.random() < config.malformed:
            make, reason = rng.choice(MALFORMATIONS)
            bad = make(event | {"impression_id": f"bad{number:08d}"}, self._formats[IMPRESSIONS])
            yield self._arriving(arrival, Message(IMPRESSIONS, message.key, bad, time, "malformed", reason))
        yield from self._outcomes(impression, event, arrival)

    def _outcomes(self, impression: Impression, event: Event, shown: int) -> Iterator[Arriving]:
        facts = as_facts(impression) | {"impression_id": event["impression_id"]}
        of_clicks = self._config.labels == "clicks"
        if (clicked := impression.clicked_ms) is not None:
            click = {"click_id": f"c{event['impression_id']}", "clicked_at": clicked} | facts
            arrival, message = self._after(clicked, shown), self._message(CLICKS, click, clicked, "update")
            yield self._arriving(arrival, message)
            if self._rng.random() < self._config.clicked_again:
                yield self._again(arrival, message)
            if of_clicks:
                yield self._label(facts["impression_id"], clicked, shown, "is_clicked")
        if (converted := impression.converted_ms) is not None:
            order = {"conversion_id": f"o{event['impression_id']}", "converted_at": converted} | facts
            order |= {"order_value": impression.order_value}
            yield self._arriving(self._after(converted, shown), self._message(CONVERSIONS, order, converted, "update"))
            if not of_clicks:
                yield self._label(facts["impression_id"], converted, shown, "is_converted")

    def _message(self, topic: str, event: Event, time: int, kind: Kind) -> Message:
        formats = self._formats[topic]
        write = formats.avro if self._rng.random() < self._config.avro else formats.json
        return Message(topic, event["user_id"].encode(), write(event), time, kind)

    def _label(self, impression_id: str, time: int, shown: int, value: str) -> Arriving:
        label = {"impression_id": impression_id, "label_time": time, value: True}
        message = Message(self._labels_topic, impression_id.encode(), self._labels.avro(label), time, "label")
        return self._arriving(self._after(time, shown), message)

    def _delay_ms(self) -> int:
        rng, config = self._rng, self._config
        chance = rng.random()
        if chance < config.hours_late:
            return rng.randrange(HOUR_MS, 12 * HOUR_MS)
        if chance < config.hours_late + config.out_of_order:
            return rng.randrange(10 * SECOND_MS, 5 * MINUTE_MS)
        return rng.randrange(SECOND_MS)

    def _after(self, time: int, shown: int) -> int:
        """When it arrives: at once, but with its impression at the earliest."""
        return max(time, shown) + self._rng.randrange(SECOND_MS)

    def _again(self, arrival: int, message: Message) -> Arriving:
        copy = Message(message.topic, message.key, message.value, message.event_time_ms, "duplicate")
        return self._arriving(arrival + self._rng.randrange(SECOND_MS, 10 * MINUTE_MS), copy)

    def _arriving(self, arrival: int, message: Message) -> Arriving:
        self._sent += 1
        return arrival, self._sent, message


def as_event(impression: Impression, impression_id: str) -> Event:
    """The impression as its contract has it."""
    return as_facts(impression) | {
        "impression_id": impression_id,
        "event_time": impression.time_ms,
        "device": impression.device,
        "bid_price": impression.bid_price,
        "floor_price": impression.floor_price,
        "paid_price": impression.paid_price,
        "daily_budget": impression.daily_budget,
    }


MALFORMATIONS: tuple[tuple[Callable[[Event, EventFormats], bytes | None], Reason], ...] = (
    (lambda _event, _formats: b"<html>504 Gateway Time-out</html>", "penstock.Undecodable"),
    (lambda event, formats: formats.json(event)[:-1], "penstock.Undecodable"),
    (lambda event, formats: MARKER + b"\x00unknown" + formats.avro(event)[10:], "penstock.UnknownSchema"),
    (lambda event, formats: formats.json(event | {"user_id": None}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"position": "popup"}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"paid_price": str(event["paid_price"])}), "penstock.InvalidField"),
    (lambda event, formats: formats.avro(event | {"bid_price": -event["bid_price"]}), "penstock.InvalidField"),
    (lambda event, formats: formats.avro(event | {"campaign_id": "summer"}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"event_time": event["event_time"] // 1000}), "penstock.InvalidField"),
    (lambda _event, _formats: None, "penstock.Tombstone"),
)
"""Ways to make an impression malformed, each with its dead-letter reason; all are equally frequent."""
