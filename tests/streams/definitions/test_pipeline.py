"""Wrong definitions are refused when they are created, with an error that names them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from deploy.security.kafka_acls import acls
from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_DROP,
    PII_HASH,
    Contract,
    Derived,
    Entity,
    Labels,
    Model,
    Monitors,
    Pipeline,
    PythonColumn,
    Source,
    View,
    Window,
    changed,
    count,
    first_k,
    histogram,
    last,
    last_k,
    mean,
    quantile,
    rate,
    top_k,
)
from scoring.decision import Policy
from streams.definitions.windows import default_hop_ms, duration_ms
from streams.plan.compiler import compile_plan
from streams.plan.hashing import view_definition
from streams.plan.pipeline_topics import pipeline_topics


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME, Field(ge=0)]
    card: Annotated[str, ENTITY, PII_HASH]
    email: Annotated[str, PII_DROP]
    amount: float


CARD = Entity(name="card", key="card")
VIEW = View(
    name="spending",
    version=1,
    entity=CARD,
    aggregates=(count(over=["1m", "1h"]), mean("amount", over="1h"), count(over="1h", where="large", name="large")),
)


def pipeline(**changes: Any) -> Pipeline:
    parts: dict[str, Any] = {
        "name": "payments",
        "source": Source(topic="events.payments", contract=Payment, key="card"),
        "entities": (CARD,),
        "derived": {"large": Derived(sql="amount > 200", type="boolean")},
        "views": (VIEW,),
        "model": Model(
            name="m", inputs=("event.amount", *VIEW.inputs()), threshold=0.5, positive="block", negative="approve"
        ),
    }
    return Pipeline(**parts | changes)


def test_a_duration_is_a_number_and_a_unit() -> None:
    assert [duration_ms(d) for d in ("1500ms", "30s", "5m", "24h", "7d")] == [
        1_500,
        30_000,
        300_000,
        86_400_000,
        604_800_000,
    ]
    with pytest.raises(ValueError, match="write a number and a unit"):
        duration_ms("5 minutes")


def test_a_duration_longer_than_a_lifetime_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 4611686018427387904"):
        Window.of(f"{2**62 + 1}ms")


@pytest.mark.parametrize(
    ("window", "hop"), [("1m", "1s"), ("5m", "5s"), ("1h", "1m"), ("24h", "15m"), ("7d", "2h"), ("30d", "12h")]
)
def test_the_default_hop_is_about_a_sixtieth_and_calendar_friendly(window: str, hop: str) -> None:
    assert default_hop_ms(duration_ms(window)) == duration_ms(hop)


def test_features_are_named_after_column_aggregate_and_window() -> None:
    assert VIEW.feature_names() == ("count_1m", "count_1h", "amount_mean_1h", "large_1h")


def test_a_hop_longer_than_its_window_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the window"):
        Window.of("1m", hop="5m")


def test_a_lifetime_has_no_hop_and_no_rate() -> None:
    with pytest.raises(ValueError, match="a lifetime has no hop"):
        Window.of("lifetime", hop="1h")
    with pytest.raises(ValueError, match="a lifetime has no length for a rate"):
        rate(over=("1h", "lifetime"))


def test_a_view_with_a_lifetime_window_has_no_longest_one() -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(count(over=("1h", "lifetime")),))
    model = Model(name="m", inputs=("v.count_lifetime",), threshold=0.5, positive="p", negative="n")
    plan = compile_plan(pipeline(views=(view,), model=model)).view("v")
    assert [feature.name for feature in plan.features] == ["count_1h", "count_lifetime"]
    assert plan.longest_window_ms is None


def test_a_quantile_is_named_by_its_percentile() -> None:
    names = [quantile("amount", q=q, over="1h").feature_names() for q in (0.5, 0.07, 0.999)]
    assert names == [("amount_p50_1h",), ("amount_p7_1h",), ("amount_p99_9_1h",)]


@pytest.mark.parametrize("q", [0, 1, 95])
def test_a_quantile_is_between_0_and_1(q: float) -> None:
    with pytest.raises(ValueError, match="q"):
        quantile("amount", q=q, over="1h")


def test_a_filtered_aggregate_needs_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="needs a name of its own"):
        count(over="1h", where="amount > 1")


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two features are called count_1h"):
        View(name="v", version=1, entity=CARD, aggregates=(count(over="1h"), count("amount", over="1h", name="count")))


def test_an_unknown_column_is_refused_and_the_known_ones_are_listed() -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(mean("amuont", over="1h"),))
    with pytest.raises(ValueError, match=r"no column 'amuont'; there are id, time, card, email, amount"):
        pipeline(views=(view,))


def test_a_mean_of_text_is_refused() -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(mean("card", over="1h"),))
    with pytest.raises(ValueError, match="needs a number, not string"):
        pipeline(views=(view,))


def test_a_model_input_that_nothing_computes_is_refused() -> None:
    model = Model(name="m", inputs=("spending.count_9h",), threshold=0.5, positive="p", negative="n")
    with pytest.raises(ValueError, match=r"'spending.count_9h' is neither"):
        pipeline(model=model)


def test_a_contract_needs_exactly_one_event_time() -> None:
    with pytest.raises(TypeError, match="exactly one field must be EVENT_TIME"):

        class Timeless(Contract, name="timeless", version=1):
            x: int


class Basket(Contract, name="basket", version=1):
    """An event with lists."""

    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    skus: list[str]
    prices: list[float]


def of_lists(view: dict[str, Any] | None = None, source: dict[str, Any] | None = None, **changes: Any) -> Pipeline:
    whole = {"name": "v", "version": 1, "entity": CARD, "aggregates": (count(over="1h"),)} | (view or {})
    arguments = {
        "name": "p",
        "source": Source(topic="events", contract=Basket, **(source or {})),
        "entities": (CARD,),
        "views": (View(**whole),),
        "model": Model(name="m", inputs=("v.count_1h",), threshold=0.5, positive="p", negative="n"),
    }
    return Pipeline(**(arguments | changes))


def text_of(skus: Any) -> str:
    return str(skus)


def model_of(**changes: Any) -> Model:
    arguments = {"name": "m", "inputs": ("v.count_1h",), "threshold": 0.5, "positive": "p", "negative": "n"}
    return Model(**(arguments | changes))


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (lambda: of_lists(entities=(CARD, Entity(name="e", key="skus"))), "entity e: skus is a list (string[])"),
        (lambda: of_lists(source={"key": "skus"}), "source key: skus is a list"),
        (lambda: of_lists(passthrough=("skus",)), "passthrough: skus is a list"),
        (lambda: of_lists(model=model_of(inputs=("event.skus",))), "input event.skus is a list"),
        (lambda: of_lists(model=model_of(groups=("event.skus",))), "group event.skus is a list"),
        (
            lambda: of_lists({"aggregates": (last("skus", over="1h"),)}),
            "skus_last: skus is a list (string[]); give last(each='skus'), of its elements",
        ),
        (
            lambda: of_lists({"aggregates": (last(each="card", over="1h"),)}),
            "card is a string and no list; give last('ca",
        ),
        (lambda: of_lists({"aggregates": (mean(each="skus", over="1h"),)}), "mean(skus) needs a number, not string"),
        (lambda: changed(each="skus", over="1h"), "skus_changed: changed(each=...) does not exist"),
        (lambda: count("card", each="skus", over="1h"), "give a column, or a list as each="),
        (lambda: count(each="skus", over="1h", where="TRUE"), "needs a name of its own"),
        (
            lambda: of_lists({"derived": {"d": Derived(sql="CARDINALITY(event.skus)", type="long")}}),
            "'event.skus' is a list, which SQL here cannot use; derive a column of the event, such as CARDINALITY",
        ),
        (
            lambda: of_lists(derived={"d": PythonColumn(function=text_of, columns=("skus",), type="string")}),
            "derived column d: skus is a list, which a Python column does not take",
        ),
        (lambda: of_lists(derived={"d": Derived(sql="skus", type="string")}), "a list of texts does not become a text"),
        (
            lambda: of_lists(derived={"d": Derived(sql="CASE WHEN TRUE THEN skus END", type="string")}),
            "CASE gives a list of texts; write ARRAY_CONTAINS(x, y) or CARDINALITY(x)",
        ),
        (
            lambda: of_lists(derived={"d": Derived(sql="1 = ANY(skus)", type="boolean")}),
            "takes a list of whole numbers or a list of doubles or a list of texts",
        ),
    ],
)
def test_a_list_where_a_single_value_belongs_is_refused_with_what_to_write_instead(
    define: Callable[[], Any], says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        define()


def test_the_aggregates_of_elements_are_in_the_plan_by_the_type_of_their_column() -> None:
    aggregates = (count(each="skus", over="1h"), top_k(each="prices", k=2, over="1h"), last(each="skus", over="1h"))
    plan = compile_plan(of_lists({"aggregates": (count(over="1h"), *aggregates)}))
    found = [(f.name, f.column_type, f.type, f.call) for f in plan.view("v").features[1:]]
    assert found == [
        ("skus_count_1h", "string[]", "long", "count(each=skus)"),
        ("prices_top_k_1h", "double[]", "double[]", "top_k(each=prices, k=2)"),
        ("skus_last_1h", "string[]", "string", "last(each=skus)"),
    ]
    assert "each" not in view_definition(of_lists(), of_lists().views[0])["view"]["aggregates"][0]


def test_the_error_for_an_unsupported_field_type_names_the_field() -> None:
    with pytest.raises(TypeError, match=r"Listed\.tags"):

        class Listed(Contract, name="listed", version=1):
            time: Annotated[int, EVENT_TIME, Field(ge=0)]
            tags: dict[str, str]


def test_personal_data_that_is_dropped_is_never_carried() -> None:
    assert compile_plan(pipeline(passthrough=("email", "card"))).passthrough == (
        ("card", "string"),
        ("amount", "double"),
    )


def with_groups(*groups: str, **changes: Any) -> Pipeline:
    return pipeline(model=pipeline().model.model_copy(update={"groups": groups}), **changes)


def test_groups_are_columns_that_feature_records_keep_and_features() -> None:
    groups = ("event.amount", "event.card", "spending.large_1h")
    assert with_groups(*groups, passthrough=("card",)).model.groups == groups


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        (("country",), "group 'country' is neither event.<column> nor <view>.<feature>"),
        (("event.country",), "group 'event.country' is neither"),
        (("spending.count_5m",), "group 'spending.count_5m' is neither"),
        (("other:spending.count_1h",), "is neither"),
        (("event.card",), r"no feature record has group event.card: name it in Pipeline\(passthrough=\('card',\)\)"),
        (("event.email",), "unless it is personal data that is dropped"),
        (("event.amount", "event.amount"), "group event.amount is named twice"),
        (("spending.recent_1h",), "group spending.recent_1h is a list"),
    ],
)
def test_a_group_that_no_backfill_has_is_refused(groups: tuple[str, ...], says: str) -> None:
    view = VIEW.model_copy(update={"aggregates": (*VIEW.aggregates, last_k("amount", k=3, over="1h", name="recent"))})
    with pytest.raises(ValidationError, match=says):
        with_groups(*groups, views=(view,), passthrough=("email",))


def test_groups_change_nothing_that_is_computed_or_stored() -> None:
    plain, grouped = pipeline(), with_groups("event.amount")
    assert compile_plan(grouped) == compile_plan(plain)
    assert Policy.of(grouped.model) == Policy.of(plain.model)


def test_equal_conditions_share_one_filter_column() -> None:
    twice = View(
        name="v",
        version=1,
        entity=CARD,
        aggregates=(
            count(over="1h", where="amount > 1", name="a"),
            mean("amount", over="1h", where="amount > 1", name="b"),
        ),
    )
    model = Model(name="m", inputs=twice.inputs(), threshold=0.5, positive="p", negative="n")
    plan = compile_plan(pipeline(views=(twice,), model=model))
    assert [f.sql for f in plan.filters] == ["amount > 1"]
    assert {f.where for f in plan.view("v").features} == {plan.filters[0].name}


def test_the_hash_of_a_view_changes_with_its_meaning_and_with_nothing_else() -> None:
    def hash_of(p: Pipeline) -> str:
        return compile_plan(p).view("spending").hash

    base = hash_of(pipeline())
    assert hash_of(pipeline(passthrough=("card",))) == base
    assert hash_of(pipeline(derived={"large": Derived(sql="amount > 300", type="boolean")})) != base
    other_hop = VIEW.model_copy(
        update={"aggregates": (count(over=[Window.of("1m", hop="5s"), "1h"]), *VIEW.aggregates[1:])}
    )
    assert hash_of(pipeline(views=(other_hop,))) != base


def test_a_view_definition_names_the_derived_columns_that_it_uses() -> None:
    unrelated = Derived(sql="amount * 2", type="double")
    definition = view_definition(pipeline(derived={**pipeline().derived, "double_amount": unrelated}), VIEW)
    assert list(definition["derived"]) == ["large"]


@pytest.mark.parametrize(
    "where",
    [
        lambda sql: Derived(sql=sql, type="double"),
        lambda sql: count(over="1h", name="n", where=sql),
        lambda sql: Source(topic="events", contract=Payment, key="card", filter=sql),
    ],
    ids=["derived", "where", "filter"],
)
def test_sql_that_is_not_allowed_is_refused_where_it_is_written(where: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"ROUND\(\.\.\.\) is not on the list of functions: write FLOOR"):
        where("ROUND(amount, 2)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"derived": {"twice": Derived(sql="amuont * 2", type="double")}}, "column twice: there is no 'amuont'"),
        ({"derived": {"twice": Derived(sql="card * 2", type="double")}}, "column twice: x \\* y takes a whole number"),
        (
            {"derived": {"a": Derived(sql="b + 1", type="double"), "b": Derived(sql="1", type="double")}},
            "column a: there is no 'b'",
        ),
        (
            {"source": Source(topic="e", contract=Payment, key="card", filter="amount")},
            "filter of source e: a double does not become a boolean: write x <> 0",
        ),
    ],
)
def test_a_pipeline_refuses_sql_that_its_columns_do_not_fit(changes: dict[str, Any], message: str) -> None:
    views = (View(name="v", version=1, entity=CARD, aggregates=(count(over="1h"),)),)
    with pytest.raises(ValueError, match=message):
        pipeline(
            views=views,
            model=Model(name="m", inputs=("v.count_1h",), threshold=0.5, positive="p", negative="n"),
            **changes,
        )


def test_a_condition_of_an_aggregate_names_its_view_and_itself() -> None:
    views = (View(name="v", version=1, entity=CARD, aggregates=(count(over="1h", where="kard = 'x'", name="big"),)),)
    with pytest.raises(ValueError, match="view v, where of big: there is no 'kard'; there are "):
        pipeline(views=views)


def test_a_view_named_as_a_field_of_the_record_is_refused() -> None:
    view = View(name="source", version=1, entity=CARD, aggregates=(count(over="1h"),))
    with pytest.raises(ValueError, match="feature records have a field of that name"):
        pipeline(views=(view,))


def test_texts_and_the_integers_that_are_named_are_categories_of_the_model() -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(last("card", over="1h"), count(over="1h")))
    model = Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n")
    assert pipeline(views=(view,), model=model).categories == ("v.card_last_1h",)
    both = model.model_copy(update={"categories": ("v.count_1h",)})
    assert pipeline(views=(view,), model=both).categories == ("v.card_last_1h", "v.count_1h")


@pytest.mark.parametrize(
    ("category", "says"),
    [("v.other", "category 'v.other' is no input"), ("v.amount_mean_1h", "is a double, which is no category")],
)
def test_what_cannot_be_a_category_is_refused(category: str, says: str) -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(mean("amount", over="1h"),))
    model = Model(name="m", inputs=view.inputs(), categories=(category,), threshold=0.5, positive="p", negative="n")
    with pytest.raises(ValueError, match=says):
        pipeline(views=(view,), model=model)


def test_an_entity_of_several_columns_has_a_key_column_of_its_own() -> None:
    pair = Entity(name="card_time", key=("card", "time"))
    view = View(name="v", version=1, entity=pair, aggregates=(count(over="1h"),))
    model = Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n")
    plan = compile_plan(pipeline(entities=(pair,), views=(view,), model=model))
    assert [(c.name, c.columns) for c in plan.composites] == [("key__card_time", ("card", "time"))]
    (planned_view,) = plan.views
    assert (planned_view.key, planned_view.key_type) == ("key__card_time", "string")
    assert plan.key_columns(planned_view) == ("card", "time")


@pytest.mark.parametrize(
    ("key", "why"), [(("card", "amount"), "a double cannot be a key"), (("card", "card"), "named twice")]
)
def test_an_entity_with_a_wrong_key_is_refused(key: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pipeline(entities=(CARD, Entity(name="pair", key=key)))


def test_a_list_feature_cannot_be_a_model_input_or_a_monitor() -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(top_k("amount", k=3, over="1h"),))
    model = Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n")
    with pytest.raises(ValueError, match=r"v\.amount_top_k_1h is a list \(double\[\]\).*such as max_"):
        pipeline(views=(view,), model=model)
    event = model.model_copy(update={"inputs": ("event.amount",)})
    assert compile_plan(pipeline(views=(view,), model=event)).views[0].features[0].type == "double[]"
    with pytest.raises(ValueError, match=r"'v\.amount_top_k_1h' is not an input of the model"):
        pipeline(views=(view,), model=event, monitors=Monitors(inputs=view.inputs()))


@pytest.mark.parametrize("k", [0, 101, 2.5])
def test_a_list_has_1_to_100_elements(k: Any) -> None:
    with pytest.raises(ValueError, match="k\n"):
        first_k("amount", k=k, over="1h")


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ([], "at least 1 item"),
        (range(101), "at most 100 items"),
        ([1, 1], "must increase strictly"),
        ([0.0, -0.0], "must increase strictly"),
        ([2, 1], "must increase strictly"),
        ([1, float("inf")], "finite number"),
        ([float("nan")], "finite number"),
    ],
)
def test_wrong_bucket_edges_are_refused(buckets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        histogram("amount", buckets=buckets, over="1h")


def test_a_list_of_the_largest_needs_numbers() -> None:
    view = View(name="v", version=1, entity=CARD, aggregates=(top_k("card", k=3, over="1h"),))
    with pytest.raises(ValueError, match="needs a number, not string"):
        pipeline(views=(view,))


def test_the_definition_of_an_aggregate_has_no_parameters_that_are_not_set() -> None:
    assert set(count(over="1h").model_dump()) == {"operation", "column", "windows", "where", "name"}
    assert last_k("card", k=2, over="1h").model_dump()["k"] == 2
    assert histogram("amount", buckets=[1, 2], over="1h").model_dump()["buckets"] == (1.0, 2.0)


class Refund(Contract, name="refund", version=1):
    """Another event of the same card."""

    refund: Annotated[str, EVENT_ID]
    refunded: Annotated[int, EVENT_TIME, Field(ge=0)]
    card: Annotated[str, ENTITY, PII_HASH]
    back: float


REFUNDS = Source(topic="events.refunds", contract=Refund, key="card", triggers=False)


def test_a_row_has_the_columns_of_all_sources_and_the_type_of_its_event() -> None:
    plan = compile_plan(pipeline(additional_sources=(REFUNDS,)))
    assert [source.topic for source in plan.sources] == ["events.payments", "events.refunds"]
    assert list(plan.contract_columns) == [
        *("id", "time", "card", "email", "amount"),
        *("refund", "refunded", "back", "event__type"),
    ]
    assert "event__type" not in compile_plan(pipeline()).contract_columns


def test_the_hash_of_a_view_changes_with_the_sources_and_their_filters() -> None:
    def hash_of(*also: Source) -> str:
        return compile_plan(pipeline(additional_sources=also)).view("spending").hash

    picky = REFUNDS.model_copy(update={"filter": "back > 1"})
    assert len({hash_of(), hash_of(REFUNDS), hash_of(picky)}) == 3


def test_the_filter_of_a_source_is_a_filter_column_like_other_conditions() -> None:
    plan = compile_plan(pipeline(additional_sources=(REFUNDS.model_copy(update={"filter": "large"}),)))
    assert [(source.filter) for source in plan.sources] == [None, "where__0"]
    assert [column.sql for column in plan.filters] == ["large"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"topic": "app", "contract": Payment, "triggers": True, "dedup_horizon": 7_200_000},
            "dedup_horizon is 7200000, that of events.payments is 3600000; an id is of one event in all topics",
        ),
        ({"topic": "events.payments"}, "named twice"),
        ({"partitions": 7}, "partitions is 7, that of events.payments is 4"),
        ({"key": "refund"}, "key is 'refund', that of events.payments is 'card'"),
        ({"key": None}, r"give key=.*personal data \(card\)"),
    ],
)
def test_a_source_that_does_not_fit_the_first_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pipeline(additional_sources=(REFUNDS.model_copy(update=changes),))


def test_only_the_ids_of_events_that_are_scored_and_of_another_contract_name_it() -> None:
    app = Source(topic="app", contract=Payment, key="card")
    scored = REFUNDS.model_copy(update={"topic": "scored", "triggers": True})
    plan = compile_plan(pipeline(additional_sources=(REFUNDS, app, scored)))
    assert [plan.id_prefix(number) for number in range(4)] == ["", "", "", "refund:"]
    assert [plan.ids_of(number) for number in range(4)] == [0, 1, 0, 3]
    assert plan.triggering_topics == ("events.payments", "app", "scored")
    assert [plan.reserved_ids(number) for number in range(4)] == [("refund:",), (), ("refund:",), ()]
    nameless = plan.additional_sources[2].model_copy(update={"event_id": None})
    plan = plan.model_copy(update={"additional_sources": (*plan.additional_sources[:2], nameless)})
    assert [plan.reserved_ids(number) for number in range(4)] == [("scored/",), (), ("scored/",), ()]


def test_the_type_of_an_event_can_be_an_input_of_the_model() -> None:
    model = pipeline().model.model_copy(update={"inputs": ("event.event__type", "event.amount")})
    both = pipeline(additional_sources=(REFUNDS,), model=model)
    assert both.categories == ("event.event__type",)
    assert compile_plan(both).passthrough == (("amount", "double"), ("event__type", "string"))


def test_a_pipeline_has_no_more_sources_than_the_job_can_number_in_a_signed_byte() -> None:
    others = tuple(REFUNDS.model_copy(update={"topic": f"events.{number}"}) for number in range(128))
    assert len(pipeline(additional_sources=others[:127]).sources) == 128
    with pytest.raises(ValueError, match=r"events.payments: a pipeline reads at most 128 topics, this one 129"):
        pipeline(additional_sources=others)


def test_an_event_of_any_source_must_have_the_key() -> None:
    class Keyless(Contract, name="keyless", version=1):
        when: Annotated[int, EVENT_TIME, Field(ge=0)]

    with pytest.raises(ValueError, match="keyless has no field 'card'"):
        pipeline(additional_sources=(REFUNDS.model_copy(update={"contract": Keyless}),))


def test_several_sources_cannot_be_ordered_by_event_time() -> None:
    with pytest.raises(ValueError, match="cannot be ordered by event time"):
        pipeline(additional_sources=(REFUNDS.model_copy(update={"order": "event_time"}),))


def test_columns_of_one_name_must_be_alike() -> None:
    class Numbered(Contract, name="numbered", version=1):
        time: Annotated[int, EVENT_TIME, Field(ge=0)]
        card: Annotated[str, PII_HASH]
        amount: str

    class Open(Contract, name="open", version=1):
        time: Annotated[int, EVENT_TIME, Field(ge=0)]
        card: str

    with pytest.raises(ValueError, match=r"the type of amount is string, in events.payments it is double"):
        pipeline(additional_sources=(REFUNDS.model_copy(update={"contract": Numbered}),))
    with pytest.raises(ValueError, match=r"the pii of card is None, in events.payments it is"):
        pipeline(additional_sources=(REFUNDS.model_copy(update={"contract": Open}),))


def test_the_pipelines_own_source_always_triggers() -> None:
    with pytest.raises(ValueError, match="always triggers"):
        pipeline(source=Source(topic="events.payments", contract=Payment, key="card", triggers=False))


def test_every_source_has_its_topics_and_its_contract() -> None:
    both = pipeline(additional_sources=(REFUNDS,))
    assert {topic.name for topic in pipeline_topics(both)} >= {"events.refunds", "events.refunds.dlq"}
    assert both.contracts == (Payment, Refund)
    granted = {(acl.user, acl.name, acl.operation) for acl in acls(both)}
    assert ("penstock-payments-features", "events.refunds", "Read") in granted
    assert ("penstock-payments-features", "events.refunds.dlq", "Write") in granted


def test_two_entities_of_one_name_are_refused() -> None:
    card = Entity(name="card", key="card")
    with pytest.raises(ValidationError, match="entity names must differ"):
        pipeline(entities=(card, Entity(name="card", key="email")))


def test_a_field_that_could_be_a_generated_column_is_refused_also_with_one_source() -> None:
    class Odd(Contract, name="odd", version=1):
        """A contract."""

        time: Annotated[int, EVENT_TIME]
        card: Annotated[str, ENTITY]
        where__0: int = 0

    with pytest.raises(ValidationError, match="where__0 could be a generated column"):
        pipeline(source=Source(topic="events.odd", contract=Odd, key="card"))


def model(threshold: float) -> Model:
    return Model(name="m", inputs=("event.amount",), threshold=threshold, positive="block", negative="approve")


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, 20.0])
def test_a_threshold_is_a_probability_unless_the_labels_are_values(threshold: float) -> None:
    with pytest.raises(ValidationError, match=r"no probability between 0 and 1; values need Labels\(task='regression'"):
        pipeline(model=model(threshold))
    labels = Labels(topic="labels.payments", contract=Payment, value="amount", task="regression")
    assert pipeline(model=model(threshold), labels=labels).model.threshold == threshold


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_is_finite(threshold: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        model(threshold)


def test_the_positive_class_goes_with_several_classes_alone() -> None:
    text = {"topic": "labels.payments", "contract": Payment, "value": "card"}
    assert Labels(**text, task="multiclass", positive="stolen").positive == "stolen"
    for wrong in ({"task": "multiclass"}, {"value": "amount", "positive": 1}):
        with pytest.raises(ValidationError, match="the score, of task='multiclass' and no other"):
            Labels(**text | wrong)


@pytest.mark.parametrize(
    ("task", "value", "needs"),
    [
        ({"task": "regression"}, "card", "a number; the contract has"),
        ({"task": "multiclass", "positive": "x"}, "amount", "a text or an integer; the contract has"),
    ],
)
def test_the_field_of_the_label_must_have_a_type_of_the_task(task: dict[str, Any], value: str, needs: str) -> None:
    with pytest.raises(ValidationError, match=needs):
        Labels(topic="labels.payments", contract=Payment, value=value, **task)


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "é", "a/b", "events\n", "x" * 250])
def test_a_name_that_no_topic_can_have_is_refused(topic: str) -> None:
    for definition in (
        lambda: Source(topic=topic, contract=Payment, key="card"),
        lambda: Labels(topic=topic, contract=Payment, value="amount"),
    ):
        with pytest.raises(ValidationError, match=r"no topic can be called|Kafka allows 249"):
            definition()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"source": Source(topic="x" * 246, contract=Payment, key="card")}, "x.dlq has 250 characters, Kafka allows"),
        ({"name": "p" * 234}, "topic predictions.p+.dlq has 250 characters, Kafka allows 249"),
        ({"source": Source(topic="features.payments", contract=Payment, key="card")}, "features.payments is read, and"),
        ({"source": Source(topic="features_payments", contract=Payment, key="card")}, r"differ only in '\.' and '_'"),
        (
            {"additional_sources": (Source(topic="events_payments", contract=Payment, key="card", triggers=False),)},
            r"topics events.payments and events_payments differ only in '\.' and '_'",
        ),
        (
            {"labels": Labels(topic="events.payments.dlq", contract=Payment, value="amount")},
            "topic events.payments.dlq is read, and Penstock writes",
        ),
    ],
)
def test_topics_of_a_pipeline_that_kafka_cannot_have_side_by_side_are_refused(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        pipeline(**changes)


def test_the_longest_names_of_topics_are_accepted() -> None:
    pipeline(source=Source(topic="x" * 245, contract=Payment, key="card"), name="p" * 225)


@pytest.mark.parametrize(
    ("of", "also", "why"),
    [
        ("refund", REFUNDS, "leave out of=, which means events of payment"),
        ("payment", REFUNDS.model_copy(update={"triggers": True}), "of= names refund, or is left out"),
    ],
)
def test_labels_are_of_events_that_are_scored(of: str, also: Source, why: str) -> None:
    labels = Labels(topic="labels", contract=Payment, value="amount", task="regression", of=of)
    with pytest.raises(ValidationError, match=why):
        pipeline(additional_sources=(also,), labels=labels)


def test_labels_are_watched_where_events_of_several_topics_are_scored() -> None:
    monitors = Monitors(inputs=("spending.count_1h",), labels=True)
    labels = Labels(topic="labels", contract=Payment, value="amount", task="regression", of="refund")
    both = pipeline(
        additional_sources=(REFUNDS.model_copy(update={"triggers": True}),), labels=labels, monitors=monitors
    )
    assert (both.labels, both.monitors) == (labels, monitors)
