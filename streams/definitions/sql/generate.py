"""The text of a typed tree for each engine. Names are quoted: a column may be called ``value`` or ``order``."""

from __future__ import annotations

from collections.abc import Callable

from schemas.feature_types import FeatureType
from streams.definitions.sql.functions import CASTS, Form
from streams.definitions.sql.tree import Call, Cast, Literal, Name, Node
from streams.definitions.sql.typed import form_of

_FLINK_TYPES: dict[FeatureType, str] = {
    "string": "STRING",
    "long": "BIGINT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "string[]": "ARRAY<STRING>",
    "long[]": "ARRAY<BIGINT>",
    "double[]": "ARRAY<DOUBLE>",
    "boolean[]": "ARRAY<BOOLEAN>",
}
_DUCKDB_TYPES = _FLINK_TYPES | {
    "string": "VARCHAR",
    "string[]": "VARCHAR[]",
    "long[]": "BIGINT[]",
    "double[]": "DOUBLE[]",
    "boolean[]": "BOOLEAN[]",
}


def to_flink(node: Node, column: Callable[[str], str] = str) -> str:
    """The expression in Flink SQL; ``column`` gives the column of a name."""
    return _Generator(lambda name: f"`{column(name)}`", _FLINK_TYPES, lambda form: form.flink).text(node)


def to_duckdb(node: Node, column: Callable[[str], str] = str) -> str:
    """The expression for DuckDB with the macros of :data:`.functions.DUCKDB_MACROS`."""
    return _Generator(lambda name: f'"{column(name)}"', _DUCKDB_TYPES, lambda form: form.duckdb).text(node)


class _Generator:
    def __init__(
        self, name: Callable[[str], str], types: dict[FeatureType, str], template: Callable[[Form], str]
    ) -> None:
        self._name = name
        self._types = types
        self._template = template

    def text(self, node: Node) -> str:
        if isinstance(node, Name):
            return self._name(node.name)
        if isinstance(node, Literal):
            return self._literal(node)
        if isinstance(node, Cast):
            assert node.operand.type is not None
            return self._template(CASTS[node.operand.type, node.type]).format(self.text(node.operand))
        if node.operator == "CASE":
            return self._case(node)
        return self._call(node)

    def _call(self, node: Call) -> str:
        form = form_of(node.operator, [operand.type for operand in node.operands])
        assert form is not None
        texts = [self.text(operand) for operand in node.operands]
        if node.operator == "LIKE":
            texts[1] = _quoted(str(_constant(node.operands[1])))  # Flink knows simple patterns by a plain constant
        # Flink's SUBSTRING takes 32 bits, which a cast would not show it.
        ints = ", ".join(str(_constant(one)) for one in node.operands[1:]) if node.operator == "SUBSTRING" else ""
        return self._template(form).format(*texts, all=", ".join(texts), ints=ints)

    def _case(self, node: Call) -> str:
        texts = [self.text(operand) for operand in node.operands]
        branches = [f"WHEN {texts[i]} THEN {texts[i + 1]}" for i in range(0, len(texts) - 1, 2)]
        return f"(CASE {' '.join(branches)} ELSE {texts[-1]} END)"

    def _literal(self, node: Literal) -> str:
        """A constant with its type: engines would take a short text or a small number for other types."""
        assert node.type is not None
        if node.value is None:
            text = "NULL"
        elif isinstance(node.value, bool):
            return str(node.value).upper()
        elif isinstance(node.value, float):
            digits = repr(node.value)
            text = digits if "e" in digits else f"{digits}e0"
        else:
            text = _quoted(node.value) if isinstance(node.value, str) else str(node.value)
        return f"CAST({text} AS {self._types[node.type]})"


def _constant(node: Node) -> str | int | float | bool | None:
    assert isinstance(node, Literal)
    return node.value


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
