"""Backfills found in folders and among Flink's jobs, with their states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backfill.manifest import BackfillManifest, Part
from backfill.overview import backfill_of, find_backfills
from penstock.errors import PenstockError
from streams.flink.rest import Job
from tests.backfill.test_manifest import manifest


def job(run: str, state: str = "RUNNING", start_ms: int = 1, pipeline: str = "p") -> Job:
    return Job(
        id=f"{run}-{start_ms}",
        name=f"penstock-{pipeline}-backfill-{run}",
        state=state,
        start_ms=start_ms,
        tasks=1,
        tasks_running=1,
    )


def saved(folder: Path, run: str, **changes: Any) -> BackfillManifest:
    folder.mkdir(parents=True)
    found = manifest(run=run, **changes)
    found.save(folder)
    return found


PARTS = [Part(file="part-00000-00000.parquet", partition=0, rows=4, next_offset=6)]


@pytest.mark.parametrize(
    ("changes", "jobs", "state"),
    [
        ({}, [], "not replayed"),
        ({"checkpoint": "file:/chk-3"}, [], "stopped"),
        ({}, [job("0000000a")], "running"),
        ({}, [job("0000000a", "RUNNING", 1), job("0000000a", "CANCELED", 9)], "running"),
        ({}, [job("0000000a", "CANCELED", 1), job("0000000a", "FAILED", 9)], "failed"),
        ({"replayed": True}, [job("0000000a", "FINISHED")], "rows to write"),
        ({"replayed": True, "state": "complete"}, [], "complete"),
    ],
)
def test_the_state_is_that_of_the_folder_and_of_its_newest_or_active_job(
    tmp_path: Path, changes: dict[str, Any], jobs: list[Job], state: str
) -> None:
    saved(tmp_path / "out", "0000000a", **changes)
    (one,) = find_backfills(tmp_path, jobs)
    assert (one.state, one.folder) == (state, tmp_path / "out")


def test_other_folders_and_other_jobs_are_no_backfills(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "manifest.json").write_text('{"hash": 1}')
    live = Job(id="1", name="penstock-p", state="RUNNING", start_ms=1, tasks=1, tasks_running=1)
    assert find_backfills(tmp_path, [live]) == []


def test_a_backfill_is_found_by_its_folder_or_its_run_also_if_only_its_job_is_known(tmp_path: Path) -> None:
    saved(tmp_path / "out", "0000000a", parts=PARTS)
    found = find_backfills(tmp_path, [job("0000000b", pipeline="with-backfill-in-its-name")])
    assert backfill_of("0000000a", found) is backfill_of(str(tmp_path / "out"), found)
    assert backfill_of("0000000a", found).as_json()["rows"] == 4
    alone = backfill_of("0000000b", found)
    assert (alone.pipeline, alone.folder, alone.state) == ("with-backfill-in-its-name", None, "running")
    with pytest.raises(PenstockError, match="no such backfill"):
        backfill_of("0000000c", found)


def test_a_fill_of_the_running_job_is_told_from_a_backfill(tmp_path: Path) -> None:
    backfill, fill = find_backfills(tmp_path, [job("0000000b"), job("0000000c-2")])
    assert (backfill.run, backfill.as_json()["into"]) == ("0000000b", None)
    assert (fill.run, fill.as_json()["into"]) == ("0000000c", "live")
