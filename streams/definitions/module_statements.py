"""Which statements of a module decide what one of its functions computes: those that bind or change a name it uses.

Only the text is read; nothing is run. Names are resolved by Python's own rules (:mod:`symtable`), so a local variable
is never taken for a name of the module.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def module_statements(file: Path) -> list[ast.stmt]:
    """The statements of a module without docstrings; an import of several names is one statement for each.

    Raises:
        OSError, SyntaxError, ValueError: if it cannot be read as Python source.
    """
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            nodes = getattr(node, block, None)
            if isinstance(nodes, list) and nodes:
                setattr(node, block, [one for one in nodes if not _is_text(one)] or [ast.Pass()])
    return [one for node in tree.body for one in _single_imports(node)]


def statements_used(name: str, nodes: list[ast.stmt], is_external: Callable[[ast.ImportFrom], bool]) -> list[ast.stmt]:
    """The statements that bind or change ``name`` or a name that one of these statements uses, in their order.

    ``import *`` may bind any name. A call such as ``math.sqrt(2)`` inside an expression changes no module, nor a name
    that is imported from an installed one (``is_external``).
    """
    nodes = [node for node in nodes if not _is_main_guard(node)]
    unchanged = {
        alias.asname or alias.name.partition(".")[0]
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import) or (isinstance(inner, ast.ImportFrom) and is_external(inner))
        for alias in inner.names
    }
    changes = _changes_by_calls(nodes, unchanged)
    statements = [_statement(node, unchanged, changes, is_external) for node in nodes]
    used, count, found = {name}, -1, list[_Statement]()
    while len(found) > count:
        count = len(found)
        found = [one for one in statements if one.may_bind_any or used & (one.binds | one.changes)]
        used |= {other for one in found for other in one.uses}
    return [one.node for one in found]


@dataclass(frozen=True)
class _Statement:
    """A statement at the top level, with the names of the module that it binds, uses and changes."""

    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]
    changes: frozenset[str]
    may_bind_any: bool


def _statement(
    node: ast.stmt, unchanged: set[str], changes: dict[str, set[str]], is_external: Callable[[ast.ImportFrom], bool]
) -> _Statement:
    binds, uses = _names(node)
    at_import = list(_at_import(node))
    changed = _changed_by(at_import, unchanged) & (binds | uses)
    for called in _called_by(at_import):
        changed |= changes.get(called, set())
    star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and not is_external(node)
    return _Statement(node, frozenset(binds), frozenset(uses), frozenset(changed), star)


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """The names of the module that a statement binds and uses, inside functions too."""
    top = symtable.symtable(ast.unparse(node), "<statement>", "exec")
    binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    uses = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global():
                if symbol.is_assigned():
                    binds.add(symbol.get_name())
                if symbol.is_referenced():
                    uses.add(symbol.get_name())
    return binds, uses


def _changes_by_calls(nodes: list[ast.stmt], unchanged: set[str]) -> dict[str, set[str]]:
    """The names of the module that a call of each of its functions and classes may change."""
    definitions = [inner for node in nodes for inner in _at_import(node) if isinstance(inner, _Definition)]
    changes: dict[str, set[str]] = {}
    calls: dict[str, set[str]] = {}
    for node in definitions:
        binds, uses = _names(node)
        inside = list(ast.walk(node))
        changed = (_changed_by(inside, unchanged) & (binds | uses)) | binds
        changes.setdefault(node.name, set()).update(changed - {node.name})
        calls.setdefault(node.name, set()).update(_called_by(inside))
    for _ in changes:  # through at most all of them
        for name, called in calls.items():
            changes[name] |= {other for one in called for other in changes.get(one, ())}
    return changes


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: of a function only its decorators and defaults."""
    yield node
    for field, value in ast.iter_fields(node):
        if field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _at_import(child)


def _changed_by(nodes: Iterable[ast.AST], unchanged: set[str]) -> set[str]:
    """Names whose items or attributes are assigned, whose methods are called, or that a call for its effect names."""
    changed: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed |= _root(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed |= _root(node.func) - unchanged
        elif isinstance(node, ast.Expr):
            function = node.value.func if isinstance(node.value, ast.Call) else None
            named = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name) and inner is not function)
            changed |= {inner.id for inner in named}
    return changed


def _called_by(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that are called, or used as decorators."""
    called: set[str] = set()
    for node in nodes:
        functions = [node.func] if isinstance(node, ast.Call) else []
        if isinstance(node, _Definition):
            functions += node.decorator_list
        called |= {function.id for function in functions if isinstance(function, ast.Name)}
    return called


def _root(node: ast.expr) -> set[str]:
    """The name at the beginning of ``name.a[0].b()``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _single_imports(node: ast.stmt) -> list[ast.stmt]:
    if isinstance(node, ast.Import):
        return [ast.Import([alias]) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
    return [node]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_main_guard(node: ast.stmt) -> bool:
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__")
