"""Puts the types into a tree and makes its conversions explicit, so that no engine chooses any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, element_of
from streams.definitions.sql.functions import CASTS, FUNCTIONS, OPERATORS, Form
from streams.definitions.sql.parser import parse
from streams.definitions.sql.tree import Call, Cast, Literal, Name, Node, SqlError

_KINDS: dict[FeatureType | None, str] = {
    "long": "a whole number",
    "double": "a double",
    "string": "a text",
    "boolean": "a boolean",
    "long[]": "a list of whole numbers",
    "double[]": "a list of doubles",
    "string[]": "a list of texts",
    "boolean[]": "a list of booleans",
    None: "null",
}
_INSTEAD_OF_LIST = "write ARRAY_CONTAINS(x, y) or CARDINALITY(x)"
_NO_CAST: dict[tuple[FeatureType, ColumnType], str] = {
    ("double", "string"): "a double has no single text; write CAST(CAST(x AS BIGINT) AS STRING)",
    ("double", "boolean"): "write x <> 0",
    ("long", "boolean"): "write x <> 0",
}


def typed(
    sql: str, types: Mapping[str, FeatureType], result: ColumnType, *, long_names_as_double: bool = False
) -> Node:
    """The tree of an expression over names of these types, converted to the type of the result.

    Args:
        sql: The expression.
        types: The types of its names.
        result: The type of its value.
        long_names_as_double: Whether a name of type long enters as a double, as in derived features.

    Raises:
        SqlError: if it is not allowed, a name is unknown, or an operation does not take what it is given.
    """
    return _Typing(sql, types, long_names_as_double).result(result)


class _Typing:
    def __init__(self, sql: str, types: Mapping[str, FeatureType], long_names_as_double: bool) -> None:
        self._sql = sql
        self._types = types
        self._long_names_as_double = long_names_as_double

    def result(self, kind: ColumnType) -> Node:
        return self._cast(self._node(parse(self._sql)), kind, 0)

    def _node(self, node: Node) -> Node:
        if isinstance(node, Literal):
            return node
        if isinstance(node, Name):
            return self._name(node)
        if isinstance(node, Cast):
            return self._cast(self._node(node.operand), node.type, node.at)
        operands = [self._node(operand) for operand in node.operands]
        return self._case(node, operands) if node.operator == "CASE" else self._call(node, operands)

    def _name(self, node: Name) -> Node:
        if node.name not in self._types:
            there = ", ".join(self._types)
            raise SqlError(f"there is no {node.name!r}; there are {there}", self._sql, node.at)
        kind = self._types[node.name]
        found = replace(node, type=kind)
        return Cast(found, "double", node.at) if kind == "long" and self._long_names_as_double else found

    def _call(self, node: Call, operands: list[Node]) -> Node:
        function = OPERATORS.get(node.operator) or FUNCTIONS[node.operator]
        form = form_of(node.operator, [operand.type for operand in operands])
        if form is None:
            given = " and ".join(dict.fromkeys(_KINDS[operand.type] for operand in operands))
            taken = " or ".join(dict.fromkeys(_KINDS[f.takes[0]] for f in function.forms))
            hint = _remainder_hint(node.operator)
            raise SqlError(f"{function.syntax} takes {taken}, and not {given}{hint}", self._sql, node.at)
        converted = [_fitted(operand, form.type_of(number)) for number, operand in enumerate(operands)]
        return replace(node, operands=tuple(converted), type=form.gives)

    def _case(self, node: Call, operands: list[Node]) -> Node:
        conditions, values = operands[:-1:2], [*operands[1:-1:2], operands[-1]]
        for condition in conditions:
            if condition.type not in ("boolean", None):
                raise SqlError(f"WHEN takes a boolean, and not {_KINDS[condition.type]}", self._sql, condition.at)
        for value in values:
            if value.type is not None and element_of(value.type) is not None:
                raise SqlError(f"CASE gives {_KINDS[value.type]}; {_INSTEAD_OF_LIST}", self._sql, value.at)
        kinds = [cast("ColumnType", value.type) for value in values if value.type is not None]
        common = "double" if set(kinds) == {"long", "double"} else next(iter(kinds), None)
        if common is None:
            raise SqlError("CASE gives only null", self._sql, node.at)
        for value in values:
            if value.type not in (common, None) and (value.type, common) != ("long", "double"):
                given = f"{_KINDS[common]} in one place and {_KINDS[value.type]} in another"
                raise SqlError(f"CASE gives {given}; write CAST(x AS ...)", self._sql, value.at)
        fitted: list[Node] = []
        for condition, value in zip(conditions, values, strict=False):
            fitted += [_fitted(condition, "boolean"), _fitted(value, common)]
        return replace(node, operands=(*fitted, _fitted(values[-1], common)), type=common)

    def _cast(self, node: Node, kind: ColumnType, at: int) -> Node:
        if node.type is None or node.type == kind:
            return _fitted(node, kind)
        if element_of(node.type) is not None:
            what = f"{_KINDS[node.type]} does not become {_KINDS[kind]}: {_INSTEAD_OF_LIST}"
            raise SqlError(what, self._sql, at)
        if (node.type, kind) not in CASTS:
            what = f"{_KINDS[node.type]} does not become {_KINDS[kind]}: {_NO_CAST[node.type, kind]}"
            raise SqlError(what, self._sql, at)
        return Cast(node, kind, at)


def form_of(operator: str, types: list[FeatureType | None]) -> Form | None:
    """The form of an operator or a function that takes operands of these types; None is the type of a null."""
    function = OPERATORS.get(operator) or FUNCTIONS[operator]
    for form in function.forms:
        pairs = [(kind, form.type_of(number)) for number, kind in enumerate(types)]
        if all(kind in (None, taken) or (kind, taken) == ("long", "double") for kind, taken in pairs):
            return form
    return None


def _fitted(node: Node, kind: FeatureType) -> Node:
    """An operand as the type that is taken: a null of that type, a long as a double, else itself."""
    if node.type == kind:
        return node
    if isinstance(node, Literal) and node.value is None:
        return replace(node, type=kind)
    if isinstance(node, Literal) and kind == "double":
        assert isinstance(node.value, int)
        return replace(node, value=float(node.value), type=kind)
    # No operand becomes a list.
    return Cast(node, cast("ColumnType", kind), node.at)


def _remainder_hint(operator: str) -> str:
    return ": write MOD(CAST(x AS BIGINT), CAST(y AS BIGINT))" if operator == "MOD" else ""
