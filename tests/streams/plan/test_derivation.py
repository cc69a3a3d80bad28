"""The SQL of derived columns and derived features."""

from __future__ import annotations

from pathlib import Path

from streams.plan.derivation import derivation_query, feature_query
from tests.streams.job_bench import define


def test_each_column_may_use_those_before_it_and_filters_may_use_all(tmp_path: Path, suffix: str) -> None:
    query = derivation_query(define(tmp_path, suffix).plan, ["id", "where__1"], "events")

    inner_to_outer = ["AS `cents`", "AS `is_large`", "AS `where__0`", "AS `where__1`"]
    places = [query.index(text) for text in inner_to_outer]
    assert places == sorted(places, reverse=True), "an inner level must come later in the text"
    assert "penstock_finite(TRY_CAST((amount * 100) AS DOUBLE)) AS `cents`" in query
    assert query.startswith("SELECT `id`, `where__1` FROM (")


def test_a_python_column_is_a_call_with_its_columns(tmp_path: Path, suffix: str) -> None:
    query = derivation_query(define(tmp_path, suffix, python=True).plan, ["initial"], "events")

    assert "TRY_CAST(python__initial(`shop`) AS STRING) AS `initial`" in query


def test_derived_features_come_after_those_that_they_use_and_see_longs_as_doubles(tmp_path: Path, suffix: str) -> None:
    query = feature_query(define(tmp_path, suffix).plan, ["by_card__tenths", "__event"], "features")

    assert query.startswith("SELECT `by_card__tenths`, `__event` FROM (")
    assert query.index("AS `by_card__against_shop`") < query.index("AS `by_card__busy`"), "an inner level comes later"
    assert (
        "penstock_finite(TRY_CAST((`by_card__count_10s` / `by_card__count_5m`) AS DOUBLE)) AS `by_card__busy`" in query
    )
    assert "penstock_whole(" in query
