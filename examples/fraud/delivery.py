"""The messages of the fraud example: the simulated payments as producers deliver them, including faults.

Messages are in order of arrival. Some payments arrive late, some twice, and some are malformed; a label arrives when it
is known. Event time starts at the simulation's ``START_MS`` and does not depend on the wall clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from examples.fraud.pipeline import CardTransaction, FraudLabel, pipeline
from examples.fraud.simulation import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, START_MS, Transaction, World, WorldConfig
from examples.messages import Arriving, EventFormats, Message, in_order_of_arrival
from schemas.codec import MARKER, Reason

Event = dict[str, Any]


class LabelDelay(NamedTuple):
    """How long after its event a label is known: a minimum of two hours, and then exponential, up to ``longest_ms``."""

    mean_ms: int
    longest_ms: int


_WITHIN_THREE_DAYS = LabelDelay(mean_ms=18 * HOUR_MS, longest_ms=3 * DAY_MS)


@dataclass(frozen=True, kw_only=True)
class FraudConfig:
    """The simulated world, and the delivery faults of its messages as shares of the transactions.

    ``out_of_order`` events arrive up to five minutes late, ``hours_late`` ones one to twelve hours, and ``too_late``
    ones eight to ten days, which is longer than the longest window. ``duplicates`` are the same bytes again within ten
    minutes; only events that are at most five minutes late are duplicated, so that the copy is within the source's
    horizon. ``malformed`` messages are sent in addition. ``avro`` is the share of events in Avro; the others are JSON.
    ``honest_label`` and ``fraud_label`` are the delays of labels of the two classes.
    """

    world: WorldConfig = field(default_factory=WorldConfig)
    out_of_order: float = 0.02
    hours_late: float = 0.002
    too_late: float = 0.0005
    duplicates: float = 0.005
    malformed: float = 0.005
    avro: float = 0.5
    honest_label: LabelDelay = _WITHIN_THREE_DAYS
    fraud_label: LabelDelay = _WITHIN_THREE_DAYS


def messages(seed: int, limit: int | None = None, config: FraudConfig | None = None) -> Iterator[Message]:
    """The messages of the first ``limit`` transactions of the world (None: without end), in order of arrival.

    Exactly ``limit`` of them are valid events. Each of these that was not declined has a label, which becomes known 2
    hours to 3 days later, or as the configuration says, and never before the event has arrived. The same arguments
    always give the same bytes.
    """
    config = config or FraudConfig()
    delivery = _Delivery(random.Random(seed), config)  # noqa: S311 - a simulation
    return in_order_of_arrival(World(seed, config.world).days(), START_MS, delivery.deliver, limit)


class _Delivery:
    """Turns transactions into messages, each with its time of arrival and a number that orders equal times."""

    def __init__(self, rng: random.Random, config: FraudConfig) -> None:
        self._rng = rng
        self._config = config
        self._events = EventFormats(CardTransaction)
        self._labels = EventFormats(FraudLabel)
        self._sent = 0

    def deliver(self, transaction: Transaction, number: int) -> Iterator[Arriving]:
        rng, config = self._rng, self._config
        event = as_event(transaction, f"tx-{number:08d}")
        write = self._events.avro if rng.random() < config.avro else self._events.json
        key, value, time = transaction.card_id.encode(), write(event), transaction.time_ms
        arrival = time + self._delay_ms()
        yield self._arriving(arrival, Message(pipeline.source.topic, key, value, time, "event"))
        if rng.random() < config.duplicates and arrival - time <= 5 * MINUTE_MS:
            again = arrival + rng.randrange(SECOND_MS, 10 * MINUTE_MS)
            yield self._arriving(again, Message(pipeline.source.topic, key, value, time, "duplicate"))
        if rng.random() < config.malformed:
            bad, reason = self._malformed(event | {"transaction_id": f"bad-{number:08d}"})
            yield self._arriving(arrival, Message(pipeline.source.topic, key, bad, time, "malformed", reason))
        if not transaction.declined:
            yield self._label(transaction, event["transaction_id"], arrival)

    def _label(self, transaction: Transaction, transaction_id: str, arrival: int) -> Arriving:
        of_class = self._config.honest_label if transaction.scenario is None else self._config.fraud_label
        delay = min(2 * HOUR_MS + int(self._rng.expovariate(1 / of_class.mean_ms)), of_class.longest_ms)
        known = max(transaction.time_ms + delay, arrival + HOUR_MS)
        label = {"transaction_id": transaction_id, "label_time": known, "is_fraud": transaction.scenario is not None}
        assert pipeline.labels is not None
        message = Message(pipeline.labels.topic, transaction_id.encode(), self._labels.avro(label), known, "label")
        return self._arriving(known, message)

    def _delay_ms(self) -> int:
        rng, config = self._rng, self._config
        chance = rng.random()
        if chance < config.too_late:
            return rng.randrange(8 * DAY_MS, 10 * DAY_MS)
        if chance < config.too_late + config.hours_late:
            return rng.randrange(HOUR_MS, 12 * HOUR_MS)
        if chance < config.too_late + config.hours_late + config.out_of_order:
            return rng.randrange(10 * SECOND_MS, 5 * MINUTE_MS)
        return rng.randrange(2 * SECOND_MS)

    def _malformed(self, event: Event) -> tuple[bytes | None, Reason]:
        make, reason = self._rng.choice(MALFORMATIONS)
        return make(event, self._events), reason

    def _arriving(self, arrival: int, message: Message) -> Arriving:
        self._sent += 1
        return arrival, self._sent, message


def as_event(transaction: Transaction, transaction_id: str) -> Event:
    """The payment as its contract has it."""
    return {
        "transaction_id": transaction_id,
        "event_time": transaction.time_ms,
        "card_id": transaction.card_id,
        "customer_id": transaction.customer_id,
        "cardholder_name": transaction.cardholder_name,
        "terminal_id": transaction.terminal_id,
        "amount": transaction.amount,
        "currency": transaction.currency,
        "channel": transaction.channel,
        "country": transaction.country,
        "home_country": transaction.home_country,
        "device_id": transaction.device_id,
    }


def _without_amount(event: Event, formats: EventFormats) -> bytes:
    return formats.json({name: value for name, value in event.items() if name != "amount"})


def _with_unknown_schema(event: Event, formats: EventFormats) -> bytes:
    return MARKER + b"\x00unknown" + formats.avro(event)[10:]


MALFORMATIONS: tuple[tuple[Callable[[Event, EventFormats], bytes | None], Reason], ...] = (
    (lambda _event, _formats: b"\xff\xfe not an event", "penstock.Undecodable"),
    (lambda event, formats: formats.json(event)[:-1], "penstock.Undecodable"),
    (lambda event, formats: formats.avro(event)[:-1], "penstock.Undecodable"),
    (lambda event, formats: formats.json(event | {"amount": float("nan")}), "penstock.Undecodable"),
    (_with_unknown_schema, "penstock.UnknownSchema"),
    (_without_amount, "penstock.InvalidField"),
    (lambda event, formats: formats.avro(event | {"amount": float("nan")}), "penstock.InvalidField"),
    (lambda event, formats: formats.avro(event | {"amount": -event["amount"]}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"amount": 1e6}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"amount": str(event["amount"])}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"terminal_id": None}), "penstock.InvalidField"),
    (lambda event, formats: formats.avro(event | {"card_id": "4111"}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"channel": "cheque"}), "penstock.InvalidField"),
    (lambda event, formats: formats.json(event | {"event_time": event["event_time"] // 1000}), "penstock.InvalidField"),
    (
        lambda event, formats: formats.avro(event | {"event_time": event["event_time"] + 36_500 * DAY_MS}),
        "penstock.FutureEvent",
    ),
    (lambda _event, _formats: None, "penstock.Tombstone"),
)
"""Ways to make an event malformed, each with its dead-letter reason; all are equally frequent."""
