"""Adds a view to the code of a pipeline. Pure: text in, text out."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.starting.code import import_code, view_code

_NEEDED = ("View", "count", "mean", "time_since_previous")


@dataclass(frozen=True)
class NewView:
    """A view to be.

    Args:
        name: Its name, also that of its variable.
        entity: The name of its entity.
        means: The columns whose means it has.
        over_ms: The lengths of its windows.
    """

    name: str
    entity: str
    means: Sequence[str]
    over_ms: Sequence[int]


def with_view(code: str, view: NewView, where: str) -> str:
    """The code with the view: its variable before the pipeline's, its name in ``views``, and the imports that it needs.

    Args:
        code: The file of the pipeline.
        view: The view to be.
        where: The file, for errors.

    Raises:
        PenstockError: if the code is of another form than this can add to; the error has the view's code.
    """
    tree = ast.parse(code)
    pipeline = _assigned_call(tree, "Pipeline", "pipeline")
    entity = next(
        (
            name
            for name, call in _assigned_calls(tree, "Entity")
            if isinstance(given := _argument(call, "name"), ast.Constant) and given.value == view.entity
        ),
        None,
    )
    text = view_code(view.name, entity or view.entity, view.means, sorted(view.over_ms))
    views = _argument(pipeline[1], "views") if pipeline else None
    if pipeline is None or entity is None or not isinstance(views, ast.Tuple | ast.List):
        raise _by_hand("the file is not of the form that a view can be added to", where, text)
    if view.name in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        raise _by_hand(f"the file has another {view.name} already", where, text)
    edits = [_added_to_views(code, views, view.name), (_at(code, *pipeline[0]), _at(code, *pipeline[0]), f"{text}\n\n")]
    imports = _imports(code, tree, where, text, {name for name in _NEEDED if f"{name}(" in text})
    edits += [] if imports is None else [imports]
    for begin, end, new in sorted(edits, reverse=True):
        code = _spliced(code, begin, end, new)
    return code


Edit = tuple[int, int, str]


def _spliced(code: str, begin: int, end: int, new: str) -> str:
    data = code.encode()
    return (data[:begin] + new.encode() + data[end:]).decode()


def _by_hand(what: str, where: str, text: str) -> PenstockError:
    indented = "\n         ".join(text.split("\n"))
    return PenstockError(
        what,
        where=where,
        safe="it was not changed",
        next=f"add this by hand, and its name to views=:\n         {indented}",
    )


def _assigned_calls(tree: ast.Module, function: str) -> list[tuple[str, ast.Call]]:
    return [
        (statement.targets[0].id, statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == function
    ]


def _assigned_call(tree: ast.Module, function: str, variable: str) -> tuple[tuple[int, int], ast.Call] | None:
    for statement in tree.body:
        for name, call in _assigned_calls(ast.Module([statement], []), function):
            if name == variable:
                return (statement.lineno, statement.col_offset), call
    return None


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _at(code: str, line: int, column: int) -> int:
    """The place in the UTF-8 bytes of what Python's parser calls a line and a column."""
    return sum(len(one) for one in code.encode().splitlines(keepends=True)[: line - 1]) + column


def _end(code: str, node: ast.expr | ast.stmt) -> int:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return _at(code, node.end_lineno, node.end_col_offset)


def _added_to_views(code: str, views: ast.Tuple | ast.List, name: str) -> Edit:
    """The edit that puts the name behind the last of the views."""
    if not views.elts:
        begin = _at(code, views.lineno, views.col_offset)
        return begin, _end(code, views), f"({name},)"
    last, closing = _end(code, views.elts[-1]), _end(code, views)
    between = code.encode()[last : closing - 1].decode()
    if len(views.elts) == 1 and views.elts[0].lineno == views.end_lineno:
        return last, closing - 1, f", {name}"
    if "\n" in between:
        pad = " " * views.elts[-1].col_offset
        return last, last, f",\n{pad}{name}"
    return last, last, f", {name}"


def _imports(code: str, tree: ast.Module, where: str, text: str, needed: set[str]) -> Edit | None:
    """The edit that makes the import of Penstock have all names."""
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "penstock"]
    have = {alias.asname or alias.name for node in found for alias in node.names}
    if needed <= have:
        return None
    if not found or any(alias.asname for alias in found[0].names):
        raise _by_hand("the file does not import the definitions from penstock by their names", where, text)
    first = found[0]
    names = {alias.name for alias in first.names} | (needed - have)
    return _at(code, first.lineno, first.col_offset), _end(code, first), import_code(names)
