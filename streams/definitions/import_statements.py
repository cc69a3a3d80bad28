"""Which files of a folder the import statements of a module name, read from its text; nothing is run.

One rule for the hash of a Python column and for what its job gets: a file that counts is also shipped.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import PenstockError
from streams.definitions.module_statements import module_statements

_INSTALLED = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


class ImportScope:
    """The folder whose modules count (with ``package``, only that package of it), seen from the function's module."""

    def __init__(self, folder: Path, package: str | None, own: Path) -> None:
        self._folder, self._package = folder, package
        self._own_packages = {parent / "__init__.py" for parent in own.parents}

    def dotted(self, file: Path) -> tuple[str, ...]:
        """The parts of a file's name as a module below the folder."""
        return file.relative_to(self._folder).with_suffix("").parts

    def reached(self, files: set[Path]) -> dict[Path, list[ast.stmt]]:
        """These files and all that their import statements reach, also those inside functions, with their statements.

        Raises:
            PenstockError: if one of them cannot be read.
        """
        parts: dict[Path, list[ast.stmt]] = {}
        waiting = set(files)
        while waiting:
            file = waiting.pop()
            parts[file] = readable_statements(file)
            waiting |= {found for node in parts[file] for found in self.imported_files(node, file)} - parts.keys()
        return parts

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


def readable_statements(file: Path) -> list[ast.stmt]:
    """The statements of a module, as :func:`module_statements` gives them.

    Raises:
        PenstockError: if it cannot be read.
    """
    try:
        return module_statements(file)
    except (OSError, SyntaxError, ValueError) as error:
        raise PenstockError(
            f"the source of a Python column cannot be read: {error}",
            where=str(file),
            next="define the function at the top level of a module of the pipeline's folder",
        ) from error
