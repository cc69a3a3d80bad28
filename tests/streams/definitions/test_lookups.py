"""Lookups: their columns, what of them is part of a view's meaning, and definitions that are refused."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import ValidationError

import penstock as ps
from deploy.security.kafka_acls import acls
from streams.plan.compiler import compile_plan
from streams.plan.hashing import view_definition, view_hash
from streams.plan.model import PipelinePlan
from streams.plan.pipeline_topics import pipeline_topics
from tests.lookups import CARD, CUSTOMER, SHOP, VIEW, Customer, Payment, Rate, pipeline


def changed(lookup: ps.Lookup = SHOP, **parts: Any) -> ps.Lookup:
    return ps.Lookup(**{name: getattr(lookup, name) for name in ps.Lookup.model_fields} | parts)


class Store(ps.Contract, name="store", version=1, reference=True):
    """As a shop, with other types."""

    shop: int
    name: str | None
    secret: Annotated[str | None, ps.PII_DROP] = None


class Typed(ps.Contract, name="typed", version=1, reference=True):
    """Of a shop, with a field that could make a generated column's name."""

    shop: str
    type: str


class Unnamed(ps.Contract, name="unnamed", version=1, reference=True):
    """Of customers whom nothing may name."""

    customer: Annotated[str, ps.PII_DROP]
    vip: bool


def test_columns_are_named_by_lookup_and_field_without_key_and_dropped_data() -> None:
    plan = compile_plan(pipeline())
    wanted = {
        "shop_country": "string",
        "shop_risk": "double",
        "shop_opened": "boolean",
        "shop_country_of_area": "long",
        "fx_rate": "double",
        "customer_of_phone": "string",
        "customer_of_vip": "boolean",
    }
    assert {name: kind for name, kind in plan.contract_columns.items() if name not in Payment.model_fields} == wanted
    assert wanted.items() <= dict(plan.passthrough).items(), "records keep what events were given"
    assert plan.hashed_fields == {"customer", "customer_of_phone"}
    assert PipelinePlan.model_validate_json(plan.model_dump_json()) == plan


def test_chosen_columns_may_have_the_key() -> None:
    (lookup,) = pipeline(
        lookups=(changed(columns=("shop", "risk")),),
        derived={},
        views=(VIEW.model_copy(update={"aggregates": (ps.count(over="10m"),)}),),
        model=ps.Model(
            name="m",
            inputs=("event.shop_shop",),
            categories=("event.shop_shop",),
            threshold=0.5,
            positive="p",
            negative="n",
        ),
    ).lookups
    assert [*lookup.fields] == ["shop_shop", "shop_risk"]


def test_a_plan_without_lookups_is_as_before_there_were_any() -> None:
    view = ps.View(name="v", version=1, entity=CARD, aggregates=(ps.count(over="10m"),))
    model = ps.Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n")
    plan = compile_plan(pipeline(lookups=(), derived={}, views=(view,), model=model))
    assert "lookups" not in plan.model_dump()
    assert "lookups" not in view_definition(pipeline(lookups=(), derived={}, views=(view,), model=model), view)


def test_what_a_view_uses_of_a_lookup_is_part_of_its_meaning() -> None:
    definition = view_definition(pipeline(), VIEW)["lookups"]
    assert [*definition] == ["shop"]
    assert definition["shop"]["columns"].keys() == {"shop_country", "shop_risk"}
    same = pipeline(lookups=(changed(max_rows=7, partitions=3), *pipeline().lookups[1:]))
    other = pipeline(lookups=(changed(topic="reference.others"), *pipeline().lookups[1:]))
    assert view_hash(pipeline(), VIEW) == view_hash(same, VIEW) != view_hash(other, VIEW)


