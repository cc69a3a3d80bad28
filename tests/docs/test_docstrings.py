"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from penstock.paths import ROOT
from tests.docs.pages import PACKAGES

_EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)
# Only the environment of jobs has these.
_JOBS_ONLY = re.compile(r"^\s*(?:from|import) (?:pyflink|py4j)\b", re.MULTILINE)


def _modules() -> list[str]:
    files = [file for package in (*PACKAGES, "tests") for file in sorted((ROOT / package).rglob("*.py"))]
    return [_name(file) for file in files if _has_examples(file.read_text(encoding="utf-8"))]


def _has_examples(text: str) -> bool:
    return bool(_EXAMPLE.search(text)) and not _JOBS_ONLY.search(text)


def _name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("module", _modules())
def test_the_examples_of_a_module_are_true(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert (failed, tried > 0) == (0, True)


def test_there_are_modules_with_examples() -> None:
    assert len(_modules()) > 5
