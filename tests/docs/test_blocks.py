"""Code blocks name a language and are well-formed data; paths of the repository that a page names exist."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.paths import ROOT
from tests.docs.pages import PAGES, blocks, spans
from tests.docs.shell import commands

_LANGUAGES = {"python", "bash", "json", "toml", "yaml", "text"}
_LOADERS: dict[str, Callable[[str], Any]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)+/?")
_FOLDERS = {entry.name for entry in ROOT.iterdir() if entry.is_dir()} - {"build", ".venv", ".git"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_every_code_block_names_its_language(page: Path) -> None:
    assert [block.place for block in blocks(page) if block.language not in _LANGUAGES] == []


@each_page
def test_data_blocks_are_well_formed(page: Path) -> None:
    for block in blocks(page):
        if block.language in _LOADERS:
            _LOADERS[block.language](block.text)


@each_page
def test_every_path_of_the_repository_on_a_page_exists(page: Path) -> None:
    named = [(span.place, span.text) for span in spans(page)]
    named += [(one.place, word) for block in blocks(page, "bash") for one in commands(block) for word in one.words]
    assert [one for one in named if _is_path(one[1]) and not any(ROOT.glob(one[1].rstrip("/")))] == []


def _is_path(text: str) -> bool:
    return bool(_PATH.fullmatch(text)) and text.partition("/")[0] in _FOLDERS
