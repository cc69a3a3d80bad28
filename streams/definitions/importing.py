"""Importing a user's Python file by its path, whatever it is called and whatever else is installed.

The file and the modules beside it (or, inside a package, that package) are imported under a prefix of their own:

- two files of one name in two folders are two modules;
- inside them, ``import helpers`` finds ``helpers.py`` beside the file, even if something of that name is installed;
- for everybody else nothing changes: a pipeline called ``redis.py`` hides no installed module.

A file that is importable under its ordinary name, as those of an installed package are, is imported so.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_PREFIX = "_penstock_user_"


def import_file(path: Path) -> ModuleType:
    """Import a Python file, once: the same path gives the same module."""
    folder, name = import_root(path)
    if _is_installed(name, path):
        return importlib.import_module(name)
    prefix = _PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    if prefix not in _FINDER.roots:
        only = name.partition(".")[0] if "." in name else None
        _FINDER.roots[prefix] = _Root(prefix, folder, only)
        package = ModuleType(prefix)
        package.__path__ = [str(folder)]
        sys.modules[prefix] = package
    importlib.invalidate_caches()
    return importlib.import_module(f"{prefix}.{name}")


def import_root(path: Path) -> tuple[Path, str]:
    """The folder from which a file is imported, and its dotted name there: packages around the file belong to it."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def public_name(module: str) -> str:
    """The name of a module as its author knows it, without the prefix under which it was imported.

    >>> public_name("_penstock_user_0123456789abcdef.pipeline"), public_name("examples.fraud.pipeline")
    ('pipeline', 'examples.fraud.pipeline')
    """
    return module.partition(".")[2] if module.startswith(_PREFIX) else module


def source_files(module: str) -> dict[Path, Path]:
    """The files of an imported module and of what is imported with it, by their paths below the import root.

    Of a package, all of it; of a loose file, it and the modules beside it that have been imported.
    """
    prefix, _, name = module.partition(".")
    root = _FINDER.roots.get(prefix)
    if root is None:
        file = Path(str(sys.modules[module].__file__))
        folder, name = import_root(file)
        if "." in name:
            return _package_files(folder, name.partition(".")[0])
        imported = (getattr(one, "__file__", None) for one in list(sys.modules.values()))
        return {Path(path).relative_to(folder): Path(path) for path in imported if path and Path(path).parent == folder}
    if root.only is not None:
        return _package_files(root.folder, root.only)
    files = (Path(one.__file__) for key, one in sys.modules.items() if key.startswith(f"{prefix}.") and one.__file__)
    return {file.relative_to(root.folder): file for file in files}


def _package_files(folder: Path, package: str) -> dict[Path, Path]:
    files = (file for file in (folder / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder): file for file in files}


@dataclass(frozen=True)
class _Root:
    """A folder whose modules are imported under a prefix; ``only`` is the package they belong to, if to one."""

    prefix: str
    folder: Path
    only: str | None

    def holds(self, name: str) -> bool:
        if name == "penstock":  # every definition needs it
            return False
        if self.only is not None:
            return name == self.only
        return (self.folder / f"{name}.py").is_file() or (self.folder / name / "__init__.py").is_file()

    def import_(
        self,
        name: str,
        globals_: Mapping[str, Any] | None = None,
        locals_: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """What ``import`` calls inside the folder's modules."""
        top = name.partition(".")[0]
        # A file called json.py that imports json means the installed one.
        is_itself = globals_ is not None and globals_.get("__name__") == f"{self.prefix}.{top}" and self.only is None
        if level == 0 and self.holds(top) and not is_itself:
            name = f"{self.prefix}.{name}"
            if not fromlist:
                importlib.import_module(name)
                return sys.modules[f"{self.prefix}.{top}"]
        return builtins.__import__(name, globals_, locals_, fromlist, level)


class _Loader(SourceFileLoader):
    """Gives a module the ``import`` of its folder before it runs."""

    def __init__(self, fullname: str, path: str, root: _Root) -> None:
        super().__init__(fullname, path)
        self._root = root

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._root.import_}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules under the prefixes."""

    def __init__(self) -> None:
        self.roots: dict[str, _Root] = {}

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
    """Whether the ordinary import system finds this very file under its ordinary name."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path
