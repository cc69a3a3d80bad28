"""In Python, a new aggregate is one new file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from penstock.paths import ROOT
from streams.definitions import aggregates

MODULE = '''
"""The range of the values."""

from {package}.signatures import of_column
from {package}.spec import AggregateSpec

spread = AggregateSpec(
    name="spread",
    signature=of_column,
    type="double",
    numeric=True,
    oracle=lambda seen: max(seen.numbers) - min(seen.numbers),
    summary="greatest value less the smallest",
)
'''
USE = """
from penstock import *
from streams.oracle.reference import Timed, vector
from streams.plan.compiler import compile_plan
from tests.plans import make_plan, view_of

import penstock
assert "spread" in penstock.__all__
defined = spread("x", over="1h")
assert defined.feature_names() == ("x_spread_1h",)

feature = {"name": "f", "operation": "spread", "column": "x", "column_type": "double", "where": None, "type": "double"}
(view,) = make_plan(fields=[], views=[view_of(feature | {"window_ms": 60_000, "hop_ms": 1_000})]).views
history = [Timed(1, {"k": "a", "x": 5.0}), Timed(2, {"k": "a", "x": 2.0})]
assert vector(view, history).features == {"f": 3.0}

from PACKAGE.__main__ import generated
docs, package = generated().values()
assert "| `spread(x)` | greatest value less the smallest | `double` | null | exact |" in docs
assert "    from PACKAGE.spreads import *" in package
"""


def test_a_file_with_a_spec_is_all_that_a_new_aggregate_needs(tmp_path: Path) -> None:
    package = aggregates.__name__
    top = package.partition(".")[0]
    shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("kernel", "__pycache__"))
    (tmp_path / package.replace(".", "/") / "spreads.py").write_text(MODULE.format(package=package), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-c", USE.replace("PACKAGE", package)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        check=True,
    )
