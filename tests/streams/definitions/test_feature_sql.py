"""The references in the SQL of derived features, and the errors for wrong ones."""

from __future__ import annotations

from typing import Annotated

import pytest

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_DROP,
    Contract,
    Derived,
    Entity,
    Model,
    Pipeline,
    Source,
    View,
    count,
    last,
    mean,
)
from streams.definitions.feature_sql import references, typed_feature
from streams.definitions.sql.generate import to_flink
from streams.plan.compiler import compile_plan
from streams.plan.hashing import view_definition
from streams.plan.model import PipelinePlan


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    shop: Annotated[str | None, ENTITY] = None
    email: Annotated[str, PII_DROP]
    amount: float


CARD, SHOP = Entity(name="card", key="card"), Entity(name="shop", key="shop")


def card(**derived: str) -> View:
    """A view with the features count_1h, count_7d, amount_mean_7d and these derived ones."""
    return View(
        name="by_card",
        version=1,
        entity=CARD,
        aggregates=(count(over=("1h", "7d")), mean("amount", over="7d")),
        derived={name: Derived(sql=sql, type="double") for name, sql in derived.items()},
    )


def shop(version: int = 1, **derived: str) -> View:
    """A view with the features amount_mean_1h, card_last_2h and these derived ones."""
    return View(
        name="by_shop",
        version=version,
        entity=SHOP,
        aggregates=(mean("amount", over="1h"), last("card", over="2h")),
        derived={name: Derived(sql=sql, type="double") for name, sql in derived.items()},
    )


def pipeline(*views: View, model_input: str | None = None) -> Pipeline:
    return Pipeline(
        name="payments",
        source=Source(topic="events.payments", contract=Payment, key="card"),
        entities=(CARD, SHOP),
        derived={"cents": Derived(sql="amount * 100", type="double")},
        views=views,
        model=Model(name="m", inputs=(model_input or views[0].inputs()[0],), threshold=0.5, positive="p", negative="n"),
    )


def plan(*views: View) -> PipelinePlan:
    return compile_plan(pipeline(*views))


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("a_1h / NULLIF(b_7d, 0e0)", ("v.a_1h", "v.b_7d")),
        ("other.a_1h - event.amount", ("other.a_1h", "event.amount")),
        ("CASE WHEN a_1h IS NULL THEN 1.5e-3 ELSE abs(a_1h) END", ("v.a_1h",)),
        ("case when a_1h is null then 1 else cast(b_7d as double) end", ("v.a_1h", "v.b_7d")),
        ("last_1h = 'it''s b_7d' OR last_1h = 'x.y'", ("v.last_1h",)),
        ('"end" + date', ("v.end", "v.date")),
        ("1e0", ()),
    ],
)
def test_references_are_distinguished_from_words_of_sql(sql: str, names: tuple[str, ...]) -> None:
    assert references(sql, "v") == names


def test_a_name_has_two_parts_at_most() -> None:
    with pytest.raises(ValueError, match=r"'a\.b\.c': a name is feature, view\.feature or event\.column"):
        references("a.b.c + 1", "v")


