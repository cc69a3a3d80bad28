"""The walks of docs/extending.md, performed on a copy: its file goes in, and everything derived is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from penstock.paths import ROOT
from tests.docs.pages import blocks, page

FILES = {
    match[1]: block.text
    for block in blocks(page("extending.md"), "python")
    if (match := re.match(r"# Needs .*\n# ([\w/]+\.py)\n", block.text))
}
AGGREGATE = """
import penstock
from penstock import *
from streams.definitions.aggregates.__main__ import generated_files
from streams.oracle.reference import Timed, vector
from tests.plans import make_plan, view_of

assert "spread" in penstock.__all__
assert spread("x", over="1h").feature_names() == ("x_spread_1h",)
feature = {"name": "f", "operation": "spread", "column": "x", "column_type": "double", "where": None, "type": "double"}
(view,) = make_plan(fields=[], views=[view_of(feature | {"window_ms": 60_000, "hop_ms": 1_000})]).views
history = [Timed(1, {"k": "a", "x": 5.0}), Timed(2, {"k": "a", "x": 2.0})]
assert vector(view, history).features == {"f": 3.0}
docs, package = generated_files().values()
assert "| `spread(x)` | greatest value less the smallest | `double` | null | exact |" in docs
assert "from streams.definitions.aggregates.spreads import *" in package
"""
SINK = """
import os
from click.testing import CliRunner
from penstock.cli import cli
from penstock.settings import Settings
from schemas.codec import Encoder
from schemas.records import PREDICTION_SCHEMA
from sinks.store_registry import find_stores
from streams.plan.project import open_project
from tests.schemas.test_history import PREDICTION

shown = CliRunner().invoke(cli, ["sink", "run", "--help"], terminal_width=200).output
assert "Append predictions to a file of JSON lines." in shown
options = CliRunner().invoke(cli, ["sink", "run", "lines", "--help"], terminal_width=200).output
assert "--file TEXT" in options and "--metrics-port" in options
assert "{cassandra|lines|redis}" in CliRunner().invoke(cli, ["sink", "rewind", "--help"]).output

lines = find_stores()["lines"]
project = open_project("fraud")
assert lines.topics(project.pipeline) == ("predictions.fraud",)
store = lines.create(project, Settings(), lines.options(file="out.jsonl"))
store.open()
store.write(store.decode("predictions.fraud", [Encoder(PREDICTION_SCHEMA).encode(PREDICTION)])).result()
assert open("out.jsonl").read() == '{"event_id": "1", "score": 0.5}\\n'
"""


@pytest.mark.parametrize(
    ("file", "check"),
    [("streams/definitions/aggregates/spreads.py", AGGREGATE), ("sinks/stores/lines.py", SINK)],
    ids=["aggregate", "sink"],
)
def test_the_file_of_the_page_is_all_that_is_needed(file: str, check: str, tmp_path: Path) -> None:
    top = file.partition("/")[0]
    shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("kernel", "__pycache__"))
    (tmp_path / file).write_text(FILES[file], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(check)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
