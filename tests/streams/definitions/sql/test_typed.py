"""Types go into the tree, conversions become explicit, and what does not fit is refused."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.contract import ColumnType
from streams.definitions.sql.generate import to_duckdb, to_flink
from streams.definitions.sql.tree import SqlError
from streams.definitions.sql.typed import typed
from tests.streams.definitions.sql.engines import duckdb_values

TYPES: dict[str, ColumnType] = {"x": "double", "n": "long", "s": "string", "b": "boolean", "order": "long"}


def flink(sql: str, kind: ColumnType) -> str:
    return to_flink(typed(sql, TYPES, kind))


@pytest.mark.parametrize(
    ("sql", "kind", "text"),
    [
        ("n + 1", "long", "penstock_plus(`n`, CAST(1 AS BIGINT))"),
        ("n + 1", "double", "CAST(penstock_plus(`n`, CAST(1 AS BIGINT)) AS DOUBLE)"),
        ("n * x", "double", "penstock_finite(CAST(`n` AS DOUBLE) * `x`)"),
        ("order > 2", "boolean", "(`order` > CAST(2 AS BIGINT))"),
        ("COALESCE(x, 1)", "double", "IFNULL(`x`, CAST(1.0e0 AS DOUBLE))"),
        ("CASE WHEN b THEN 1 ELSE x END", "double", "(CASE WHEN `b` THEN CAST(1.0e0 AS DOUBLE) ELSE `x` END)"),
        ("NULL", "string", "CAST(NULL AS STRING)"),
        ("s = 'it''s'", "boolean", "(`s` = CAST('it''s' AS STRING))"),
        ("x", "long", "penstock_whole(`x`)"),
    ],
)
def test_conversions_and_quotes_are_in_the_text(sql: str, kind: ColumnType, text: str) -> None:
    assert flink(sql, kind) == text


def test_each_engine_has_its_own_quotes() -> None:
    assert to_duckdb(typed("order > 2", TYPES, "boolean")) == '("order" > CAST(2 AS BIGINT))'


@pytest.mark.parametrize(
    ("sql", "kind", "message"),
    [
        ("x + s", "double", "x + y takes a whole number or a double, and not a double and a text"),
        ("MOD(x, 2)", "double", "write MOD(CAST(x AS BIGINT), CAST(y AS BIGINT))"),
        ("s AND b", "boolean", "x AND y takes a boolean, and not a text and a boolean"),
        ("b < TRUE", "boolean", "x < y"),
        ("s || n", "string", "x || y takes a text, and not a text and a whole number"),
        ("CAST(x AS STRING)", "string", "a double has no single text"),
        ("x", "boolean", "a double does not become a boolean: write x <> 0"),
        ("CASE WHEN n THEN 1 END", "long", "WHEN takes a boolean, and not a whole number"),
        ("CASE WHEN b THEN 1 ELSE 'a' END", "long", "CASE gives a whole number in one place and a text in another"),
        ("price * 2", "double", "there is no 'price'; there are x, n, s, b, order"),
    ],
)
def test_what_does_not_fit_is_refused(sql: str, kind: ColumnType, message: str) -> None:
    with pytest.raises(SqlError) as raised:
        typed(sql, TYPES, kind)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("sql", "kind", "values"),
    [
        (
            "CAST(s AS DOUBLE)",
            "double",
            {"12.50": 12.5, "N/A": None, "1,234.5": None, "": None, " 7 ": 7.0, "1e400": None},
        ),
        ("CAST(s AS BIGINT)", "long", {"12": 12, "+5": 5, "12.5": None, "1_000": None, "9223372036854775808": None}),
        ("CAST(s AS BOOLEAN)", "boolean", {"true": True, "false": False, "TRUE": None, "1": None}),
        ("n / 0", "long", {7: None}),
        ("MOD(n, 0)", "long", {7: None}),
        ("n * n", "long", {4_000_000_000: None, 3: 9}),
        ("-n", "long", {-(2**63): None, 3: -3}),
        ("n / 2", "long", {7: 3, -7: -3}),
        ("MOD(n, 5)", "long", {-7: -2}),
        ("COALESCE(LN(x), 1)", "double", {0.0: 1.0, -1.0: 1.0}),
        ("x * 1e300", "double", {1e300: None}),
        ("CAST(x AS BIGINT)", "long", {2.7: 2, -2.7: -2, 1e19: None}),
        ("GREATEST(x, NULL)", "double", {1.0: None}),
        ("UPPER(s)", "string", {"Gießen": "GIEßEN", "é": "é"}),
        ("CAST(b AS STRING)", "string", {True: "true"}),
        ("s LIKE 'a%a'", "boolean", {"a": False, "aa": True, "a\na": True}),
        ("TRIM(s)", "string", {" a\t ": "a\t"}),
    ],
)
def test_the_documented_value(sql: str, kind: ColumnType, values: dict[Any, Any]) -> None:
    text = to_duckdb(typed(sql, TYPES, kind))
    column = {float: "x", int: "n", str: "s", bool: "b"}[type(next(iter(values)))]
    found = duckdb_values({column: TYPES[column]}, [[value] for value in values], [text])
    assert [row[0] for row in found] == list(values.values())
