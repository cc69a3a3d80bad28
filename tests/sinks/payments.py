"""The input of sink tests: a small pipeline, and records as its job and its scorer publish them."""

from __future__ import annotations

from typing import Annotated, Any

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_HASH,
    Contract,
    Derived,
    Entity,
    Model,
    Pipeline,
    Source,
    View,
    approx_distinct,
    count,
    histogram,
    last,
    last_k,
    mean,
)
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.model import PipelinePlan

T0 = 1_760_000_000_000 // 3_600_000 * 3_600_000
"""An event time on the hour, so that tests can count tiles."""


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH]
    shop: Annotated[str | None, ENTITY] = None
    amount: float


CARD, SHOP = Entity(name="card", key="card"), Entity(name="shop", key="shop")
SPENDING = View(
    name="spending",
    version=1,
    entity=CARD,
    aggregates=(
        count(over=("1m", "1h")),
        mean("amount", over="1h"),
        last("shop", over="1h"),
        last_k("shop", k=2, over="1h"),
        histogram("amount", buckets=(10, 100), over="1h"),
    ),
    derived={"busy": Derived(sql="count_1m / count_1h", type="double")},
)
TRADE = View(
    name="trade",
    version=3,
    entity=SHOP,
    aggregates=(approx_distinct("card", over="10m"),),
    derived={"is_new": Derived(sql="card_approx_distinct_10m < spending.count_1h", type="boolean")},
)


def payments(name: str = "payments", partitions: int = 2) -> Pipeline:
    """The pipeline, under a name of the test's choice."""
    return Pipeline(
        name=name,
        source=Source(topic=f"events.{name}", contract=Payment, key="card", partitions=partitions),
        entities=(CARD, SHOP),
        views=(SPENDING, TRADE),
        model=Model(
            name="m",
            inputs=("event.amount", *SPENDING.inputs(), *TRADE.inputs())[:3],
            threshold=0.5,
            positive="block",
            negative="approve",
        ),
    )


PLAN: PipelinePlan = compile_plan(payments())


def spending(entity: str = "c1", seq: int = 1, as_of: int = T0, epoch: int = 0, **values: Any) -> dict[str, Any]:
    """The part of the view `spending` in a feature record."""
    return {
        "entity": entity,
        "epoch": epoch,
        "seq": seq,
        "as_of": as_of,
        "late": False,
        "count_1m": 1,
        "count_1h": 2,
        "amount_mean_1h": 12.5,
        "shop_last_1h": "s1",
        "shop_last_k_1h": ["s1", ""],
        "amount_histogram_1h": [0, 2, 0],
        "busy": 0.5,
    } | values


def trade(entity: str = "s1", seq: int = 1, as_of: int = T0, epoch: int = 0, **values: Any) -> dict[str, Any]:
    """The part of the view `trade` in a feature record."""
    part = {"entity": entity, "epoch": epoch, "seq": seq, "as_of": as_of, "late": False}
    return part | {"card_approx_distinct_10m": 7, "is_new": None} | values


def features(number: int = 0, attempt: int = 0, **parts: Any) -> dict[str, Any]:
    """A feature record; `spending=` and `trade=` are its views, null by default."""
    return {
        "event_id": f"e{number}",
        "event_time": T0 + number,
        "trigger": "event",
        "attempt": attempt,
        "source": {"topic": "events.payments", "partition": 0, "offset": number, "timestamp": T0 + number},
        "event": {name: 12.5 for name, _ in PLAN.passthrough},
        "spending": None,
        "trade": None,
    } | parts


def prediction(number: int = 0, entity: str | None = "c1", **changes: Any) -> dict[str, Any]:
    """A prediction as the scorer publishes it."""
    return {
        "event_id": f"e{number}",
        "pipeline": "payments",
        "event_time": T0 + number,
        "entity": entity,
        "score": 0.25,
        "decision": "approve",
        "model": "m",
        "model_version": "1",
        "route": "primary",
        "policy_version": "p",
        "views": [{"view": "spending@1", "entity": "c1", "epoch": 0, "seq": number, "as_of": T0 + number}],
        "scored_at": T0 + number + 5,
        "attempt": 0,
        "source": {"topic": "events.payments", "partition": 0, "offset": number, "timestamp": T0 + number},
        "features_topic": "features.payments",
        "features_partition": 0,
        "features_offset": number,
        "vector": b"\x00\x00\x48\x41",
        "outputs": [{"name": "loss", "value": 2.5}],
        "reasons": [{"input": "trade.count_1h", "contribution": 0.5}],
        "defaulted": [{"view": "cards:by_card", "reason": "MISSING"}],
        "cascade": {
            "fast_version": "1",
            "strong_version": "2",
            "fast_score": 0.5,
            "strong_score": None,
            "low": 0.25,
            "high": 0.75,
            "audited": False,
        },
        "rollout": {
            "policy": "0123456789ab",
            "arm": "present",
            "probability": 0.95,
            "explored": False,
            "propensity": 0.99,
            "infer_ms": 1.5,
        },
    } | changes


def encoded_features(name: str, record: dict[str, Any]) -> bytes:
    """The feature record as the job of the pipeline of that name writes it."""
    return Encoder(features_schema(compile_plan(payments(name)))).encode(record)


def encoded_prediction(record: dict[str, Any]) -> bytes:
    """The prediction as the scorer writes it."""
    return Encoder(PREDICTION_SCHEMA).encode(record)
