"""All that an expression may use, as data: what it means, the types it takes and gives, and the text for each engine.

To add a function, add a row here and its values to the differential test; the docs' table is made of the rows
(``python -m streams.definitions.sql``). ``{0}``, ``{1}`` in a text are the operands, ``{all}`` the list of them.

The texts in ``penstock_...`` are functions of the window kernel (``SqlFunctions.java``) in Flink, and macros in DuckDB
(:data:`DUCKDB_MACROS`): null where the operation has no finite result, or one that does not fit 64 bits.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, list_of
from streams.definitions.sql.tree import Literal, Node

TYPES: dict[str, ColumnType] = {
    "BIGINT": "long",
    "DOUBLE": "double",
    "STRING": "string",
    "VARCHAR": "string",
    "BOOLEAN": "boolean",
}
"""The names of the types in CAST."""
_ALL_TYPES: tuple[ColumnType, ...] = ("long", "double", "string", "boolean")
_LISTS: tuple[FeatureType, ...] = tuple(map(list_of, _ALL_TYPES))
# Texts have no order here: Flink compares some by UTF-16, others by UTF-8.
_ORDERED: tuple[ColumnType, ...] = ("long", "double")


@dataclass(frozen=True)
class Form:
    """One form of a function: the types that it takes (the last one repeats if there are more operands) and gives."""

    takes: tuple[FeatureType, ...]
    gives: ColumnType
    flink: str
    duckdb: str

    def type_of(self, position: int) -> FeatureType:
        """The type of an operand."""
        return self.takes[min(position, len(self.takes) - 1)]


@dataclass(frozen=True)
class Function:
    """A function or an operator.

    Args:
        syntax: How it is written; " or " stands between two ways.
        meaning: What it gives, for the docs.
        forms: Its forms; the first one that the operands fit counts, where a long also fits a double.
        least: The least number of operands.
        most: The greatest number of operands.
        check: Gives the problem of the operands, if there is one; for those that must be constants.
    """

    syntax: str
    meaning: str
    forms: tuple[Form, ...]
    least: int
    most: int
    check: Callable[[Sequence[Node]], str | None] = lambda _: None

    def problem_of(self, operands: Sequence[Node]) -> str | None:
        """Why it cannot have these operands, by their number and the constants among them."""
        if not self.least <= len(operands) <= self.most:
            return f"it does not take {len(operands)} operand{'' if len(operands) == 1 else 's'}"
        return self.check(operands)


MANY = 100


def _same(
    types: Iterable[ColumnType], flink: str, *, gives: ColumnType | None = None, duckdb: str | None = None
) -> tuple[Form, ...]:
    """The forms of a function whose operands have one type; its result has it too, unless ``gives`` is another."""
    return tuple(Form((kind,), gives or kind, flink, duckdb or flink) for kind in types)


def _of_lists(flink: str, duckdb: str, *, gives: ColumnType) -> tuple[Form, ...]:
    """The forms of a function of a list and, if it has a second operand, of an element."""
    return tuple(Form((list_of(kind), kind), gives, flink, duckdb) for kind in _ALL_TYPES)


def _by_type(of_longs: str, of_doubles: str) -> tuple[Form, ...]:
    return (*_same(["long"], of_longs), *_same(["double"], of_doubles))


def _numeric(sign: str, function: str) -> tuple[Form, ...]:
    """Of whole numbers exactly, or null; of doubles, null if not finite."""
    return _by_type(f"penstock_{function}({{0}}, {{1}})", f"penstock_finite({{0}} {sign} {{1}})")


def _of_doubles(flink: str, duckdb: str) -> tuple[Form, ...]:
    return _same(["double"], f"penstock_finite({flink})", duckdb=f"penstock_finite({duckdb})")


def _comparison(sign: str, types: Iterable[ColumnType] = _ORDERED) -> tuple[Form, ...]:
    return _same(types, f"({{0}} {sign} {{1}})", gives="boolean")


def _extreme(flink: str, sign: str) -> tuple[Form, ...]:
    # DuckDB's own function skips nulls. With a null, neither condition is true.
    choice = f"CASE WHEN x {sign} y THEN x WHEN y {sign} x OR x = y THEN y END"
    return _same(_ORDERED, f"{flink}({{all}})", duckdb=f"list_reduce([{{all}}], lambda x, y: {choice})")


def _constants_of_substring(operands: Sequence[Node]) -> str | None:
    numbers = [int(one.value or 0) for one in operands[1:] if isinstance(one, Literal) and one.type == "long"]
    fit = len(numbers) == len(operands) - 1 and all(1 <= number < 2**31 for number in numbers)
    return None if fit else "start and length must be constants from 1 on"


def _constants_of_replace(operands: Sequence[Node]) -> str | None:
    texts = [one.value for one in operands[1:] if isinstance(one, Literal) and isinstance(one.value, str)]
    return None if len(texts) == 2 and texts[0] else "OLD and NEW must be constant texts, OLD not ''"


_FROM_LOWER = f"{{0}}, '{string.ascii_lowercase}', '{string.ascii_uppercase}'"
_FROM_UPPER = f"{{0}}, '{string.ascii_uppercase}', '{string.ascii_lowercase}'"

OPERATORS: dict[str, Function] = {
    "+": Function("x + y", "sum", _numeric("+", "plus"), 2, 2),
    "-": Function("x - y", "difference", _numeric("-", "minus"), 2, 2),
    "*": Function("x * y", "product", _numeric("*", "times"), 2, 2),
    "/": Function("x / y", "quotient; of whole numbers without fraction: 7 / 2 is 3", _numeric("/", "divide"), 2, 2),
    "NEGATE": Function(
        "-x",
        "negative",
        _by_type("penstock_minus(CAST(0 AS BIGINT), {0})", "(-({0}))"),
        1,
        1,
    ),
    "=": Function("x = y", "equal", _comparison("=", _ALL_TYPES), 2, 2),
    "<>": Function("x <> y or x != y", "not equal", _comparison("<>", _ALL_TYPES), 2, 2),
    "<": Function("x < y", "less; of numbers only", _comparison("<"), 2, 2),
    "<=": Function("x <= y", "less or equal", _comparison("<="), 2, 2),
    ">": Function("x > y", "greater", _comparison(">"), 2, 2),
    ">=": Function("x >= y", "greater or equal", _comparison(">="), 2, 2),
    "AND": Function("x AND y", "false if one is, else null if one is", _comparison("AND", ["boolean"]), 2, 2),
    "OR": Function("x OR y", "true if one is, else null if one is", _comparison("OR", ["boolean"]), 2, 2),
    "NOT": Function("NOT x", "null if x is null", _same(["boolean"], "(NOT {0})"), 1, 1),
    "IS NULL": Function(
        "x IS NULL or x IS NOT NULL",
        "never null",
        (*_same(_ALL_TYPES, "({0} IS NULL)", gives="boolean"), *_of_lists(*["({0} IS NULL)"] * 2, gives="boolean")),
        1,
        1,
    ),
    "||": Function("x || y", "texts joined; null if one is null", _same(["string"], "({0} || {1})"), 2, 2),
    "LIKE": Function(
        "x LIKE 'a%' or x NOT LIKE 'a%'",
        "% is any text, also none; the pattern is a constant text without _ and backslashes",
        _same(["string"], "({0} LIKE {1})", gives="boolean"),
        2,
        2,
    ),
}
"""The operators, by their name in the tree. CASE, CAST and constants have their own rules (:mod:`.typed`)."""

FUNCTIONS: dict[str, Function] = {
    "MOD": Function(
        "MOD(x, y) or x % y", "remainder of whole numbers; has the sign of x", (_numeric("%", "mod")[0],), 2, 2
    ),
    "ABS": Function("ABS(x)", "magnitude", _by_type("penstock_abs({0})", "ABS({0})"), 1, 1),
    "FLOOR": Function("FLOOR(x)", "next whole number below", _by_type("{0}", "FLOOR({0})"), 1, 1),
    "CEIL": Function("CEIL(x)", "next whole number above", _by_type("{0}", "CEIL({0})"), 1, 1),
    "LN": Function("LN(x)", "natural logarithm; null for x <= 0", _of_doubles("LN({0})", "TRY(LN({0}))"), 1, 1),
    "EXP": Function("EXP(x)", "e to the power x", _of_doubles("EXP({0})", "EXP({0})"), 1, 1),
    "SQRT": Function("SQRT(x)", "square root; null for x < 0", _of_doubles("SQRT({0})", "TRY(SQRT({0}))"), 1, 1),
    "POWER": Function("POWER(x, y)", "x to the power y", _of_doubles("POWER({0}, {1})", "TRY(POWER({0}, {1}))"), 2, 2),
    "SIN": Function("SIN(x)", "sine of x in radians", _of_doubles("SIN({0})", "SIN({0})"), 1, 1),
    "COS": Function("COS(x)", "cosine of x in radians", _of_doubles("COS({0})", "COS({0})"), 1, 1),
    "GREATEST": Function("GREATEST(x, y, ...)", "greatest; null if one is null", _extreme("GREATEST", ">"), 2, MANY),
    "LEAST": Function("LEAST(x, y, ...)", "least; null if one is null", _extreme("LEAST", "<"), 2, MANY),
    "COALESCE": Function(
        "COALESCE(x, y, ...)",
        "first that is not null",
        _same(_ALL_TYPES, "IFNULL({0}, {1})", duckdb="COALESCE({0}, {1})"),
        2,
        MANY,
    ),
    "NULLIF": Function("NULLIF(x, y)", "null if x = y, else x", _same(_ALL_TYPES, "NULLIF({0}, {1})"), 2, 2),
    "UPPER": Function(
        "UPPER(x)",
        "a to z in capitals; other characters stay (é, ß)",
        _same(["string"], f"TRANSLATE({_FROM_LOWER})"),
        1,
        1,
    ),
    "LOWER": Function(
        "LOWER(x)",
        "A to Z in small letters; other characters stay",
        _same(["string"], f"TRANSLATE({_FROM_UPPER})"),
        1,
        1,
    ),
    "TRIM": Function(
        "TRIM(x)",
        "without spaces at both ends; tabs and line ends stay",
        _same(["string"], "TRIM(BOTH ' ' FROM {0})", duckdb="TRIM({0}, ' ')"),
        1,
        1,
    ),
    "CHAR_LENGTH": Function(
        "CHAR_LENGTH(x)",
        "number of characters (code points)",
        _same(["string"], "CAST(CHAR_LENGTH({0}) AS BIGINT)", gives="long", duckdb="length({0})"),
        1,
        1,
    ),
    "SUBSTRING": Function(
        "SUBSTRING(x, START[, LENGTH]) or SUBSTRING(x FROM START [FOR LENGTH])",
        "part of a text, the first character is 1; both are constants from 1 on",
        (Form(("string", "long"), "string", "SUBSTRING({0}, {ints})", "SUBSTRING({0}, {ints})"),),
        2,
        3,
        _constants_of_substring,
    ),
    "REPLACE": Function(
        "REPLACE(x, 'OLD', 'NEW')",
        "every 'OLD' by 'NEW', both constants",
        _same(["string"], "REPLACE({all})"),
        3,
        3,
        _constants_of_replace,
    ),
    "CARDINALITY": Function(
        "CARDINALITY(x)",
        "number of elements of a list",
        _of_lists("CAST(CARDINALITY({0}) AS BIGINT)", "CAST(len({0}) AS BIGINT)", gives="long"),
        1,
        1,
    ),
    "ARRAY_CONTAINS": Function(
        "ARRAY_CONTAINS(x, y) or y = ANY(x)",
        "whether y is an element of the list x; false if y is null, null if x is",
        _of_lists("ARRAY_CONTAINS({0}, {1})", "penstock_contains({0}, {1})", gives="boolean"),
        2,
        2,
    ),
}
"""The functions, by name."""

_WHOLE_NUMBER = r"'^ *([+-]?[0-9]+) *\z'"
_NUMBER = r"'^ *([+-]?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)(?:[eE][+-]?[0-9]+)?) *\z'"

CASTS: dict[tuple[FeatureType, ColumnType], Form] = {
    (form.takes[0], form.gives): form
    for form in (
        Form(("long",), "double", "CAST({0} AS DOUBLE)", "CAST({0} AS DOUBLE)"),
        Form(("long",), "string", "CAST({0} AS STRING)", "CAST({0} AS VARCHAR)"),
        Form(("double",), "long", "penstock_whole({0})", "penstock_whole({0})"),
        *(
            Form(
                ("string",),
                kind,
                # A text that matches converts, or is out of range: TRY_CAST gives null, or infinity.
                f"{wrap}(TRY_CAST(REGEXP_EXTRACT({{0}}, {pattern}, 1) AS {name}))",
                f"{wrap}(TRY_CAST(regexp_extract({{0}}, {pattern}, 1) AS {name}))",
            )
            for kind, name, pattern, wrap in (
                (TYPES["BIGINT"], "BIGINT", _WHOLE_NUMBER, ""),
                (TYPES["DOUBLE"], "DOUBLE", _NUMBER, "penstock_finite"),
            )
        ),
        *_same(["string"], "(CASE {0} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END)", gives="boolean"),
        Form(("boolean",), "string", "LOWER(CAST({0} AS STRING))", "CAST({0} AS VARCHAR)"),
        *_same(["boolean"], "CAST({0} AS BIGINT)", gives="long"),
        *_same(["boolean"], "CAST({0} AS DOUBLE)", gives="double"),
    )
}
"""The conversions."""

DUCKDB_MACROS: dict[str, str] = {
    "penstock_finite(x)": "list_filter([x], lambda v: isfinite(v))[1]",
    "penstock_whole(x)": "TRY_CAST(trunc(x) AS BIGINT)",
    "penstock_plus(x, y)": "TRY(x + y)",
    "penstock_minus(x, y)": "TRY(x - y)",
    "penstock_times(x, y)": "TRY(x * y)",
    "penstock_divide(x, y)": "TRY(x // y)",
    "penstock_mod(x, y)": "TRY(x % y)",
    "penstock_abs(x)": "TRY(abs(x))",
    "penstock_contains(x, y)": "(len(list_filter(x, lambda v: v = y)) > 0)",
}
"""The kernel's functions as macros. Each names its operands once: what DuckDB puts there may be long."""

