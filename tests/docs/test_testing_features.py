"""The page on testing features shows what works. That its Python blocks pass is part of ``test_python``."""

from __future__ import annotations

import json
from pathlib import Path

from penstock.paths import ROOT
from penstock.testing import check_case, read_cases
from tests.docs.pages import blocks, page

PAGE = page("guides/testing-features.md")


def test_the_page_has_unit_tests() -> None:
    assert "def test_" in blocks(PAGE, "python")[0].text


def test_the_file_of_the_page_passes(tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "json")
    whole = json.loads(block.text) | {"pipeline": str(ROOT / "tests" / "corpus" / "pipeline.py")}
    (tmp_path / "f.json").write_text(json.dumps(whole), encoding="utf-8")
    for case in read_cases(tmp_path / "f.json"):
        check_case(case)
