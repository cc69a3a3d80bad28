"""The source of a function and of everything of the user's that it uses, as one digest.

A Python column's meaning is its code: a view whose column computes something else needs a new version. Only the text
of the modules is read; no value is looked at.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from streams.definitions.import_statements import ImportScope, readable_statements
from streams.definitions.importing import import_scope
from streams.definitions.module_statements import statements_used


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
    scope = ImportScope(*import_scope(function.__module__), own)
    name = function.__qualname__.partition(".")[0]
    used = statements_used(name, readable_statements(own), lambda node: not any(scope.imported_files(node, own)))
    parts = scope.reached({file for node in used for file in scope.imported_files(node, own)})
    parts.setdefault(own, used)
    modules = {".".join(scope.dotted(file)): nodes for file, nodes in parts.items()}
    text = "\n".join(f"{name}={' '.join(map(ast.dump, nodes))}" for name, nodes in sorted(modules.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