INSTEAD: dict[str, str] = {
    ":": ": write CAST(x AS BIGINT)",
    "$": ": write a number or a text itself",
    "?": ": write a number or a text itself",
    "[": ": write ARRAY_CONTAINS(x, y) or CARDINALITY(x) of a list",
    "ANY": ": write ARRAY_CONTAINS(x, y), or y = ANY(x)",
    "ALL": ": write NOT ARRAY_CONTAINS(x, y)",
    "SIZE": ": write CARDINALITY(x)",
    "ARRAY_LENGTH": ": write CARDINALITY(x)",
    "LIST_CONTAINS": ": write ARRAY_CONTAINS(x, y)",
    "^": ": write POWER(x, y)",
    "OVER": ": an expression sees one row; windows are aggregates with over=",
    "SELECT": ": an expression sees one row, and no tables",
    "EXISTS": ": an expression sees one row, and no tables",
    "INTERVAL": ": times are whole numbers of milliseconds, 1 h is 3600000",
    "ESCAPE": ": LIKE has no ESCAPE",
    "AT": ": times are whole numbers of milliseconds since 1970 in UTC",
    "ILIKE": ": write LOWER(x) LIKE 'a%'",
    "TRUE": ": write x, or COALESCE(x, FALSE)",
    "FALSE": ": write NOT x, or COALESCE(NOT x, FALSE)",
    "DISTINCT": ": write x = y, and x IS NULL where nulls count",
    "INT": ": write BIGINT",
    "INTEGER": ": write BIGINT",
    "SMALLINT": ": write BIGINT",
    "TINYINT": ": write BIGINT",
    "LONG": ": write BIGINT",
    "FLOAT": ": write DOUBLE",
    "REAL": ": write DOUBLE",
    "DECIMAL": ": write DOUBLE, or BIGINT for whole numbers",
    "NUMERIC": ": write DOUBLE, or BIGINT for whole numbers",
    "TEXT": ": write STRING",
    "CHAR": ": write STRING",
    "BOOL": ": write BOOLEAN",
    "DATE": ": times are whole numbers of milliseconds, the day is x / 86400000",
    "TIMESTAMP": ": times are whole numbers of milliseconds since 1970 in UTC",
    "TIME": ": times are whole numbers of milliseconds, the time of day is MOD(x, 86400000)",
    "ROUND": ": write FLOOR(x + 0.5), or FLOOR(x * 100 + 0.5) / 100 for two digits",
    "TRUNCATE": ": write CAST(x AS BIGINT)",
    "TRUNC": ": write CAST(x AS BIGINT)",
    "SIGN": ": write CASE WHEN x > 0 THEN 1 WHEN x < 0 THEN -1 ELSE 0 END",
    "LOG": ": write LN(x), or LN(x) / LN(10)",
    "LOG10": ": write LN(x) / LN(10)",
    "LOG2": ": write LN(x) / LN(2)",
    "POW": ": write POWER(x, y)",
    "IF": ": write CASE WHEN c THEN x ELSE y END",
    "IIF": ": write CASE WHEN c THEN x ELSE y END",
    "IFNULL": ": write COALESCE(x, y)",
    "NVL": ": write COALESCE(x, y)",
    "LENGTH": ": write CHAR_LENGTH(x)",
    "LEN": ": write CHAR_LENGTH(x)",
    "SUBSTR": ": write SUBSTRING(x, START, LENGTH)",
    "LEFT": ": write SUBSTRING(x, 1, LENGTH)",
    "CONCAT": ": write x || y",
    "LTRIM": ": write TRIM(x)",
    "RTRIM": ": write TRIM(x)",
    "BTRIM": ": write TRIM(x)",
    "POSITION": ": write x LIKE '%part%'",
    "CONTAINS": ": write x LIKE '%part%', of a list ARRAY_CONTAINS(x, y)",
    "STARTS_WITH": ": write x LIKE 'start%'",
    "STARTSWITH": ": write x LIKE 'start%'",
    "REGEXP_REPLACE": ": write REPLACE(x, 'OLD', 'NEW'); engines read regular expressions differently",
    "REGEXP": ": write x LIKE 'a%'; engines read regular expressions differently",
    "REGEXP_LIKE": ": write x LIKE 'a%'; engines read regular expressions differently",
    "REGEXP_EXTRACT": ": write SUBSTRING(x, START, LENGTH); engines read regular expressions differently",
    "EXTRACT": ": times are whole numbers, the hour is MOD(x, 86400000) / 3600000",
    "HOUR": ": times are whole numbers, the hour is MOD(x, 86400000) / 3600000",
    "SUM": ": an expression sees one row; use an aggregate",
    "COUNT": ": an expression sees one row; use an aggregate",
    "AVG": ": an expression sees one row; use an aggregate",
    "MAX": ": an expression sees one row; use an aggregate, or GREATEST(x, y)",
    "MIN": ": an expression sees one row; use an aggregate, or LEAST(x, y)",
}
"""What to write instead of a function, a type or a sign that is not on the list."""


def nearest(name: str, known: Iterable[str] = FUNCTIONS) -> str:
    """What to write instead of an unknown name: what :data:`INSTEAD` says, the most similar name, or all there are."""
    if name in INSTEAD:
        return INSTEAD[name]
    similar = difflib.get_close_matches(name, known, 1)
    return f": write {similar[0]}" if similar else f": there are {', '.join(known)}"
