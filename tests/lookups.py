"""A pipeline with reference data, for tests of every part that reads it."""

from __future__ import annotations

from typing import Annotated, Any

import penstock as ps


class Payment(ps.Contract, name="lookup_payment", version=1):
    """A payment by a card in a shop."""

    id: Annotated[str, ps.EVENT_ID]
    time: Annotated[int, ps.EVENT_TIME]
    card: Annotated[str, ps.ENTITY]
    customer: Annotated[str | None, ps.PII_HASH] = None
    shop: str | None = None
    currency: str | None = None
    bank: int | None = None
    amount: float = 1.0


class Refund(ps.Contract, name="lookup_refund", version=1):
    """Money back to a card."""

    id: Annotated[str, ps.EVENT_ID]
    refunded: Annotated[int, ps.EVENT_TIME]
    card: Annotated[str, ps.ENTITY]
    shop: str | None = None


class Shop(ps.Contract, name="shop", version=1, reference=True):
    """A shop."""

    shop: str
    country: str | None = None
    risk: float = 0.5
    opened: bool | None = None


class Country(ps.Contract, name="country", version=1, reference=True):
    """A country."""

    code: str
    area: int


class Rate(ps.Contract, name="rate", version=1, reference=True):
    """What a bank takes for a currency."""

    currency: str
    bank: int
    rate: float


class Customer(ps.Contract, name="customer", version=1, reference=True):
    """A customer."""

    customer: Annotated[str, ps.PII_HASH]
    phone: Annotated[str | None, ps.PII_HASH] = None
    email: Annotated[str | None, ps.PII_DROP] = None
    vip: bool = False


CARD = ps.Entity(name="card", key="card")
SHOP = ps.Lookup(name="shop", topic="reference.shops", contract=Shop, on="shop")
COUNTRY = ps.Lookup(
    name="shop_country_of", topic="reference.countries", contract=Country, on="shop_country", key="code"
)
RATE = ps.Lookup(name="fx", topic="reference.rates", contract=Rate, on=("currency", "bank"))
CUSTOMER = ps.Lookup(name="customer_of", topic="reference.customers", contract=Customer, on="customer")
VIEW = ps.View(
    name="spend",
    version=1,
    entity=CARD,
    aggregates=(
        ps.count(over="10m"),
        ps.mean("shop_risk", over="10m"),
        ps.count(over="10m", where="is_foreign", name="foreign"),
    ),
)
REFUNDS = ps.Source(topic="events.lookups.refunds", contract=Refund, key="card", partitions=2, triggers=False)


def pipeline(**changes: Any) -> ps.Pipeline:
    """The definition, with these parts changed."""
    source = ps.Source(topic="events.lookups", contract=Payment, key="card", partitions=2)
    parts: dict[str, Any] = {
        "name": "lookups",
        "source": source,
        "lookups": (SHOP, COUNTRY, RATE, CUSTOMER),
        "entities": (CARD,),
        "derived": {"is_foreign": ps.Derived(sql="shop_country <> 'FR'", type="boolean")},
        "views": (VIEW,),
        "model": ps.Model(
            name="m", inputs=("event.shop_risk", *VIEW.inputs()), threshold=0.5, positive="p", negative="n"
        ),
    }
    return ps.Pipeline(**parts | changes)
