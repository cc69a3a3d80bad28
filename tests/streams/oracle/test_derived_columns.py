"""The oracle of derived columns: null where a value does not fit its type, integer division as in Flink."""

from __future__ import annotations

from typing import Any

import pytest

from streams.oracle.derived_columns import derive
from streams.plan.model import PipelinePlan
from tests.plans import make_plan


def shout(text: str | None) -> str | None:
    return None if text is None else text.upper()


def eight_over(number: int) -> int:
    return 2 * number if number > 8 else 8 // number


FIELDS: list[dict[str, Any]] = [
    {"name": name, "type": kind, "nullable": True} for name, kind in (("x", "double"), ("n", "long"), ("s", "string"))
]


def plan_with(*columns: dict[str, Any]) -> PipelinePlan:
    return make_plan(fields=FIELDS, derived=list(columns))


def derived(sql: str, kind: str, **row: Any) -> Any:
    plan = plan_with({"name": "d", "type": kind, "sql": sql})
    return derive(plan, [{"x": None, "n": None, "s": None, **row}])[0]["d"]


@pytest.mark.parametrize(
    ("sql", "kind", "row", "value"),
    [
        ("n / 2", "long", {"n": 7}, 3),
        ("MOD(n, 5) = 2", "boolean", {"n": 7}, True),
        ("LN(x)", "double", {"x": 0.0}, None),
        ("x / 0e0", "double", {"x": 1.0}, None),
        ("s", "long", {"s": "not a number"}, None),
        ("n / 0", "long", {"n": 7}, None),
        ("COALESCE(CAST(s AS DOUBLE), -1)", "double", {"s": "1,234.5"}, -1.0),
        ("s || '-' || s", "string", {"s": "é"}, "é-é"),
        ("COALESCE(x, 1e0)", "double", {}, 1.0),
    ],
)
def test_an_expression_gives_its_value_or_null(sql: str, kind: str, row: dict[str, Any], value: Any) -> None:
    assert derived(sql, kind, **row) == value


@pytest.mark.parametrize(
    ("kind", "row", "value"),
    [("long", {"n": 0}, None), ("string", {"n": 4}, None), ("double", {"n": 4}, 2.0), ("long", {"n": 2**62}, None)],
    ids=["raises", "of another type", "an integer is a double", "does not fit"],
)
def test_a_python_column_is_null_where_its_function_fails(kind: str, row: dict[str, Any], value: Any) -> None:
    plan = plan_with({"name": "d", "type": kind, "python": f"{__name__}:eight_over", "arguments": ["n"]})
    assert derive(plan, [{"x": None, "n": None, "s": None, **row}])[0]["d"] == value


def test_a_column_may_use_those_before_it_and_python_ones_too() -> None:
    plan = plan_with(
        {"name": "loud", "type": "string", "python": f"{__name__}:shout", "arguments": ["s"]},
        {"name": "twice", "type": "string", "sql": "loud || loud"},
    )
    rows = derive(plan, [{"x": None, "n": 1, "s": "a"}, {"x": None, "n": 2, "s": None}])
    assert [row["twice"] for row in rows] == ["AA", None]
    assert [row["n"] for row in rows] == [1, 2]
