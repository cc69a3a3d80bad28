"""The source of a function and of everything of the user's that it uses, as one digest.

A Python column's meaning is its code: a view whose column computes something else needs a new version. Only the text
of the modules is read; no value is looked at.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError
from streams.definitions.importing import import_scope
from streams.definitions.module_statements import module_statements, statements_used

_INSTALLED = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


@cache
def function_digest(function: Callable[..., Any]) -> str:
    """The digest of a function at the top level of a module: its code, and what it uses of its own and other modules.

    Of its own module count the statements at the top level that bind or change a name that it uses, directly or through
    others. The modules of the pipeline's folder that these import count as a whole, with those that they import.
    Comments, docstrings and the layout do not count, nor do installed packages.

    Raises:
        PenstockError: if the source of a module cannot be read.
    """
    own = Path(str(sys.modules[function.__module__].__file__))
    scope = _Scope(*import_scope(function.__module__), own)
    name = function.__qualname__.partition(".")[0]
    used = statements_used(name, _statements(own), lambda node: not any(scope.imported_files(node, own)))
    parts: dict[Path, list[ast.stmt]] = {}
    reached = {file for node in used for file in scope.imported_files(node, own)}
    while reached - parts.keys():
        for file in reached - parts.keys():
            parts[file] = _statements(file)
            reached |= {found for node in parts[file] for found in scope.imported_files(node, file)}
    parts.setdefault(own, used)
    modules = {".".join(scope.dotted(file)): nodes for file, nodes in parts.items()}
    text = "\n".join(f"{name}={' '.join(map(ast.dump, nodes))}" for name, nodes in sorted(modules.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _statements(file: Path) -> list[ast.stmt]:
    try:
        return module_statements(file)
    except (OSError, SyntaxError, ValueError) as error:
        raise PenstockError(
            f"the source of a Python column cannot be read: {error}",
            where=str(file),
            next="define the function at the top level of a module of the pipeline's folder",
        ) from error


class _Scope:
    """The folder whose modules count (with ``package``, only that package of it), seen from the function's module."""

    def __init__(self, folder: Path, package: str | None, own: Path) -> None:
        self._folder, self._package = folder, package
        self._own_packages = {parent / "__init__.py" for parent in own.parents}

    def dotted(self, file: Path) -> tuple[str, ...]:
        return file.relative_to(self._folder).with_suffix("").parts

    def imported_files(self, node: ast.AST, file: Path) -> Iterator[Path]:
        """The files of the folder that the import statements inside a node of ``file`` name."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                for alias in inner.names:
                    name = tuple(alias.name.split("."))
                    if self._contains(name, file):
                        yield from self._files_on_the_way(name)
            elif isinstance(inner, ast.ImportFrom):
                yield from self._imported_from(inner, file)

    def _imported_from(self, node: ast.ImportFrom, file: Path) -> Iterator[Path]:
        base = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            enclosing = self.dotted(file)[:-1]
            base = enclosing[: len(enclosing) + 1 - node.level] + base
        elif not self._contains(base, file):
            return
        for alias in node.names:
            module = self._file((*base, alias.name))
            if module is not None:
                yield module
            for found in self._files_on_the_way(base):
                # Of the packages around the function's module count those only from which a name is imported.
                is_source = module is None and found == self._file(base)
                if is_source or found not in self._own_packages:
                    yield found

    def _files_on_the_way(self, name: tuple[str, ...]) -> Iterator[Path]:
        """The module, and the packages that Python imports before it."""
        yield from filter(None, (self._file(name[:end]) for end in range(1, len(name) + 1)))

    def _contains(self, name: tuple[str, ...], file: Path) -> bool:
        if self._package is not None:
            return name[0] == self._package
        # A file json.py that imports json means the installed module.
        return self._folder not in _INSTALLED and name[0] != "penstock" and name[:1] != self.dotted(file)

    def _file(self, name: tuple[str, ...]) -> Path | None:
        if not name:
            return None
        path = self._folder.joinpath(*name)
        return next((file for file in (path / "__init__.py", path.parent / f"{path.name}.py") if file.is_file()), None)
