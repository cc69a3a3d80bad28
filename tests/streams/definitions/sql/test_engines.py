"""Flink and DuckDB give one value for every function of the list, on random and extreme values.

The expressions are made from the list itself, so a new function is in the test as soon as it is on the list.
``SQL_EXPRESSIONS=3000 pytest <this file>`` compares more of them (default 40), with other seeds by ``SQL_SEED``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, element_of
from streams.definitions.sql.functions import CASTS, FUNCTIONS, OPERATORS, Form, Function
from streams.definitions.sql.generate import to_duckdb, to_flink
from streams.definitions.sql.typed import typed
from tests.streams.definitions.sql.engines import duckdb_values, flink_values, same

COLUMNS: dict[str, FeatureType] = {
    # Reserved words of one engine or the other.
    "value": "double",
    "order": "double",
    "position": "long",
    "timestamp": "long",
    "user": "string",
    "method": "string",
    "date": "boolean",
    "end_": "boolean",
    "values": "double[]",
    "rows": "long[]",
    "array": "string[]",
    "any": "boolean[]",
}
SMALLEST, LARGEST = -(2**63), 2**63 - 1
_LARGEST_DOUBLE = 1.7976931348623157e308
_NUMBERS_OR_NOT = (
    "12.50;N/A;1,234.5; 12 ;+5;-0;1e5;.5;5.;1e400;-1e-400;0x1p3;1_000;NaN;Infinity;9223372036854775807;"
    "9223372036854775808;-9223372036854775808;12\n;1d;٣;true;TRUE;false;t;1 2;\u00a012;--5;e5;1e"
)
_TEXTS = ";; ;a;aa;abc;ABC;abcbc;Gießen;ÉCOLE;straße;😀;a😀b;ﬀ;İı;a\nb;\tx ;%_;a_c;it's;\uffff;\U00010000"
VALUES: dict[FeatureType, list[Any]] = {
    "double": [
        *(0.0, -0.0, 0.5, -0.5, 1.0, -1.5, 2.5, 2.7, 0.1, 1e16, 1e300, 1e-320, 5e-324),
        *(_LARGEST_DOUBLE, -_LARGEST_DOUBLE, 9.223372036854775e18, 9.223372036854776e18, -9.223372036854776e18, None),
    ],
    "long": [
        *(0, 1, -1, 2, 7, 10, -3, 4_000_000_000, 3_037_000_500, 2**53 + 1, SMALLEST, LARGEST, SMALLEST + 1, None),
    ],
    "string": [*_NUMBERS_OR_NOT.split(";"), *_TEXTS.split(";"), "abc" * 3_000, "7" * 400, None],
    "boolean": [True, False, None],
    "double[]": [[], [0.0], [-0.0, 1.5], [0.1, 2.5, 2.5, 1.0], [5e-324, _LARGEST_DOUBLE], None],
    "long[]": [[], [0], [1, 7, 1], [2**53 + 1, SMALLEST, LARGEST], None],
    "string[]": [[], [""], ["a", "abc", "a"], ["Gießen😀", "it's", " 12 ", "\uffff"], None],
    "boolean[]": [[], [True], [False, False], [True, False], None],
}
CONSTANTS: dict[FeatureType, list[str]] = {
    **{kind: [] for kind in COLUMNS.values()},
    "double": ["0.5", "1.5e-3", "0e0", "-2.25", "1e308", "5e-324", "NULL"],
    "long": ["0", "1", "-1", "7", "9223372036854775807", "NULL"],
    "string": ["''", "'a'", "'abc'", "'it''s'", "'Gießen😀'", "'a\\n'", "' 12 '", "NULL"],
    "boolean": ["TRUE", "FALSE", "NULL"],
}
_PATTERNS = ("%", "a%", "%c", "%b%", "a%b%c", "", "%ß%", "a%a", "abc%bc", "%a%b%", "%%", ".*", "[a]%")
PATTERNS = [f"'{pattern}'" for pattern in _PATTERNS]
# Two mathematics libraries differ in the last digit: nothing that makes a difference of it great may follow.
APPROXIMATE = ("LN", "EXP", "SQRT", "POWER", "SIN", "COS")
ALL: dict[str, Function] = OPERATORS | FUNCTIONS


def rows(dice: random.Random, count: int) -> list[list[Any]]:
    """Rows of extreme values; each value is in one of them at least."""
    some = [[dice.choice(VALUES[kind]) for kind in COLUMNS.values()] for _ in range(count)]
    for number, kind in enumerate(COLUMNS.values()):
        for row, value in zip(some, dice.sample(VALUES[kind], len(VALUES[kind])), strict=False):
            row[number] = value
    return some


def columns(kind: FeatureType) -> list[str]:
    return [name for name, of in COLUMNS.items() if of == kind]


def written(name: str, operands: list[str]) -> str:
    """A call as an author writes it."""
    if name in FUNCTIONS:
        return f"{name}({', '.join(operands)})"
    if name in ("NEGATE", "NOT"):
        return f"({'-' if name == 'NEGATE' else 'NOT '}({operands[0]}))"
    return f"({operands[0]} IS NULL)" if name == "IS NULL" else f"({operands[0]} {name} {operands[1]})"


def constants(name: str, dice: random.Random) -> list[str]:
    """The operands after the first that must be constants."""
    if name == "SUBSTRING":
        return dice.choice([["1"], ["2"], ["2", "2"], ["1", "100000"], ["3", "1"]])
    if name == "REPLACE":
        return dice.choice([["'a'", "''"], ["'ß'", "'ss'"], ["'abc'", "'😀'"], ["' '", "'a'"]])
    return [dice.choice(PATTERNS)] if name == "LIKE" else []


def calls(name: str, form: Form, operand: Any, dice: random.Random) -> str:
    fixed = constants(name, dice)
    count = 1 if fixed else dice.randint(ALL[name].least, min(ALL[name].most, 3))
    return written(name, [operand(form.type_of(number)) for number in range(count)] + fixed)


def expression(kind: FeatureType, depth: int, dice: random.Random) -> str:
    """A random expression of a type."""
    if element_of(kind) is not None:
        return dice.choice(columns(kind))
    if depth == 0:
        return dice.choice(columns(kind) * 2 + CONSTANTS[kind][:-1])
    choice = dice.random()
    if choice < 0.15:
        condition = expression("boolean", depth - 1, dice)
        return f"CASE WHEN {condition} THEN {expression(kind, depth - 1, dice)} ELSE {expression(kind, 0, dice)} END"
    if choice < 0.3:
        source, target = dice.choice([pair for pair in CASTS if pair[1] == kind])
        name = {"long": "BIGINT", "double": "DOUBLE", "string": "STRING", "boolean": "BOOLEAN"}[target]
        return f"CAST({expression(source, depth - 1, dice)} AS {name})"
    forms = [(n, f) for n, of in ALL.items() if n not in APPROXIMATE for f in of.forms if f.gives == kind]
    name, form = dice.choice(forms)
    return calls(name, form, lambda taken: expression(taken, dice.randrange(depth), dice), dice)


def every_form(dice: random.Random) -> Iterator[tuple[str, ColumnType]]:
    """Each form of each function, on columns alone, and on columns and constants."""
    for name, function in ALL.items():
        for form in function.forms:
            for operand in (
                lambda kind: dice.choice(columns(kind)),
                lambda kind: dice.choice(columns(kind) + CONSTANTS[kind]),
            ):
                yield calls(name, form, operand, dice), form.gives
    yield from ((f"method LIKE {pattern}", "boolean") for pattern in PATTERNS)
    for source, target in CASTS:
        yield columns(source)[0], target
    yield "CASE method WHEN 'a' THEN value WHEN 'abc' THEN 1 END", "double"
    yield "user IN ('a', 'Gießen', '') AND position NOT IN (1, 7)", "boolean"
    yield "value NOT BETWEEN -0.5 AND 1 OR position BETWEEN 1 AND 10", "boolean"
    yield f"user IN ({', '.join(repr(f'v{number}') for number in range(100))}, 'abc')", "boolean"
    yield "position" + " + 1" * 98, "long"
    yield "user" + " || 'a'" * 98, "string"
    yield "NULLIF(" * 8 + "position" + ", 1)" * 8, "long"
    yield "CASE " + "WHEN position = 1 THEN 2 " * 99 + "END", "long"
    yield "user = ANY(array) OR NOT position = ANY(rows)", "boolean"
    yield "ARRAY_CONTAINS(values, position) AND 1 = ANY(values)", "boolean"
    yield "ARRAY_CONTAINS(array, 'a' || 'bc')", "boolean"
    yield "7 / 2", "long"
    yield "1.0 / 0", "double"
    yield "9223372036854775807 + 1", "long"
    yield "-9223372036854775808 - position", "long"
    yield "CAST('N/A' AS DOUBLE)", "double"


# What a generator without care would write; Flink's text and DuckDB's.
NAIVE = {
    "overflow": ("`position` * `position`", 'TRY("position" * "position")'),
    "case of other alphabets": ("UPPER(`user`)", 'UPPER("user")'),
    "nulls among the greatest": ("GREATEST(`value`, `order`)", 'GREATEST("value", "order")'),
    "start of a text": ("SUBSTRING(`user`, 0, 2)", 'SUBSTRING("user", 0, 2)'),
    "fractions": ("TRY_CAST(`value` AS BIGINT)", 'TRY_CAST("value" AS BIGINT)'),
    "booleans as text": ("CAST(`date` AS STRING)", 'CAST("date" AS VARCHAR)'),
    "texts as numbers": ("TRY_CAST(`user` AS DOUBLE)", 'TRY_CAST("user" AS DOUBLE)'),
    "texts as whole numbers": ("TRY_CAST(`user` AS BIGINT)", 'TRY_CAST("user" AS BIGINT)'),
    "spaces": ("TRIM(`user`)", 'TRIM("user")'),
    "any character": ("`user` LIKE 'a_b'", "\"user\" LIKE 'a_b'"),
    "magnitude": ("ABS(`position`)", 'TRY(ABS("position"))'),
}


@dataclass(frozen=True)
class Compared:
    """What both engines gave: for each expression the first row in which they differ."""

    number: int
    different: dict[str, str]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    dice = random.Random(int(os.environ.get("SQL_SEED", "7")))
    kinds: list[ColumnType] = ["long", "double", "string", "boolean"]
    wanted = list(every_form(dice))
    for number in range(int(os.environ.get("SQL_EXPRESSIONS", "40"))):
        kind = kinds[number % len(kinds)]
        wanted.append((expression(kind, 3, dice), kind))
    texts = {sql: (to_flink(typed(sql, COLUMNS, kind)), to_duckdb(typed(sql, COLUMNS, kind))) for sql, kind in wanted}
    texts |= NAIVE
    table = rows(dice, 150)
    in_flink = flink_values(COLUMNS, table, [text for text, _ in texts.values()], tmp_path_factory.mktemp("flink"))
    in_duckdb = duckdb_values(COLUMNS, table, [text for _, text in texts.values()])
    different: dict[str, str] = {}
    for number, name in enumerate(texts):
        for row, left, right in zip(table, in_flink, in_duckdb, strict=True):
            if not same(left[number], right[number]):
                found = f"Flink {left[number]!r:.80}, DuckDB {right[number]!r:.80}, {row!r:.300}"
                different.setdefault(name, f"{name}: {found}")
    return Compared(len(texts), different)


@pytest.mark.timeout(900)
def test_both_engines_give_one_value(compared: Compared) -> None:
    found = [text for name, text in compared.different.items() if name not in NAIVE]
    assert not found, f"{len(found)} of {compared.number}:\n" + "\n".join(found[:40])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAIVE)
def test_a_text_that_was_written_without_care_is_found(compared: Compared, name: str) -> None:
    assert name in compared.different