def test_a_view_on_a_chain_of_lookups_depends_on_all_of_it() -> None:
    view = ps.View(name="v", version=1, entity=CARD, aggregates=(ps.sum_("shop_country_of_area", over="10m"),))
    model = ps.Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n")
    definition = view_definition(pipeline(views=(view,), model=model), view)
    assert definition["lookups"].keys() == {"shop", "shop_country_of"}
    assert definition["lookups"]["shop"]["columns"].keys() == {"shop_country"}
    assert "shop" in definition["source"]["fields"], "what the chain joins on"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contract": Payment}, "lookup_payment is a contract of events; give that of reference data reference=True"),
        ({"key": "name"}, "shop has no field 'name'; it has shop, country"),
        ({"columns": ("name",)}, "shop has no field 'name'"),
        ({"on": ("shop", "currency")}, "shop has no field 'currency'"),
        ({"on": ("shop", "currency"), "key": "shop"}, "on= has 2 columns, key= 1"),
        ({"key": "risk"}, "key risk must be a text or an integer that is never null"),
        ({"key": "country"}, "key country must be a text or an integer that is never null"),
        ({"contract": Store, "columns": ("secret",)}, "secret is personal data that is dropped"),
        ({"on": "store", "key": "shop"}, "column 'store' does not exist; there are id, time"),
        ({"on": "is_foreign", "key": "shop"}, "'is_foreign' is derived: derived columns are computed after lookups"),
        ({"contract": Store}, "the type of key shop is long, that of shop is string"),
        ({"on": "customer", "key": "shop"}, "the pii of key shop is None, that of customer is Pii.HASH"),
        ({"topic": "events.lookups"}, "topic events.lookups is one of events"),
        ({"topic": "features.lookups"}, "topic features.lookups is read, and Penstock writes"),
        ({"topic": "a b"}, "no topic can be called 'a b'"),
        ({"contract": Typed, "name": "event_"}, "event__type could be a generated column; give the lookup another"),
        ({"contract": Unnamed, "on": "customer"}, "key customer is personal data that is dropped, so it names no row"),
        ({"name": "shop__x"}, "a double underscore is reserved"),
        ({"max_rows": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_lookup_is_refused_with_its_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        pipeline(lookups=(changed(**changes), *pipeline().lookups[1:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lookups": (*pipeline().lookups, changed(columns=("shop",)))}, "two lookups have this name"),
        (
            {"lookups": (*pipeline().lookups, changed(CUSTOMER, name="c", topic="reference.shops"))},
            "by another contract",
        ),
        ({"lookups": (*pipeline().lookups, changed(name="s", max_bytes=9))}, "reads topic reference.shops by another"),
        ({"lookups": pipeline().lookups[::-1]}, "column 'shop_country' does not exist"),
        ({"derived": {"shop_risk": ps.Derived(sql="1.0", type="double")}}, "there is a column 'shop_risk' already"),
        (
            {"entities": (CARD, ps.Entity(name="land", key="shop_country"))},
            "entity land: shop_country comes from a lookup",
        ),
        (
            {"entities": (CARD, ps.Entity(name="land", key=("card", "is_foreign")))},
            "entity land: is_foreign comes from",
        ),
        (
            {"source": ps.Source(topic="events.lookups", contract=Payment, key="card", filter="is_foreign")},
            "filter of source events.lookups: is_foreign comes from a lookup",
        ),
    ],
)
def test_a_pipeline_that_cannot_use_its_lookups_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=message):
        pipeline(**changes)


def test_a_source_of_reference_data_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"rate is a contract of reference data .* which has no event time"):
        ps.Source(topic="t", contract=Rate, key="bank")


def test_a_contract_of_reference_data_has_neither_time_nor_id() -> None:
    with pytest.raises(TypeError, match="reference data has no events, so at can be neither EVENT_TIME nor"):
        type(
            "Bad",
            (ps.Contract,),
            {"__annotations__": {"at": Annotated[int, ps.EVENT_TIME]}},
            name="b",
            version=1,
            reference=True,
        )


def test_the_topics_of_lookups_are_compacted_and_read_by_the_job() -> None:
    twice = pipeline(lookups=(*pipeline().lookups, changed(name="other", columns=("risk",))))
    topics = {topic.name: topic for topic in pipeline_topics(twice)}
    assert (topics["reference.shops"].partitions, topics["reference.shops"].config) == (
        1,
        {"cleanup.policy": "compact"},
    )
    granted = [(acl.user, acl.operation) for acl in acls(twice) if acl.name == "reference.shops"]
    assert granted == [
        ("penstock-lookups-upstream", "Write"),
        ("penstock-lookups-features", "Read"),
        ("penstock-lookups-parity", "Read"),
    ]
    assert Customer in twice.contracts
