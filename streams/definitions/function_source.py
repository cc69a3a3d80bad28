"""The source of a function and of everything of the user's that it uses, as one digest.

A Python column's meaning is its code: a view whose column computes something else needs a new version.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.errors import PenstockError
from streams.definitions.importing import public_name, source_files


@cache
def function_digest(function: Callable[..., Any]) -> str:
    """The digest of a function at the top level of a module: its code, and what it uses of its own and other modules.

    Modules of the user's that it uses count as a whole, with those that they import. Comments, docstrings and the
    layout do not count, nor do installed packages.

    Raises:
        PenstockError: if the source of its module cannot be read.
    """
    users_files = set(source_files(function.__module__).values())
    parts: dict[tuple[str, str], str] = {}
    _collect(sys.modules[function.__module__], function.__qualname__.partition(".")[0], users_files, parts)
    text = "\n".join(f"{public_name(module)}:{name}={code}" for (module, name), code in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect(module: ModuleType, name: str, users_files: set[Path], parts: dict[tuple[str, str], str]) -> None:
    """Add the code of a name of a module, and of everything that it refers to."""
    if (module.__name__, name) in parts:
        return
    nodes = [node for node in _tree(module).body if name in _defined_names(node)]
    if not nodes:
        return  # a builtin
    parts[module.__name__, name] = " ".join(ast.dump(_without_docstrings(node)) for node in nodes)
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            used = _module_of(getattr(module, name, None))
            file = getattr(used, "__file__", None)  # modules such as sys have none
            if used is not None and file and Path(file) in users_files:
                _collect_module(used, users_files, parts)
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                _collect(module, inner.id, users_files, parts)


def _collect_module(module: ModuleType, users_files: set[Path], parts: dict[tuple[str, str], str]) -> None:
    """Add the code of every name that a module defines, imports included."""
    for node in _tree(module).body:
        for name in _defined_names(node):
            _collect(module, name, users_files, parts)


def _tree(module: ModuleType) -> ast.Module:
    try:
        return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise PenstockError(
            f"the source of a Python column cannot be read: {error}",
            where=module.__name__,
            next="define the function at the top level of a module of the pipeline's folder",
        ) from error


def _defined_names(node: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top level of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id


def _module_of(value: Any) -> ModuleType | None:
    return value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(inner):
            inner.body = inner.body[1:] or [ast.Pass()]
    return node
