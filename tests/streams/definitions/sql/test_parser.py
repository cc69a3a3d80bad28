"""The text of an expression becomes a tree, or an error that marks the place and says what to write."""

from __future__ import annotations

import pytest

from streams.definitions.sql.functions import FUNCTIONS, INSTEAD, OPERATORS, TYPES
from streams.definitions.sql.parser import KEYWORDS, parse
from streams.definitions.sql.tree import Call, Cast, Literal, Name, SqlError, names

X, Y = Name("x"), Name("y")


@pytest.mark.parametrize(
    ("sql", "same"),
    [
        ("1 + 2 * x", "1 + (2 * x)"),
        ("x - y - 1", "(x - y) - 1"),
        ("x OR y AND NOT x = y", "x OR (y AND (NOT (x = y)))"),
        ("x || y = 'a'", "(x || y) = 'a'"),
        ("x BETWEEN 1 AND 2 AND y", "(x >= 1 AND x <= 2) AND y"),
        ("x NOT IN (1, 2)", "NOT (x = 1 OR x = 2)"),
        ("CASE x WHEN 1 THEN y END", "CASE WHEN x = 1 THEN y ELSE NULL END"),
        ("x IS NOT NULL", "NOT (x IS NULL)"),
        ("x != 1", "x <> 1"),
        ("x % y", "MOD(x, y)"),
        ("substring(x from 2 for 3)", "SUBSTRING(x, 2, 3)"),
        ("try_cast(x as varchar)", "CAST(x AS STRING)"),
        ("- 2", "-2"),
        ('"x" + `y`', "x + y"),
    ],
)
def test_two_ways_to_write_it_give_one_tree(sql: str, same: str) -> None:
    assert parse(sql) == parse(same)


@pytest.mark.parametrize(
    ("sql", "tree"),
    [
        ("0.5", Literal(0.5, "double")),
        ("1e3", Literal(1000.0, "double")),
        ("-9223372036854775808", Literal(-(2**63), "long")),
        ("'it''s'", Literal("it's", "string")),
        ("x = NULL", Call("=", (X, Literal(None, None)))),
        ("CAST(x AS BIGINT)", Cast(X, "long")),
        ("event . amount", Name("event.amount")),
    ],
)
def test_constants_casts_and_names(sql: str, tree: object) -> None:
    assert parse(sql) == tree


@pytest.mark.parametrize("word", ["value", "method", "position", "timestamp", "date", "user", "order", "from", "abs"])
def test_a_word_that_an_engine_reserves_is_a_name(word: str) -> None:
    assert [name.name for name in names(parse(f"{word} > 2"))] == [word]


@pytest.mark.parametrize("word", sorted(KEYWORDS))
def test_a_keyword_is_a_name_in_quotes(word: str) -> None:
    assert [name.name for name in names(parse(f'"{word.lower()}" > 2'))] == [word.lower()]
    with pytest.raises(SqlError):
        names(parse(f"2 > {word.lower()} > 3 + "))


@pytest.mark.parametrize("word", sorted(KEYWORDS - {"NULL", "TRUE", "FALSE"}))
@pytest.mark.parametrize("sql", ["{} > 3", "x + 1 = {}", "event.{} > 3"])
def test_the_error_for_a_keyword_where_a_name_was_meant_says_how_to_quote_it(word: str, sql: str) -> None:
    word = word.lower()
    with pytest.raises(SqlError, match=f'a column of this name is written "{word}", in quotes'):
        parse(sql.format(word))


def test_thirty_levels_of_parentheses_are_allowed() -> None:
    for opened in ("(", "ABS("):
        parse(opened * 30 + "x" + ")" * 30)
        with pytest.raises(SqlError, match="nested more than 30 levels"):
            parse(opened * 31 + "x" + ")" * 31)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("REGEXP_REPLACE(x, 'a', 'b')", "not on the list of functions: write REPLACE"),
        ("COALESE(x, y)", "not on the list of functions: write COALESCE"),
        ("x + CAST(y AS INT)", "'INT' is not a type here: write BIGINT"),
        ("EXTRACT(HOUR FROM x)", "the hour is MOD"),
        ("x > ALL (SELECT y)", "ALL(...) is not on the list"),
        ("SUM(x) OVER (ORDER BY y)", "an expression sees one row; use an aggregate"),
        ("x IS TRUE", "write x, or COALESCE(x, FALSE)"),
        ("x::BIGINT", "write CAST(x AS BIGINT)"),
        ("x -- all", "comments are not allowed"),
        ("x = 'a", "this text does not end"),
        ("9223372036854775808", "a whole number has 64 bits"),
        ("1e400", "a double ends at 1.8e308"),
        ("12abc", "not a number"),
        ("x y", "'y' is not expected here"),
        ("(x", "the expression ends here: ) must follow"),
        ("", "the expression ends here: a value must follow"),
        ("x LIKE y", "the pattern of LIKE must be a text"),
        ("x LIKE 'a_'", "cannot have '_': write SUBSTRING"),
        ("SUBSTRING(x, 0)", "start and length must be constants from 1 on"),
        ("REPLACE(x, '', 'a')", "OLD not ''"),
        ("ABS(x, y)", "it does not take 2 operands"),
        ("CASE x END", "WHEN must follow"),
        ("x = 1; DROP TABLE y", "';' is not allowed"),
    ],
)
def test_what_is_not_on_the_list_is_refused_with_what_to_write(sql: str, message: str) -> None:
    with pytest.raises(SqlError) as raised:
        parse(sql)
    assert message in str(raised.value)


def test_the_error_marks_the_place_in_its_line() -> None:
    with pytest.raises(SqlError) as raised:
        parse("CASE WHEN x > 1\n  THEN ROUND(x)\nEND")
    assert str(raised.value).splitlines()[1:] == ["      THEN ROUND(x)", "           ^"]


@pytest.mark.parametrize(
    "sql",
    [
        "(" * 31 + "x" + ")" * 31,
        "x" + " + 1" * 100,
        "x IN (" + ", ".join(["1"] * 1_000) + ")",
        "- " * 1_000 + "1",
        "CASE " * 29 + "x" + " WHEN 1 THEN 1 WHEN 2 THEN 2 END" * 29,
        "NULLIF(" * 29 + "x" + ", 1)" * 29,
        "CAST(" * 29 + "x" + " AS BOOLEAN)" * 29,
    ],
    ids=["parentheses", "operations", "words", "signs", "repeated in CASE", "repeated in NULLIF", "repeated in CAST"],
)
def test_an_expression_has_a_size_that_engines_can_take(sql: str) -> None:
    with pytest.raises(SqlError, match="split it into several"):
        parse(sql)


def test_a_hundred_values_in_a_list_are_allowed() -> None:
    parse("x IN (" + ", ".join(map(str, range(100))) + ")")


def test_the_advice_is_on_the_list_itself() -> None:
    functions = {advice.split("(")[0].rsplit(" ", 1)[-1] for advice in INSTEAD.values() if "(" in advice}
    assert functions <= {*FUNCTIONS, *TYPES, "CAST", ""}
    assert not set(INSTEAD) & {*FUNCTIONS, *OPERATORS, *TYPES}


@pytest.mark.parametrize("text", ["a\0", "\ud800"])
def test_a_text_that_engines_cannot_take_is_refused(text: str) -> None:
    with pytest.raises(SqlError, match="NUL or half a surrogate pair"):
        parse(f"x || '{text}'")
