"""The exports of ``penstock``, and the imports that they do not cause."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

import penstock
from penstock.paths import ROOT

FOUNDATION = (
    "errors",
    "kafka.access",
    "cassandra_client",
    "paths",
    "processes",
    "redis_client",
    "sections",
    "settings",
    "telemetry",
    "time",
    "tls",
    "triton",
)
IMPORT_FOUNDATION = """
import importlib, sys
upper = {"backfill", "deploy", "schemas", "scoring", "sinks", "streams", "verify"}
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert not {m.partition(".")[0] for m in sys.modules} & upper, name
"""
WELL_TYPED = """
from typing import assert_type
from penstock import *
from streams.definitions.aggregates.spec import Aggregate

assert_type(mean("x", over="1h"), Aggregate)
assert_type(count(over=("1h", Window.of("1d")), where="x > 0", name="n"), Aggregate)
assert_type(quantile("x", q=0.5, over="1h"), Aggregate)
assert_type(histogram("x", buckets=(0, 0.5), over="1h"), Aggregate)
"""
WRONGLY_TYPED = """
import penstock
from penstock import first_k, mean, quantile, session_count

mean("x")
mean("x", over=1)
quantile("x", over="1h")
first_k("x", k="3", over="1h")
session_count(gap=5, over="1h")
penstock.meen
penstock.AggregateSpec
"""


def test_lower_modules_import_no_higher_module() -> None:
    names = [f"penstock.{name}" for name in FOUNDATION]
    subprocess.run([sys.executable, "-c", IMPORT_FOUNDATION, *names], cwd=ROOT, check=True)


def test_only_pipelines_and_tests_import_from_the_facade() -> None:
    packages = ("penstock", "schemas", "streams", "scoring", "sinks", "backfill", "verify", "deploy")
    imports = [
        (file.relative_to(ROOT), node.lineno)
        for package in packages
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and node.module == "penstock")
        or (isinstance(node, ast.Import) and any(alias.name == "penstock" for alias in node.names))
    ]
    assert imports == []


def test_every_exported_name_exists_and_is_listed() -> None:
    found: dict[str, object] = {}
    exec("from penstock import *", found)
    assert set(penstock.__all__) <= set(found)
    assert set(penstock.__all__) <= set(dir(penstock))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'penstock' has no attribute 'meen'"):
        _ = penstock.meen  # type: ignore[attr-defined]


def test_a_type_checker_knows_every_exported_name_and_every_signature(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text("\n".join([WELL_TYPED, *penstock.__all__]), encoding="utf-8")
    assert _checked(file) == []


def test_a_type_checker_refuses_wrong_calls_and_unknown_names(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text(WRONGLY_TYPED, encoding="utf-8")
    lines = WRONGLY_TYPED.splitlines()
    refused = {lines[number - 1] for number in _checked(file)}
    assert refused == set(lines[4:])


def _checked(file: Path) -> list[int]:
    """The lines in which mypy finds an error."""
    report, errors, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", str(file)])
    assert not errors
    return [int(line.split(":")[1]) for line in report.splitlines() if ": error:" in line]
