"""The SQL of derived columns and derived features."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.contract import ColumnType
from streams.plan.derivation import derivation_query, feature_query, python_function
from streams.plan.model import ColumnPlan
from tests.streams.job_bench import define


def test_each_column_may_use_those_before_it_and_filters_may_use_all(tmp_path: Path, suffix: str) -> None:
    query = derivation_query(define(tmp_path, suffix).plan, ["id", "where__1"], "events")

    inner_to_outer = ["AS `cents`", "AS `is_large`", "AS `where__0`", "AS `where__1`"]
    places = [query.index(text) for text in inner_to_outer]
    assert places == sorted(places, reverse=True), "an inner level must come later in the text"
    assert "penstock_finite(`amount` * CAST(100.0e0 AS DOUBLE)) AS `cents`" in query
    assert query.startswith("SELECT `id`, `where__1` FROM (")


def test_a_python_column_is_a_call_with_its_columns(tmp_path: Path, suffix: str) -> None:
    query = derivation_query(define(tmp_path, suffix, python=True).plan, ["initial"], "events")

    assert "python__initial(`shop`) AS `initial`" in query


def test_derived_features_come_after_those_that_they_use_and_see_longs_as_doubles(tmp_path: Path, suffix: str) -> None:
    query = feature_query(define(tmp_path, suffix).plan, ["by_card__tenths", "__event"], "features")

    assert query.startswith("SELECT `by_card__tenths`, `__event` FROM (")
    assert query.index("AS `by_card__against_shop`") < query.index("AS `by_card__busy`"), "an inner level comes later"
    busy = "penstock_finite(CAST(`by_card__count_10s` AS DOUBLE) / CAST(`by_card__count_5m` AS DOUBLE))"
    assert f"{busy} AS `by_card__busy`" in query
    assert "penstock_whole(" in query


def odd(what: Any) -> Any:
    """What an author's function may do."""
    return what()


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("string", lambda: 1 / 0),
        ("string", lambda: sys.exit(3)),
        ("string", lambda: "x" + chr(0xD800)),
        ("string", lambda: 5),
        ("string", lambda: b"bytes"),
        ("long", lambda: 2**63),
        ("long", lambda: True),
        ("long", lambda: 1.0),
        ("double", lambda: "1.0"),
        ("double", lambda: 10**400),
        ("boolean", lambda: 1),
        ("double", lambda: math.inf.undefined),  # type: ignore[attr-defined]
    ],
)
def test_a_python_column_is_null_where_its_function_raises_or_returns_what_the_column_cannot_hold(
    kind: ColumnType, what: Any
) -> None:
    column = ColumnPlan(name="c", type=kind, python=f"{__name__}:odd", arguments=("what",))

    assert python_function(column)(what) is None


def test_a_python_column_may_not_swallow_an_interrupt() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    column = ColumnPlan(name="c", type="string", python=f"{__name__}:odd", arguments=("what",))
    with pytest.raises(KeyboardInterrupt):
        python_function(column)(interrupted)
