"""The definitions of the corpus: every aggregate, windows of every shape, filters, entities that may be missing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    Contract,
    Derived,
    Entity,
    Model,
    Pipeline,
    Source,
    View,
    Window,
    approx_distinct,
    bottom_k,
    changed,
    count,
    decayed_count,
    decayed_mean,
    decayed_sum,
    distinct,
    first,
    first_k,
    frequency,
    histogram,
    kurtosis,
    last,
    last_k,
    max_,
    mean,
    min_,
    most_frequent,
    quantile,
    rate,
    session_count,
    session_length,
    skewness,
    std,
    sum_,
    time_since_first,
    time_since_last,
    time_since_previous,
    top_k,
    variance,
    zscore,
)


class CorpusEvent(Contract, name="corpus_event", version=1):
    """A column of each type, and two entities."""

    id: Annotated[str, EVENT_ID, Field(min_length=1)]
    time: Annotated[int, EVENT_TIME, Field(ge=-(2**63))]
    k: Annotated[str | None, ENTITY] = None
    j: Annotated[str | None, ENTITY] = None
    x: float | None = None
    n: Annotated[int | None, Field(ge=-(2**53), le=2**53)] = None
    s: Annotated[str | None, Field(max_length=10)] = None
    b: bool | None = None
    # A reserved word of SQL.
    value: float | None = None


e, f, pair = Entity(name="e", key="k"), Entity(name="f", key="j"), Entity(name="pair", key=("k", "j"))

# The hop divides the window, does not, and is all of it.
SHAPES = (
    Window.of("10s", hop="1s"),
    Window(size=10_000, hop=3_000, label="10s_by_3s"),
    Window(size=10_000, hop=10_000, label="10s_by_10s"),
)

edges = View(
    name="edges",
    version=1,
    entity=e,
    aggregates=(count(over=SHAPES), sum_("x", over=SHAPES), first("n", over=SHAPES), last("n", over=SHAPES)),
)

numbers = View(
    name="numbers",
    version=1,
    entity=e,
    aggregates=(
        count(over="1m"),
        count("x", over="1m"),
        rate(over="1m"),
        sum_("x", over="1m"),
        sum_("n", over="1m"),
        mean("x", over="1m"),
        min_("x", over="1m"),
        max_("x", over="1m"),
        variance("x", over="1m"),
        std("x", over="1m"),
        skewness("x", over="1m"),
        kurtosis("x", over="1m"),
        zscore("x", over="1m"),
        decayed_count(half_life="1s", name="decayed", over="1m"),
        decayed_sum("x", half_life="1s", over="1m"),
        decayed_mean("x", half_life="1s", over="1m"),
    ),
)

values = View(
    name="values",
    version=1,
    entity=e,
    aggregates=(
        *(first(column, over="1m") for column in ("x", "n", "s", "b")),
        *(last(column, over="1m") for column in ("x", "n", "s", "b")),
        *(changed(column, over="1m") for column in ("x", "n", "s", "b")),
        *(approx_distinct(column, over="1m") for column in ("x", "n", "s", "b")),
        time_since_first(name="since_first", over="1m"),
        time_since_last("s", name="since_s", over="1m"),
        time_since_previous(name="since_previous", over="1m"),
    ),
)

lists = View(
    name="lists",
    version=1,
    entity=e,
    aggregates=(
        *(first_k(column, k=2, over="10s") for column in ("x", "n", "s", "b")),
        *(last_k(column, k=2, over="10s") for column in ("x", "n", "s", "b")),
        *(most_frequent(column, k=2, over="10s") for column in ("x", "n", "s", "b")),
        top_k("x", k=2, over="10s"),
        bottom_k("n", k=2, over="10s"),
        top_k("n", k=2, where="b", name="top_of_b", over="10s"),
        histogram("x", buckets=(0, 0.5, 10), over="10s"),
    ),
)

lifetime = View(
    name="lifetime",
    version=1,
    entity=e,
    aggregates=(
        count(over=("10s", "lifetime")),
        first("n", over="lifetime"),
        decayed_sum("x", half_life="1s", over="lifetime"),
        distinct("s", bound=2, over=("10s", "lifetime")),
        quantile("x", q=0.5, over=("10s", "lifetime")),
        quantile("n", q=0.9, over="lifetime"),
        frequency("s", over=("10s", "lifetime")),
        session_count(gap="2s", over=("10s", "lifetime")),
        session_length("x", gap="2s", over=("10s", "lifetime")),
    ),
)

filters = View(
    name="filters",
    version=1,
    entity=e,
    aggregates=(
        count(where="x > 0", name="positive", over="10s"),
        sum_("x", where="s = 'a'", name="x_of_a", over="10s"),
        last("n", where="b", name="n_of_b", over="10s"),
        changed("n", where="b", name="n_of_b_changed", over="10s"),
        zscore("x", where="x > 0", name="among_positive", over="10s"),
        time_since_last(where="x > 0", name="since_positive", over="10s"),
        count(where="half = 3", name="half_is_three", over="10s"),
    ),
)

other = View(name="other", version=1, entity=f, aggregates=(count(over="10s"), sum_("x", over="10s")))

together = View(name="together", version=1, entity=pair, aggregates=(count(over="10s"), last("n", over="10s")))

pipeline = Pipeline(
    name="corpus",
    # One partition: all entities see the events in the order of their offsets.
    source=Source(topic="events.corpus", contract=CorpusEvent, key="k", partitions=1, dedup_horizon="1m"),
    entities=(e, pair, f),
    derived={
        "half": Derived(sql="n / 2", type="long"),
        "ratio": Derived(sql="x / NULLIF(n, 0)", type="double"),
        "tenths": Derived(sql="x * 0.1e0 + 0.2e0", type="double"),
        "parsed": Derived(sql="CAST(s AS DOUBLE)", type="double"),
        "quotient": Derived(sql="100 / n", type="long"),
        "remainder": Derived(sql="MOD(100, n)", type="long"),
        "square": Derived(sql="n * n", type="long"),
        "logarithm": Derived(sql="COALESCE(LN(value), -1)", type="double"),
        "two": Derived(sql="1 + 1", type="long"),
    },
    views=(edges, numbers, values, lists, lifetime, filters, together, other),
    model=Model(name="corpus", inputs=("event.x", "edges.count_10s"), threshold=0.5, positive="p", negative="n"),
    passthrough=("half", "ratio", "tenths", "parsed", "quotient", "remainder", "square", "logarithm", "two"),
)
