"""The Python blocks of the pages run: as one script per page, with their tests called, from the repository's root.

A block whose first line is a path as a comment (``# shop/pipeline.py``) is also written to a file of that name, which
later blocks may import. One whose first line begins with ``# Needs`` is about servers: it is compiled, and what it
imports from this repository must exist.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.paths import ROOT
from tests.docs.pages import PAGES, Snippet, blocks, missing_imports

_FILE = re.compile(r"# ([\w/]+\.py)\n")


def _with_python() -> list[Path]:
    return [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", _with_python(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {"__name__": "page"}
    known = set(sys.modules)
    try:
        for block in blocks(page, "python"):
            code = compile("\n" * block.line + block.text, str(page), "exec", dont_inherit=True)
            if not block.text.startswith("# Needs "):
                _write(block, tmp_path)
                exec(code, names)
                _run_tests(names)
    finally:
        for name in set(sys.modules) - known:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]


@pytest.mark.parametrize("page", _with_python(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_import_from_this_repository_exists(page: Path) -> None:
    assert [(block.place, missing) for block in blocks(page, "python") for missing in missing_imports(block.text)] == []


def _write(block: Snippet, folder: Path) -> None:
    named = _FILE.match(block.text)
    if named:
        file = folder / named[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")


def _run_tests(names: dict[str, Any]) -> None:
    """Call the test functions that a block has defined, with each of their parameters, as pytest would."""
    for name in [name for name in names if name.startswith("test_")]:
        test: Callable[..., None] = names.pop(name)
        for arguments in _parameters(test):
            test(*arguments)


def _parameters(test: Callable[..., None]) -> list[tuple[Any, ...]]:
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    return [(value,) for value in marks[0].args[1]] if marks else [()]
