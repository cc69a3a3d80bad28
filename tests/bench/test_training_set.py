"""The benchmark of training sets builds the set that it measures."""

from __future__ import annotations

from pathlib import Path

from streams.plan.project import Project
from tests.bench.training_set import measure, pipeline, write_backfill


def test_each_row_of_its_backfill_is_a_row_of_the_set(tmp_path: Path) -> None:
    write_backfill(Project.of(pipeline(), tmp_path), tmp_path / "backfill", 400)
    found = measure(tmp_path, 400, "256MB", probe=False)
    assert (found["rows"], found["inputs"]) == (400, 40)
