"""The feature tests that come with the example pipelines pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.paths import ROOT
from penstock.testing import Case, check_case, read_cases

FILES = sorted((ROOT / "examples").glob("*/features_test.json"))
CASES = [case for file in FILES for case in read_cases(file)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file.parent.name}: {case}")
def test_every_case_of_an_example_passes(case: Case) -> None:
    check_case(case)


def test_every_example_has_its_feature_tests() -> None:
    assert {file.parent for file in FILES} == {Path(file).parent for file in (ROOT / "examples").glob("*/pipeline.py")}
