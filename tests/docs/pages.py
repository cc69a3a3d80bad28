"""The documentation as data: its pages, and the code blocks, code spans, links and headings in them."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from penstock.paths import ROOT

# The changelog is history: it may name what is no longer there.
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob(".github/**/*.md"),
    ]
)
PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]["packages"]
"""The packages of this repository."""
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Snippet:
    """A piece of a page: a code block or a code span. ``language`` is a block's info string, empty for a span."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it is, as an error message or a test's id names it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def page(name: str) -> Path:
    """The page at ``docs/<name>``."""
    return ROOT / "docs" / name


def blocks(of: Path, language: str | None = None) -> list[Snippet]:
    """The page's code blocks: all of them, or those of one language (an indented block has none)."""
    found = [
        Snippet(of, (token.map or [0])[0] + 1, token.info.strip(), token.content)
        for token in _tokens(of)
        if token.type in ("fence", "code_block")
    ]
    return [block for block in found if language in (None, block.language)]


def spans(of: Path) -> list[Snippet]:
    """The page's code spans."""
    return [Snippet(of, line, "", token.content) for line, token in _inline(of) if token.type == "code_inline"]


def links(of: Path) -> list[tuple[int, str]]:
    """The targets of the page's links and images, with their lines."""
    return [
        (line, str(token.attrs.get("href", token.attrs.get("src"))))
        for line, token in _inline(of)
        if token.type in ("link_open", "image")
    ]


def anchors(of: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    tokens = _tokens(of)
    titles = [
        "".join(child.content for child in after.children or () if child.type in ("text", "code_inline"))
        for token, after in pairwise(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def missing_imports(program: str) -> list[str]:
    """What a Python program imports from this repository's packages and is not there, as ``module.name``."""
    nodes = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.ImportFrom) and node.module]
    names = [(str(node.module), alias.name) for node in nodes for alias in node.names]
    ours = [(module, name) for module, name in names if module.partition(".")[0] in PACKAGES]
    return [f"{module}.{name}" for module, name in ours if not hasattr(importlib.import_module(module), name)]


def _inline(of: Path) -> Iterator[tuple[int, Token]]:
    for token in _tokens(of):
        for child in token.children or ():
            yield (token.map or [0])[0] + 1, child


@cache
def _tokens(of: Path) -> list[Token]:
    return _MARKDOWN.parse(of.read_text(encoding="utf-8"))
