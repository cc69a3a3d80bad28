"""The job of a backfill, watched without a cluster: when it is done, lost, failed, or waits for its last checkpoint."""

from __future__ import annotations

import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from backfill import replay_job
from backfill.manifest import BackfillManifest, Part, load_manifest
from backfill.progress_bar import ProgressBar
from backfill.replay_job import ReplayJob
from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink.rest import Flink, Job
from streams.plan.project import Project
from tests.backfill.test_manifest import manifest
from tests.corpus.pipeline import pipeline

RUNNING = Job(id="j", name="penstock-p-backfill-r", state="RUNNING", start_ms=1, tasks=1, tasks_running=1)


class FakeFlink:
    """Knows one job, and what was requested of it."""

    url = "http://flink"

    def __init__(self) -> None:
        self.job = RUNNING
        self.requests: list[str] = []

    def jobs(self, name: str) -> list[Job]:
        assert name == RUNNING.name
        return [self.job]

    def with_details(self, job: Job) -> Job:
        return job

    def free_slots(self) -> int:
        return 3

    def checkpoint(self, job_id: str) -> None:
        self.requests.append(f"checkpoint {job_id}")

    def cancel(self, job_id: str) -> None:
        self.requests.append(f"cancel {job_id}")


class FakeLag:
    """Offsets of the scratch topic."""

    written = committed = 0

    def __init__(self, _: object) -> None: ...

    def log_ends(self, _: str) -> dict[int, int]:
        return {0: FakeLag.written}

    def end_offsets(self, _: str) -> dict[int, int]:
        return {0: FakeLag.committed}

    def committed_offsets(self, _group: str, _topic: str) -> dict[int, int]:
        return {}

    def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(replay_job.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(replay_job, "Lag", FakeLag)
    return now


def watched(flink: FakeFlink, folder: Path, found: BackfillManifest | None = None) -> ReplayJob:
    project = Project.of(pipeline, folder)
    progress = ProgressBar(Console(file=StringIO()))
    found = found or manifest(job="j")
    return ReplayJob(project, Settings(), found, None, folder, cast("Flink", flink), progress, threading.Event())


def test_rows_that_wait_for_a_commit_after_the_last_one_get_a_checkpoint(clock: list[float], tmp_path: Path) -> None:
    flink = FakeFlink()
    job = watched(flink, tmp_path)

    def looked(at: float, written: int, committed: int) -> list[str]:
        clock[0], FakeLag.written, FakeLag.committed = at, written, committed
        assert not job.has_finished()
        return flink.requests

    assert looked(100.0, 10, 0) == []
    assert looked(100.4, 20, 0) == [], "it writes"
    assert looked(100.8, 20, 0) == [], "a short pause"
    assert looked(101.0, 20, 0) == ["checkpoint j"]
    assert looked(101.2, 20, 0) == ["checkpoint j"], "it is on its way"
    assert looked(102.0, 21, 21) == ["checkpoint j"], "the commit's marker"
    assert looked(109.0, 21, 21) == ["checkpoint j"], "nothing waits"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": "FAILED", "failure": "no room"}, "fails: no room"),
        ({"state": "CANCELED"}, "was cancelled"),
        ({"state": "RESTARTING", "restarts": 5}, "fails"),
    ],
)
def test_a_job_that_will_not_recover_is_an_error_that_says_why(
    clock: list[float], tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    flink = FakeFlink()
    job = watched(flink, tmp_path)
    assert not job.has_finished()
    flink.job = replace(RUNNING, **changes)
    clock[0] += 2
    with pytest.raises(PenstockError, match=says) as refused:
        job.has_finished()
    assert "then run the same command" in str(refused.value.next)
    assert flink.requests == (["cancel j"] if changes["state"] == "RESTARTING" else [])


def test_a_finished_job_is_finished(clock: list[float], tmp_path: Path) -> None:
    flink = FakeFlink()
    flink.job = replace(RUNNING, state="FINISHED")
    assert watched(flink, tmp_path).has_finished()


def test_a_process_that_is_killed_while_it_makes_the_topic_anew_leaves_no_checkpoint_of_the_old_one(
    clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chk = tmp_path / "chk-3"
    chk.mkdir()
    (chk / "_metadata").touch()
    flink, has_all = FakeFlink(), False
    flink.job = replace(RUNNING, state="FAILED", checkpoint=chk.as_uri())
    part = Part(file="part-00000-00000.parquet", partition=0, rows=4, next_offset=6)
    begun = manifest(job="j", checkpoint=chk.as_uri(), parts=[part])

    def killed(*_: Any) -> None:
        nonlocal has_all
        has_all = True  # of the new topic, which is empty
        raise KeyboardInterrupt

    monkeypatch.setattr("backfill.scratch.has_all_records", lambda *_: has_all)
    monkeypatch.setattr(replay_job, "first_offsets", lambda *_: {0: 0, 1: 0})
    monkeypatch.setattr("backfill.scratch.create", killed)
    with pytest.raises(KeyboardInterrupt):
        watched(flink, tmp_path, begun).begin()
    left = load_manifest(tmp_path)
    assert left is not None
    assert (left.job, left.checkpoint, left.parts) == (None, None, [])

    monkeypatch.setattr("backfill.scratch.create", lambda *_: None)
    submitted: list[Any] = []
    monkeypatch.setattr(replay_job, "start_backfill", lambda *_, checkpoint, **__: submitted.append(checkpoint))
    watched(flink, tmp_path, left).begin()
    assert submitted == [None]


def test_more_tasks_than_free_slots_are_refused_before_anything_is_made(clock: list[float], tmp_path: Path) -> None:
    wide = manifest()
    wide.replay = wide.replay.model_copy(update={"parallelism": 4})
    flink = FakeFlink()
    flink.job = replace(RUNNING, state="CANCELED")
    with pytest.raises(PenstockError, match="Flink has 3 free slots, not 4") as refused:
        watched(flink, tmp_path, wide).begin()
    assert "--parallelism 3" in str(refused.value.next)
    assert flink.requests == []
