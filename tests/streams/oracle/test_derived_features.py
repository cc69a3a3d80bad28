"""The oracle of derived features: DuckDB on a record's own values, with the rules of the job's SQL."""

from __future__ import annotations

from typing import Any

import pytest

from streams.oracle.derived_features import derived_features
from streams.plan.model import PipelinePlan
from tests.plans import make_plan, view_of

COUNT = {"operation": "count", "column": None, "column_type": None, "where": None, "window_ms": 1_000, "hop_ms": 10}
VIEWS = ("v", "w")


def derived(name: str, sql: str, *inputs: str, kind: str = "double") -> dict[str, Any]:
    return {"name": name, "sql": sql, "type": kind, "inputs": list(inputs), "windows": []}


def plan(*of_v: dict[str, Any], of_w: tuple[dict[str, Any], ...] = ()) -> PipelinePlan:
    """Views v with the counts a and b, and w with the count c; the event has a column x."""
    a, b, c = (COUNT | {"name": name, "type": "long"} for name in "abc")
    views = [
        view_of(a, b, name="v") | {"derived": list(of_v)},
        view_of(c, name="w") | {"derived": list(of_w)},
    ]
    return make_plan(fields=[], views=views, passthrough=[["x", "double"]])


def value(sql: str, *inputs: str, kind: str = "double", a: int = 7, b: int = 2) -> Any:
    found = plan(derived("d", sql, *inputs, kind=kind))
    record = {"event": {"x": 0.5}, "v": {"a": a, "b": b}, "w": {"c": 4}}
    return derived_features(found, [record], VIEWS)[0]["v.d"]


def test_counts_divide_as_doubles() -> None:
    assert value("a / b", "v.a", "v.b") == 3.5


@pytest.mark.parametrize("sql", ["a / b", "LN(b)", "LN(b - 1)", "EXP(a * 1000)", "CAST('x' AS DOUBLE) + b"])
def test_a_value_that_is_not_finite_is_null(sql: str) -> None:
    assert value(sql, "v.a", "v.b", b=0) is None


@pytest.mark.parametrize(
    ("sql", "wanted"), [("a / b", 3), ("0 - a / b", -3), ("a * 1e300", None), ("9223372036854775808e0 * b / 2", None)]
)
def test_a_long_has_no_fraction_and_is_null_beyond_64_bits(sql: str, wanted: int | None) -> None:
    assert value(sql, "v.a", "v.b", kind="long") == wanted


def test_other_views_and_the_event_are_named_with_their_scope() -> None:
    assert value("w.c * event.x + a", "w.c", "event.x", "v.a") == 9.0


def test_a_feature_without_inputs_has_a_value_for_each_record() -> None:
    found = plan(derived("d", "0.5e0"))
    records = [{"event": {"x": None}, "v": {"a": 1, "b": 1}, "w": None}] * 2
    assert derived_features(found, records, VIEWS) == [{"v.d": 0.5}, {"v.d": 0.5}]


def test_a_later_feature_reads_null_where_an_earlier_one_was_not_finite() -> None:
    found = plan(derived("d", "a / b", "v.a", "v.b"), derived("e", "COALESCE(d, 1e0)", "v.d"))
    record = {"event": {"x": 0.5}, "v": {"a": 7, "b": 0}, "w": None}
    assert derived_features(found, [record], VIEWS) == [{"v.d": None, "v.e": 1.0}]


def test_a_derived_feature_uses_the_records_own_value_of_an_earlier_one() -> None:
    found = plan(derived("d", "a / b", "v.a", "v.b"), derived("e", "d * 2", "v.d"))
    record = {"event": {"x": 0.5}, "v": {"a": 7, "b": 2, "d": 10.0}, "w": None}
    assert derived_features(found, [record], VIEWS) == [{"v.d": 3.5, "v.e": 20.0}]


def test_a_view_that_the_event_does_not_have_gives_nulls() -> None:
    found = plan(derived("d", "COALESCE(w.c, 0) + a", "w.c", "v.a"), derived("e", "w.c + a", "w.c", "v.a"))
    record = {"event": {"x": 0.5}, "v": {"a": 7, "b": 2}, "w": None}
    assert derived_features(found, [record], VIEWS) == [{"v.d": 7.0, "v.e": None}]


def test_features_of_a_view_that_is_not_in_the_records_or_that_use_one_are_left_out() -> None:
    found = plan(
        derived("d", "w.c + a", "w.c", "v.a"), derived("e", "a + b", "v.a", "v.b"), of_w=(derived("f", "c", "w.c"),)
    )
    record = {"event": {"x": 0.5}, "v": {"a": 7, "b": 2}}
    assert derived_features(found, [record], ["v"]) == [{"v.e": 9.0}]


def test_no_records_have_no_features() -> None:
    assert derived_features(plan(derived("d", "a", "v.a")), [], VIEWS) == []
