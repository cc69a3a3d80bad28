"""Links lead somewhere: from page to page, and from code, configuration and error messages to pages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.paths import ROOT
from tests.docs.pages import PAGES, anchors, links

_SUFFIXES = {".py", ".java", ".toml", ".yml", ".yaml", ".json", ".cfg", ".Dockerfile", ""}
_SKIPPED = {"build", "target", "docs", "__pycache__"}
_MENTION = re.compile(r"\bdocs/[\w/-]+\.md(?:#[\w-]+)?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_its_anchor_exist(page: Path) -> None:
    assert [f"{line}: {target}" for line, target in links(page) if not _leads(page.parent, page, target)] == []


def test_every_page_that_code_or_configuration_names_exists() -> None:
    mentions = {
        (str(file.relative_to(ROOT)), mention)
        for file in _files()
        for mention in _MENTION.findall(file.read_text(encoding="utf-8"))
    }
    assert mentions
    assert sorted((file, name) for file, name in mentions if not _leads(ROOT, ROOT / "README.md", name)) == []


def test_the_index_links_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for _, target in links(index)}
    decisions = ROOT / "docs" / "decisions" / "README.md"
    linked |= {(decisions.parent / target.partition("#")[0]).resolve() for _, target in links(decisions)}
    assert [p for p in PAGES if p.is_relative_to(index.parent) and p not in linked | {index}] == []


def _leads(folder: Path, page: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    path, _, anchor = target.partition("#")
    file = (folder / path).resolve() if path else page
    return file.exists() and (not anchor or (file.suffix == ".md" and anchor in anchors(file)))


def _files() -> Iterator[Path]:
    for folder, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in _SKIPPED and not name.startswith(".")]
        for name in files:
            file = Path(folder) / name
            if file.suffix in _SUFFIXES and not file.is_symlink():
                yield file
