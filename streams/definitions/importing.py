"""Imports a user's Python file by its path. Its name need not differ from those of other files and installed modules.

The file and the modules beside it (or, inside a package, that package) are imported under their own prefix:

- two files with the same name in two folders are two modules;
- inside them, ``import helpers`` finds ``helpers.py`` beside the file, even if a module of that name is installed;
- other code is not affected: a pipeline called ``redis.py`` hides no installed module.

A file that Python finds under its ordinary name, such as one of an installed package, is imported under that name.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.errors import PenstockError
from streams.definitions.import_statements import ImportScope

_PREFIX = "_penstock_user_"


def import_file(path: Path) -> ModuleType:
    """Import a Python file once: the same path gives the same module.

    Raises:
        PenstockError: if Python cannot import a file of this name.
    """
    folder, name = import_root(path)
    file = path.relative_to(folder)
    dotted = next((part for part in file.with_suffix("").parts if "." in part), None)
    if dotted or path.suffix != ".py":
        raise PenstockError(
            f"Python cannot import {file}: a file ends with .py, and its name and its packages have no other dot",
            where=str(path),
            next=f"rename {dotted} to {dotted.replace('.', '_')}" if dotted else f"rename it to {path.stem}.py",
        )
    if _is_installed(name, path):
        return importlib.import_module(name)
    prefix = _PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    if prefix not in _FINDER.roots:
        package = name.partition(".")[0] if "." in name else None
        _FINDER.roots[prefix] = _ImportRoot(prefix, folder, package)
        namespace = ModuleType(prefix)
        namespace.__path__ = [str(folder)]
        sys.modules[prefix] = namespace
    importlib.invalidate_caches()
    return importlib.import_module(f"{prefix}.{name}")


def import_root(path: Path) -> tuple[Path, str]:
    """The folder from which a file is imported, and its dotted name there, enclosing packages included."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def public_name(module: str) -> str:
    """A module's name without the prefix under which it was imported.

    >>> public_name("_penstock_user_0123456789abcdef.pipeline"), public_name("examples.fraud.pipeline")
    ('pipeline', 'examples.fraud.pipeline')
    """
    return module.partition(".")[2] if module.startswith(_PREFIX) else module


def import_scope(module: str) -> tuple[Path, str | None]:
    """The folder whose modules an imported module finds by their names, and the only package of it, if it is in one."""
    root = _FINDER.roots.get(module.partition(".")[0])
    if root is not None:
        return root.folder, root.package
    folder, name = import_root(Path(str(sys.modules[module].__file__)))
    return folder, name.partition(".")[0] if "." in name else None


def source_files(module: str) -> dict[Path, Path]:
    """The files that an imported module needs, by their paths below the import root.

    For a module of a package: all files of the package. For a single file: the file, the modules beside it that its
    import statements reach, also those inside functions, and whatever else was imported from there.

    Raises:
        PenstockError: if one of these modules cannot be read.
    """
    folder, package = import_scope(module)
    if package is not None:
        return _package_files(folder, package)
    own = Path(str(sys.modules[module].__file__))
    packages = {parent / "__init__.py" for parent in own.parents if folder in parent.parents}
    reached = ImportScope(folder, None, own).reached({own} | {file for file in packages if file.is_file()})
    files = {*reached, *_imported_from(folder, module.partition(".")[0])}
    return {file.relative_to(folder): file for file in files}


def _imported_from(folder: Path, prefix: str) -> Iterator[Path]:
    """The files of the modules that are imported from a folder: under its prefix, or under their ordinary names."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        is_below = name.startswith(f"{prefix}.") if prefix in _FINDER.roots else file and Path(file).parent == folder
        if file and is_below:
            yield Path(file)


def _package_files(folder: Path, package: str) -> dict[Path, Path]:
    files = (file for file in (folder / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder): file for file in files}


@dataclass(frozen=True)
class _ImportRoot:
    """A folder whose modules are imported under a prefix; with ``package``, only that package of the folder."""

    prefix: str
    folder: Path
    package: str | None

    def contains(self, name: str) -> bool:
        if name == "penstock":  # every definition needs it
            return False
        if self.package is not None:
            return name == self.package
        return (self.folder / f"{name}.py").is_file() or (self.folder / name / "__init__.py").is_file()

    def import_(
        self,
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Replace ``__import__`` inside the folder's modules."""
        top = name.partition(".")[0]
        # A file json.py that imports json means the installed module.
        is_itself = globals_ is not None and globals_.get("__name__") == f"{self.prefix}.{top}" and self.package is None
        if level == 0 and self.contains(top) and not is_itself:
            name = f"{self.prefix}.{name}"
            if not fromlist:
                importlib.import_module(name)
                return sys.modules[f"{self.prefix}.{top}"]
        return builtins.__import__(name, globals_, locals_, fromlist, level)


class _Loader(SourceFileLoader):
    """Sets the ``__import__`` of a module's folder before the module runs."""

    def __init__(self, fullname: str, path: str, root: _ImportRoot) -> None:
        super().__init__(fullname, path)
        self._root = root

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._root.import_}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules under the prefixes."""

    def __init__(self) -> None:
        self.roots: dict[str, _ImportRoot] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root = self.roots.get(fullname.partition(".")[0])
        if root is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, root)
        return spec


_FINDER = _Finder()
sys.meta_path.insert(0, _FINDER)


def _is_installed(name: str, path: Path) -> bool:
    """Whether Python's import system finds this same file under its ordinary name."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path
