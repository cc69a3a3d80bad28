"""Card fraud: is a payment fraudulent?

Three views describe the recent behaviour of the card, the terminal and the customer, which a single payment does not
show. The events come from :mod:`examples.fraud.delivery`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_DROP,
    PII_HASH,
    Contract,
    DataQuality,
    Derived,
    Entity,
    Guardrail,
    Labels,
    Model,
    Monitors,
    Pipeline,
    Rollout,
    Source,
    View,
    approx_distinct,
    count,
    last,
    max_,
    mean,
    min_,
    std,
    sum_,
    time_since_last,
)

YEAR_2000_MS = 946_684_800_000
ALL = ("1m", "5m", "1h", "24h", "7d")


class CardTransaction(Contract, name="card_transaction", version=1):
    """A card payment, as the acquirer reports it when it is authorised."""

    transaction_id: Annotated[str, EVENT_ID, Field(min_length=1, max_length=36)]
    # A time before 2000 is probably in seconds. It is rejected, because it would be outside every window.
    event_time: Annotated[int, EVENT_TIME, Field(ge=YEAR_2000_MS)]
    card_id: Annotated[str, ENTITY, PII_HASH, Field(pattern="^[0-9]{16}$", description="card number")]
    customer_id: Annotated[str, ENTITY, Field(min_length=1, max_length=20)]
    cardholder_name: Annotated[str | None, PII_DROP, Field(max_length=100)] = None
    terminal_id: Annotated[str, ENTITY, Field(min_length=1, max_length=20, description="of the merchant")]
    amount: Annotated[float, Field(gt=0, lt=100_000, description="in the transaction's currency")]
    currency: Literal["EUR", "GBP", "USD"]
    channel: Literal["chip", "contactless", "online"]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="where the merchant is")]
    home_country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="where the card was issued")]
    device_id: Annotated[str | None, Field(max_length=20, description="online payments only")] = None


class FraudLabel(Contract, name="fraud_label", version=1):
    """What a transaction turned out to be, hours or days later."""

    transaction_id: Annotated[str, EVENT_ID, Field(min_length=1, max_length=36)]
    label_time: Annotated[int, EVENT_TIME, Field(ge=YEAR_2000_MS)]
    is_fraud: bool


card = Entity(name="card", key="card_id")
terminal = Entity(name="terminal", key="terminal_id")
customer = Entity(name="customer", key="customer_id")

derived = {
    "amount_eur": Derived(
        sql="CASE currency WHEN 'GBP' THEN amount * 1.15e0 WHEN 'USD' THEN amount * 0.92e0 ELSE amount END",
        type="double",
    ),
    "log_amount": Derived(sql="LN(amount)", type="double"),
    "hour_of_day": Derived(sql="FLOOR(MOD(event_time, 86400000) / 3600000e0)", type="double"),
    "is_night": Derived(sql="CASE WHEN MOD(event_time, 86400000) < 21600000 THEN 1e0 ELSE 0e0 END", type="double"),
    "is_foreign": Derived(sql="CASE WHEN country <> home_country THEN 1e0 ELSE 0e0 END", type="double"),
    "is_online": Derived(sql="CASE WHEN channel = 'online' THEN 1e0 ELSE 0e0 END", type="double"),
    "is_contactless": Derived(sql="CASE WHEN channel = 'contactless' THEN 1e0 ELSE 0e0 END", type="double"),
}

card_spend = View(
    name="card_spend",
    version=1,
    entity=card,
    aggregates=(
        count(over=ALL),
        sum_("amount_eur", over=ALL),
        mean("amount_eur", over=("24h", "7d")),
        max_("amount_eur", over=("1h", "24h", "7d")),
        std("amount_eur", over=("24h", "7d")),
        count(where="channel = 'online'", name="online", over=("5m", "1h", "24h", "7d")),
        count(where="amount > 200", name="large", over=("24h", "7d")),
        approx_distinct("terminal_id", over=("1h", "24h", "7d")),
        approx_distinct("device_id", over=("24h", "7d")),
        time_since_last(where="channel <> 'online'", name="since_present", over="7d"),
        last("country", where="channel <> 'online'", name="last_present_country", over="7d"),
    ),
)

terminal_risk = View(
    name="terminal_risk",
    version=1,
    entity=terminal,
    aggregates=(
        count(over=ALL),
        mean("amount_eur", over=("1h", "24h", "7d")),
        std("amount_eur", over=("24h", "7d")),
        min_("amount_eur", over="24h"),
        max_("amount_eur", over="24h"),
        mean("is_foreign", over=("24h", "7d")),
        mean("is_night", over=("24h", "7d")),
        mean("is_contactless", over=("24h", "7d")),
        approx_distinct("card_id", over=("1h", "24h", "7d")),
    ),
)

customer_activity = View(
    name="customer_activity",
    version=1,
    entity=customer,
    aggregates=(
        count(over=("1h", "24h", "7d")),
        sum_("amount_eur", over=("24h", "7d")),
        approx_distinct("card_id", over="24h"),
        count(where="is_night = 1e0", name="at_night", over=("24h", "7d")),
        last("amount_eur", where="channel = 'chip'", name="last_chip_amount", over="7d"),
        time_since_last(where="country <> home_country", name="since_abroad", over="7d"),
    ),
)

pipeline = Pipeline(
    name="fraud",
    source=Source(topic="events.transactions", contract=CardTransaction, key="card_id", partitions=4),
    entities=(card, terminal, customer),
    derived=derived,
    views=(card_spend, terminal_risk, customer_activity),
    model=Model(
        name="fraud",
        inputs=(
            "event.amount_eur",
            "event.log_amount",
            "event.hour_of_day",
            "event.is_night",
            "event.is_foreign",
            "event.is_online",
            "event.is_contactless",
            # A country is not a number, so the model cannot use it. It is for other readers of the features.
            *(name for name in card_spend.inputs() if "last_present_country" not in name),
            *terminal_risk.inputs(),
            *customer_activity.inputs(),
        ),
        threshold=0.5,
        positive="review",
        negative="approve",
        # Cards are to be reviewed as often wherever they were issued.
        groups=("event.home_country",),
    ),
    labels=Labels(
        topic="labels.fraud",
        contract=FraudLabel,
        value="is_fraud",
        horizon="3d",
        absent="excluded",  # payments are labelled whatever they were, so nothing is known of one without a label
    ),
    passthrough=("channel", "country", "home_country"),
    monitors=Monitors(
        inputs=(
            "event.amount_eur",
            "event.log_amount",
            "event.is_online",
            "event.is_foreign",
            "event.is_contactless",
            "card_spend.amount_eur_mean_7d",
            "card_spend.amount_eur_std_24h",
            "terminal_risk.amount_eur_mean_24h",
            "customer_activity.amount_eur_sum_24h",
        ),
        window=500,
        false_alarm_every=100_000,
        data_quality=DataQuality(),
    ),
    rollout=Rollout(
        guardrails=(
            Guardrail(measure="errors", absolute=(0, 0.05), awaited=True),
            Guardrail(measure="latency", relative=(0, 3)),
            # Nobody can review more than one payment in ten.
            Guardrail(measure="decision_rate", absolute=(0, 0.1), awaited=True),
            Guardrail(measure="quality", relative=(0, 1.05), awaited=True),
            # Frauds come in waves: for some weeks, the cards that pay at a few terminals.
            Guardrail(measure="calibration", absolute=(0.2, 5)),
            Guardrail(measure="scores", absolute=(0, 0.5)),
        ),
        # A card pays about once a day, and a stolen one several times within minutes, which is alike. An hour would be
        # safer, and would take the demo twice as long.
        entity_again="5m",
        # A demo lasts for seconds: not only one call in each of them counts.
        together="20ms",
    ),
)
