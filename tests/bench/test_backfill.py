"""The query that backfills are held against computes what the oracle does."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.oracle.reference import Timed, vectors
from streams.plan.project import open_project
from tests.bench import backfill
from tests.bench.pipeline.definition import define


def test_duckdb_computes_the_windows_of_the_semantics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "DISTINCT", 3)
    monkeypatch.setattr(backfill, "SPACING_MS", 700_000)  # so that every window loses events
    columns, file = backfill.payments(400, seed=2), tmp_path / "payments.parquet"
    pq.write_table(pa.table(columns), file)
    plan = open_project(str(define(tmp_path, "by_duckdb"))).plan
    found = duckdb.sql(backfill.windows_query(plan, file)).to_arrow_table().to_pylist()
    events = [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    for view in plan.views:
        wanted = vectors(view, [Timed(event["time"], event) for event in events])
        for row, vector in zip(found, wanted, strict=True):
            assert vector is not None
            got = {name: row[f"{view.name}.{name}"] for name in vector.features}
            assert got == pytest.approx(vector.features, rel=1e-6, abs=1e-6)