def test_a_name_in_the_tree_has_its_scope_and_a_long_is_a_double() -> None:
    tree = typed_feature("a / event.n", "v", {"v.a": "long", "event.n": "double"}, "double")
    assert to_flink(tree, lambda name: name) == "penstock_finite(CAST(`v.a` AS DOUBLE) / `event.n`)"


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({"ratio": "count_1h / count_30d"}, "by_card, ratio: no feature 'count_30d'; there are count_1h, count_7d"),
        ({"ratio": "later / 2", "later": "count_1h / 2"}, "by_card, ratio: 'later' is defined later"),
        ({"ratio": "ratio + 1"}, "by_card, ratio: 'ratio' is defined later"),
        ({"count_1h": "count_7d"}, "two features are called count_1h"),
        ({"late": "count_7d"}, "by_card, late: a feature cannot have this name"),
        ({"end": "count_7d"}, "by_card, end: a feature cannot have this name"),
        ({"ratio": "count_1h / "}, "the expression ends here: a value must follow"),
    ],
)
def test_a_view_refuses_a_wrong_derived_feature(derived: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        card(**derived)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("shops.amount_mean_1h", "by_card, ratio: 'shops.amount_mean_1h', but there is no view 'shops'"),
        ("by_shop.amount_mean_9h", "no feature 'by_shop.amount_mean_9h'; there are amount_mean_1h, card_last_2h"),
        ("event.price", "the event has no column 'price'; there are amount, card"),
        ("event.email", "the event has no column 'email'"),
        ("by_shop.card_last_2h * 2", "by_card, ratio: x \\* y takes a whole number or a double, and not a text"),
    ],
)
def test_a_pipeline_refuses_references_to_unknown_views_features_and_columns(sql: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(card(ratio=sql), shop())


def test_views_that_refer_to_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="in a circle, view by_card to by_shop to by_card"):
        pipeline(card(a="by_shop.amount_mean_1h / 2"), shop(b="by_card.count_1h / 2"))


def test_the_plan_of_a_derived_feature_has_its_references_and_the_windows_behind_them() -> None:
    found = plan(
        card(ratio="by_shop.doubled / amount_mean_7d", odd="ratio + event.amount"), shop(doubled="amount_mean_1h * 2")
    )
    ratio, odd = found.view("by_card").derived
    assert ratio.inputs == ("by_shop.doubled", "by_card.amount_mean_7d")
    assert odd.inputs == ("by_card.ratio", "event.amount")
    assert ratio.windows == odd.windows == ((3_600_000, 60_000), (604_800_000, 7_200_000))


def test_features_are_computed_after_those_that_they_use() -> None:
    found = plan(card(ratio="by_shop.doubled / 2", odd="ratio + 1"), shop(doubled="amount_mean_1h * 2"))
    names = [feature.name for _, feature in found.derived_features]
    assert names.index("doubled") < names.index("ratio") < names.index("odd")
    assert [feature.name for feature in found.view("by_card").outputs][-2:] == ["ratio", "odd"]


def test_the_record_has_the_event_columns_that_features_use() -> None:
    assert plan(card(ratio="event.cents / amount_mean_7d")).passthrough == (("cents", "double"),)


def test_the_hash_covers_the_sql_the_columns_and_the_views_behind_it() -> None:
    def hash_of(*views: View) -> str:
        return plan(*views).view("by_card").hash

    without = hash_of(card(), shop())
    ratio = hash_of(card(ratio="by_shop.amount_mean_1h / amount_mean_7d"), shop())
    assert len({without, ratio, hash_of(card(ratio="amount_mean_7d / by_shop.amount_mean_1h"), shop())}) == 3
    assert hash_of(card(ratio="by_shop.amount_mean_1h / amount_mean_7d"), shop(version=2)) != ratio
    assert hash_of(card(), shop(version=2)) == without
    used = pipeline(card(ratio="event.cents / amount_mean_7d"))
    assert list(view_definition(used, used.views[0])["derived"]) == ["cents"]


def test_the_definition_of_a_view_without_derived_features_does_not_mention_them() -> None:
    definition = view_definition(pipeline(card()), card())
    assert "derived" not in definition["view"]
    assert "views" not in definition


def test_a_derived_feature_is_a_model_input_and_a_category_if_it_is_a_text() -> None:
    view = View(
        name="v",
        version=1,
        entity=CARD,
        aggregates=(count(over="1h"),),
        derived={"half": Derived(sql="count_1h / 2", type="double"), "text": Derived(sql="'a'", type="string")},
    )
    assert view.inputs() == ("v.count_1h", "v.half", "v.text")
    assert pipeline(view, model_input="v.half").categories == ()
    assert pipeline(view, model_input="v.text").categories == ("v.text",)
