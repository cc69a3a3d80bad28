"""What backfills and training sets are held against computes the same, or does not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.paths import venv_python
from streams.oracle.reference import Timed, vectors
from streams.plan.project import open_project
from tests.bench import backfill
from tests.bench.backfill_peers.running import by_polars, require_equal_join
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


def _joined(**changed: Any) -> pa.Table:
    return pa.table({"event_id": ["b", "a"], "by_card__n": [2, 1], "by_card__mean": [None, 0.5]} | changed)


def test_a_join_of_feast_counts_only_if_it_is_that_of_the_training_set() -> None:
    built = pa.table({"event_id": ["a", "b"], "label": [True, False], "by_card.n": [1, 2], "by_card.mean": [0.5, None]})
    require_equal_join(built, _joined())
    for changed in ({"by_card__n": [2, 2]}, {"by_card__mean": [0.0, 0.5]}, {"event_id": ["c", "a"]}):
        with pytest.raises(AssertionError):
            require_equal_join(built, _joined(**changed))


@pytest.mark.skipif(not venv_python("bench-polars").exists(), reason="python3 -m deploy.bootstrap bench-polars")
def test_polars_computes_the_windows_as_duckdb_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "DISTINCT", 3)
    monkeypatch.setattr(backfill, "SPACING_MS", 700_000)
    file, out = tmp_path / "payments.parquet", tmp_path / "polars.parquet"
    pq.write_table(pa.table(backfill.payments(400, seed=2)), file)
    plan = open_project(str(define(tmp_path, "by_polars"))).plan
    by_polars(plan, file, out)
    wanted, found = duckdb.sql(backfill.windows_query(plan, file)).to_arrow_table(), pq.read_table(out)
    assert sorted(found.column_names) == sorted(wanted.column_names)
    for name in wanted.column_names:
        assert found[name].to_pylist() == pytest.approx(wanted[name].to_pylist(), rel=1e-6, abs=1e-6), name
