"""What docs/guides/testing-features.md shows is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from deploy.local.paths import ROOT
from penstock.testing import check_case, read_cases

PAGE = (ROOT / "docs" / "guides" / "testing-features.md").read_text(encoding="utf-8")


def test_the_unit_tests_of_the_page_pass() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/guides/testing-features.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_file_of_the_page_passes(tmp_path: Path) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    whole = json.loads(text) | {"pipeline": str(ROOT / "tests" / "corpus" / "pipeline.py")}
    (tmp_path / "f.json").write_text(json.dumps(whole), encoding="utf-8")
    for case in read_cases(tmp_path / "f.json"):
        check_case(case)
