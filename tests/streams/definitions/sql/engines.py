"""The values that Flink and DuckDB give for expressions over the same rows."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from penstock.paths import KERNEL_JAR, ROOT, java_home, venv_python
from schemas.feature_types import FeatureType
from streams.oracle.derived_columns import ARROW, duckdb_connection

Rows = Sequence[Sequence[Any]]


def flink_values(columns: Mapping[str, FeatureType], rows: Rows, expressions: Sequence[str], folder: Path) -> Rows:
    """The values in Flink, row by row: a cluster of one process, with the kernel's functions."""
    request = {"jar": KERNEL_JAR.as_uri(), "columns": dict(columns), "rows": rows, "expressions": expressions}
    asked, answered = folder / "request.json", folder / "values.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "FLINK_"))}
    program = Path(__file__).with_name("flink_values.py")
    finished = subprocess.run(
        [str(venv_python("jobs")), str(program), str(asked), str(answered)],
        env=environment | {"JAVA_HOME": str(java_home()), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-6_000:]
    values: Rows = json.loads(answered.read_text(encoding="utf-8"))["values"]
    return values


def duckdb_values(columns: Mapping[str, FeatureType], rows: Rows, expressions: Sequence[str]) -> Rows:
    """The values in DuckDB, row by row, with the oracle's macros."""
    arrays = {
        name: pa.array([row[number] for row in rows], ARROW[kind])
        for number, (name, kind) in enumerate(columns.items())
    }
    with duckdb_connection() as connection:
        connection.register("event", pa.table({"__row": pa.array(range(len(rows))), **arrays}))
        selected = ", ".join(f"{sql} AS v{number}" for number, sql in enumerate(expressions))
        values: Rows = connection.execute(f"SELECT {selected} FROM event ORDER BY __row").fetchall()
    return values


def same(left: Any, right: Any) -> bool:
    """Whether two values are one: of one type, and doubles as near as two mathematics libraries come."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-300)
    return type(left) is type(right) and left == right
