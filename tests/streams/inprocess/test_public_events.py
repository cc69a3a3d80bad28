"""Events of five public schemas: contracts read them, validate them, and feed views.

The events are written anew from facts of the schemas' public documentation.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    ISO8601,
    PII_DROP,
    PII_HASH,
    SECONDS,
    AsDecimal,
    At,
    CloudEvents,
    Contract,
    Debezium,
    Derived,
    Entity,
    InEnvelope,
    Model,
    Otherwise,
    Pipeline,
    Source,
    View,
    count,
    distinct,
    max_,
    most_frequent,
    sum_,
    top_k,
)
from penstock.testing import Event, features_of
from schemas.contract import Role, field_with_role, pii_hash
from streams.inprocess.features_of import PII_KEY


class Iso8583(Contract, name="iso8583", version=1):
    """An authorization request of a card network, ISO 8583 as JSON: data elements by their numbers."""

    reference: Annotated[str, EVENT_ID, At("DE37")]
    sent: Annotated[int, EVENT_TIME, At("meta.received_at"), ISO8601]
    entity: Annotated[str, ENTITY, PII_HASH, At("DE2"), Field(min_length=12, max_length=19, pattern="^[0-9]+$")]
    message: Annotated[Literal["0100", "0120", "0400", "other"], At("MTI"), Otherwise("other")]
    value: Annotated[float, At("DE4.amount"), AsDecimal(scale=2, precision=12)]
    merchant_category: Annotated[str, At("DE18"), Field(pattern="^[0-9]{4}$")]
    country: Annotated[str | None, At("DE43.country")]


class BidRequest(Contract, name="bid_request", version=1):
    """An OpenRTB bid request with the time at which the exchange wrote it."""

    request: Annotated[str, EVENT_ID, At("id")]
    written: Annotated[int, EVENT_TIME, At("ext.timestamp")]
    entity: Annotated[str, ENTITY, PII_HASH, At("device.ifa")]
    value: Annotated[float | None, At("ext.floor")]
    publisher: Annotated[str | None, At("site.publisher.id")]
    latitude: Annotated[float | None, At("device.geo.lat"), Field(ge=-90, le=90)] = None
    do_not_track: Annotated[int, At("device.dnt")] = 0
    # Impressions of video have no banner.
    widths: Annotated[list[int | None], At("imp[].banner.w"), Field(max_length=20)]
    floors: Annotated[list[Annotated[float, Field(ge=0)]], At("imp[].bidfloor"), Field(max_length=20)]
    categories: Annotated[list[str] | None, At("site.cat")] = None
    country: Annotated[str | None, At("device.geo.country")] = None


class Track(Contract, name="track", version=1):
    """A Segment track call."""

    message: Annotated[str, EVENT_ID, At("messageId")]
    at: Annotated[int, EVENT_TIME, At("timestamp"), ISO8601]
    entity: Annotated[str, ENTITY, At("userId")]
    event: str
    value: Annotated[float | None, At("properties.revenue")]
    campaign: Annotated[str, At("context.campaign.name")] = "none"
    ip: Annotated[str | None, PII_DROP, At("context.ip")] = None
    products: Annotated[list[str] | None, At("properties.products[].sku")] = None
    quantities: Annotated[list[int | None] | None, At("properties.products[].quantity")] = None


class Charge(Contract, name="charge", version=1):
    """A Stripe event of a charge: amounts in the smallest unit of the currency."""

    event: Annotated[str, EVENT_ID, At("id")]
    created: Annotated[int, EVENT_TIME, SECONDS]
    kind: Annotated[str, At("type")]
    entity: Annotated[str, ENTITY, PII_HASH, At("data.object.payment_method_details.card.fingerprint")]
    value: Annotated[int, At("data.object.amount"), Field(ge=0)]
    risk: Annotated[Literal["normal", "elevated", "highest", "unknown"], Otherwise("unknown")] = Field(
        "unknown", alias="risk_level"
    )
    postcode: Annotated[str | None, PII_DROP, At("data.object.billing_details.address.postal_code")]


class Row(Contract, name="row", version=1):
    """A row of a table of PostgreSQL, as Debezium publishes its change: times in ms, and a numeric column as text."""

    change: Annotated[str, EVENT_ID, InEnvelope("source.sequence")]
    committed: Annotated[int, EVENT_TIME, InEnvelope("source.ts_ms")]
    entity: Annotated[str, ENTITY, At("customer")]
    value: Annotated[float, At("total"), AsDecimal(scale=2)]
    value_before: Annotated[float | None, InEnvelope("before.total"), AsDecimal(scale=2)]
    operation: Annotated[Literal["c", "u", "d"], InEnvelope("op")]


class Paid(Contract, name="paid", version=1):
    """A payment in a CloudEvent."""

    event_id: Annotated[str, EVENT_ID, InEnvelope("source_and_id")]
    paid_at: Annotated[int, EVENT_TIME, InEnvelope("time"), ISO8601]
    entity: Annotated[str, ENTITY, PII_HASH, At("card")]
    value: Annotated[float, At("amount")]


T = 1_772_368_200_000
EVENTS: dict[type[Contract], dict[str, Any]] = {
    Iso8583: {
        "MTI": "0100", "DE2": "4111111111111111", "DE4": {"currency": "978", "amount": "12.50"}, "DE18": "5411",
        "DE37": "606012345678", "DE43": {"name": "A SHOP", "country": "FR"},
        "meta": {"received_at": "2026-03-01T13:30:00+01:00"},
    },
    BidRequest: {
        "id": "80ce30c5", "at": 2,
        "imp": [
            {"id": "1", "bidfloor": 0.03, "banner": {"w": 300, "h": 250}},
            {"id": "2", "bidfloor": 0.5, "video": {"mimes": ["video/mp4"]}},
            {"id": "3", "bidfloor": 0.1, "banner": {"w": 728, "h": 90}},
        ],
        "site": {"page": "https://example.org/", "cat": ["IAB1", "IAB2-3"], "publisher": {"id": "8953"}},
        "device": {"ifa": "AA000DFE", "geo": {"lat": 48.8, "country": "FRA"}, "dnt": 0},
        "ext": {"timestamp": T, "floor": 12.5},
    },
    Track: {
        "type": "track", "event": "Order Completed", "messageId": "ajs-1", "userId": "u1",
        "timestamp": "2026-03-01T12:30:00.000Z",
        "properties": {"revenue": 12.5, "products": [{"sku": "a1", "quantity": 2}, {"sku": "b2"}, {"sku": "a1"}]},
        "context": {"ip": "192.0.2.1", "library": {"name": "analytics.js"}},
    },
    Charge: {
        "id": "evt_1", "object": "event", "created": T // 1000, "type": "charge.succeeded", "livemode": False,
        "risk_level": "not_assessed",
        "data": {"object": {
            "object": "charge", "amount": 1250, "currency": "eur",
            "billing_details": {"address": {"postal_code": "75011"}},
            "payment_method_details": {"type": "card", "card": {"brand": "visa", "fingerprint": "Xt5"}},
        }},
    },
    Row: {
        "schema": {"type": "struct", "optional": False},
        "payload": {
            "before": None, "after": {"id": 7, "customer": "c1", "total": "12.50"}, "op": "c",
            "source": {
                "connector": "postgresql", "table": "orders", "txId": 571, "ts_ms": T, "lsn": 24023128,
                "sequence": '["24023119","24023128"]',
            },
        },
    },
    Paid: {
        "specversion": "1.0", "id": "A234", "source": "/shop", "type": "example.paid", "time": "2026-03-01T12:30:00Z",
        "datacontenttype": "application/json", "data": {"card": "4111", "amount": 12.5},
    },
}  # fmt: skip


ENVELOPES = {Row: Debezium(operations=("insert", "update")), Paid: CloudEvents()}


def outcomes(
    contract: type[Contract],
    *events: dict[str, Any] | Event,
    envelope: Debezium | CloudEvents | None = None,
    **more: Any,
) -> list[Any]:
    entity = Entity(name="entity", key="entity")
    aggregates = (count(over="1h"), sum_("value", over="1h", name="value_sum"), *more.pop("aggregates", ()))
    view = View(name="v", version=1, entity=entity, aggregates=aggregates)
    pipeline = Pipeline(
        name="public",
        source=Source(
            topic="events.public", contract=contract, key="entity", envelope=envelope or ENVELOPES.get(contract)
        ),
        entities=(entity,),
        views=(view,),
        model=Model(name="m", inputs=view.inputs()[:2], threshold=0.5, positive="p", negative="n"),
        **more,
    )
    sent = [event if isinstance(event, Event) else Event(json.dumps(event)) for event in events]
    return features_of(pipeline, sent)


@pytest.mark.parametrize("contract", EVENTS, ids=lambda contract: contract.contract_name)
def test_an_event_of_a_public_schema_feeds_a_view_and_its_duplicate_does_not(contract: type[Contract]) -> None:
    first, second = outcomes(contract, EVENTS[contract], EVENTS[contract])
    value = 1250 if contract is Charge else 12.5
    assert (first["v.count_1h"], first["v.value_sum_1h"]) == (1, value)
    assert first.views["v"].as_of == T
    assert first[f"event.{field_with_role(contract, Role.EVENT_TIME)}"] == T
    assert second.duplicate


def test_personal_data_of_public_schemas_leaves_the_job_hashed_or_not_at_all() -> None:
    (charge,) = outcomes(Charge, EVENTS[Charge])
    (track,) = outcomes(Track, EVENTS[Track])
    assert charge["event.entity"] == pii_hash(PII_KEY, "Xt5")
    assert charge.columns.get("postcode") is track.columns.get("ip") is None
    assert charge["event.risk"] == "unknown"


def test_the_deletion_of_a_row_is_ignored_or_an_event_as_the_source_says() -> None:
    row = EVENTS[Row]["payload"]
    deletion = {"payload": row | {"before": row["after"], "after": None, "op": "d"}}
    (ignored,) = outcomes(Row, deletion)
    assert ignored.ignored
    (deleted,) = outcomes(Row, deletion, envelope=Debezium(operations=("delete",)))
    assert (deleted["event.operation"], deleted["v.value_sum_1h"]) == ("d", 12.5)


def test_an_event_is_the_same_in_both_modes_of_cloudevents() -> None:
    event = EVENTS[Paid]
    headers = {f"ce_{name}": event[name] for name in ("specversion", "id", "source", "type", "time")}
    binary = Event(
        json.dumps(event["data"]),
        headers=[(name, value.encode()) for name, value in headers.items()] + [("content-type", b"application/json")],
    )
    structured, again = outcomes(Paid, event, binary)
    assert again.duplicate
    (alone,) = outcomes(Paid, binary)
    assert alone == structured


@pytest.mark.parametrize("contract", ENVELOPES, ids=lambda contract: contract.contract_name)
def test_a_test_gives_an_event_in_an_envelope_by_its_columns(contract: type[Contract]) -> None:
    columns = {"entity": "c1", "value": "12.50", "operation": "c", "value_before": None, "committed": T}
    if contract is Paid:
        columns = {"entity": "4111", "value": 12.5, "paid_at": "2026-03-01T12:30:00Z"}
    first, second = outcomes(contract, Event(columns), Event(columns))
    assert (first["v.count_1h"], second["v.count_1h"]) == (1, 2)
    assert first.views["v"].as_of == T


def test_arrays_of_public_schemas_feed_aggregates_and_conditions() -> None:
    first = EVENTS[BidRequest]
    second = first | {"id": "81", "imp": [{"bidfloor": 1, "banner": {"w": 300}}], "site": {"publisher": {"id": "8953"}}}
    _, bid = outcomes(
        BidRequest,
        first,
        second,
        aggregates=(
            count(each="widths", over="1h"),
            distinct(each="widths", over="1h"),
            max_(each="floors", over="1h"),
            top_k(each="floors", k=2, over="1h"),
            distinct(each="categories", over="1h"),
            count(over="1h", where="'IAB1' = ANY(categories)", name="arts"),
        ),
        derived={"slots": Derived(sql="CARDINALITY(floors)", type="long")},
    )
    names = ["widths_count", "widths_distinct", "floors_max", "floors_top_k", "categories_distinct", "arts"]
    assert [bid[f"v.{name}_1h"] for name in names] == [3, 2, 1.0, [1.0, 0.5], 2, 1]
    assert (bid["event.slots"], bid["event.widths"], bid["event.country"]) == (1, [300], "FRA")
    bought = (most_frequent(each="products", k=1, over="1h"), sum_(each="quantities", over="1h"))
    (track,) = outcomes(Track, EVENTS[Track], aggregates=bought)
    assert (track["v.products_most_frequent_1h"], track["v.quantities_sum_1h"]) == (["a1"], 2.0)
