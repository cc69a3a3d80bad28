"""The tree of an expression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType

MAX_DEPTH = 100
"""How deep a tree may be; engines generate code from it, and that has limits."""


class SqlError(ValueError):
    """An expression that is not allowed: what is wrong, with the place in the text marked below it."""

    def __init__(self, what: str, sql: str, at: int) -> None:
        line_start = sql.rfind("\n", 0, at) + 1
        line = sql[line_start:].partition("\n")[0]
        super().__init__(f"{what}\n    {line}\n    {' ' * (at - line_start)}^")


@dataclass(frozen=True)
class Literal:
    """A constant. The type of a null is known only once the tree is typed."""

    value: str | int | float | bool | None
    type: FeatureType | None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Name:
    """A reference, such as ``amount`` or ``card.count_1h``."""

    name: str
    type: FeatureType | None = None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Call:
    """An operator or a function with its operands; ``CASE`` has condition, value, condition, value, ..., otherwise."""

    operator: str
    operands: tuple[Node, ...]
    type: ColumnType | None = None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Cast:
    """A conversion to ``type``; null if the value does not convert."""

    operand: Node
    type: ColumnType
    at: int = field(default=0, compare=False)


Node: TypeAlias = Literal | Name | Call | Cast


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node."""
    if isinstance(node, Call):
        return node.operands
    return (node.operand,) if isinstance(node, Cast) else ()


def names(node: Node) -> Iterator[Name]:
    """The references in a tree, in the order of the text."""
    if isinstance(node, Name):
        yield node
    for child in children(node):
        yield from names(child)


def written_out_size(root: Node) -> int:
    """The number of nodes that an engine sees: a part that is used twice counts twice."""
    known: dict[int, int] = {}

    def size(node: Node) -> int:
        if id(node) not in known:
            parts = [size(child) for child in children(node)]
            # Engines write NULLIF(x, y), and a cast of a text to a boolean, as a CASE that has x twice.
            twice = node.type == "boolean" if isinstance(node, Cast) else _is_nullif(node)
            known[id(node)] = 1 + sum(parts) + (parts[0] if twice else 0)
        return known[id(node)]

    return size(root)


def _is_nullif(node: Node) -> bool:
    return isinstance(node, Call) and node.operator == "NULLIF"


def depth(node: Node) -> int:
    """How deep a tree is."""
    return 1 + max(map(depth, children(node)), default=0)


def renamed(node: Node, new_names: dict[str, str]) -> Node:
    """The tree with other names."""
    if isinstance(node, Name):
        return replace(node, name=new_names[node.name])
    if isinstance(node, Call):
        return replace(node, operands=tuple(renamed(operand, new_names) for operand in node.operands))
    return replace(node, operand=renamed(node.operand, new_names)) if isinstance(node, Cast) else node
