"""The record of a run, its lock, and signals that hit its supervisor only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.commands.running import looking
from penstock.errors import PenstockError
from penstock.processes import identity_of
from penstock.running import record as module
from penstock.running.record import (
    MARK,
    OtherRun,
    PartRecord,
    RunFolder,
    RunRecord,
    boot_id,
    other_runs,
    run_folders,
)
from penstock.running.session import end_leftovers
from penstock.running.signalling import send


def record_of(pid: int, **changes: object) -> RunRecord:
    identity = identity_of(pid)
    assert identity is not None
    given = RunRecord(
        pipeline="ads",
        reference="ads/pipeline.py",
        cwd="/",
        mark=f"ads-test-{os.getpid()}",
        boot=boot_id(),
        pid=pid,
        start_time=identity.start_time,
        began_ms=0,
        parts=(PartRecord(name="scorer", state="running", since_ms=0),),
    )
    return given.model_copy(update=changes)


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    """A process that dies of SIGUSR1."""
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: f"ads-test-{os.getpid()}"})
    yield process
    process.kill()
    process.wait()


def test_there_is_one_supervisor_and_its_end_frees_the_lock(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "ads")
    assert not folder.is_held
    with folder.held("ads"):
        assert folder.is_held
        assert not folder.await_end(0)
        with pytest.raises(PenstockError, match="runs already") as second, RunFolder(folder.path).held("ads"):
            pass
        assert "penstock stop ads" in (second.value.next or "")
    assert folder.await_end(1)


def test_a_killed_supervisor_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from penstock.running.record import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).held('ads'): print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert RunFolder(tmp_path).is_held
    holder.kill()
    holder.communicate()
    assert not RunFolder(tmp_path).is_held


def test_a_run_whose_folder_was_deleted_is_still_held_as_soon_as_its_record_is_back(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = RunFolder(tmp_path / "runs" / "ads")
    folder.path.mkdir(parents=True)
    folder.write(record_of(sleeper.pid))
    assert folder.is_held
    with pytest.raises(PenstockError, match="runs already"), folder.held("ads"):
        pass
    assert send(record_of(sleeper.pid), signal.SIGTERM)
    sleeper.wait(10)
    assert folder.await_end(1)
    for changed in ({"boot": "another"}, {"start_time": 1}):
        folder.write(record_of(os.getppid(), **changed))
        assert not folder.is_held


def test_a_run_with_another_stack_is_found_by_its_parts_and_one_that_is_known_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "home_folder", lambda: tmp_path)
    marks = [f"other-ads-{os.getpid()}-7", f"ads-{os.getpid()}-8", "outlived-1-9"]
    environment = {**os.environ, "PENSTOCK_HOME": "/gone"}
    parts = [subprocess.Popen(["sleep", "60"], env={**environment, MARK: mark}) for mark in marks]
    try:
        folder = RunFolder.of("ads")
        folder.path.mkdir(parents=True)
        folder.write(record_of(os.getpid(), mark=marks[1]))
        mine = [run for run in other_runs() if run.pid == os.getpid() or run.pipeline == "outlived"]
        assert mine == [OtherRun("other-ads", os.getpid(), "/gone")]
        monkeypatch.setattr(looking, "other_runs", lambda: mine)
        (line,) = looking.told_of_others("other-ads")
        assert f"pid {os.getpid()}; next: PENSTOCK_HOME=/gone penstock ps" in line
        assert looking.told_of_others("ads") == []
    finally:
        for part in parts:
            part.kill()
            part.wait()


def test_a_record_is_read_as_it_was_written_and_a_broken_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "home_folder", lambda: tmp_path)
    folder = RunFolder.of("ads")
    assert (folder.read(), run_folders()) == (None, [])
    folder.path.mkdir(parents=True)
    folder.write(record_of(os.getpid()))
    assert folder.read() == record_of(os.getpid())
    assert [found.path for found in run_folders()] == [folder.path]
    (folder.path / "run.json").write_text('{"format": 2}')
    assert folder.read() is None


def test_a_signal_reaches_the_supervisor(sleeper: subprocess.Popen[bytes]) -> None:
    record = record_of(sleeper.pid)
    assert send(record, signal.SIGUSR1)
    assert sleeper.wait(10) == -signal.SIGUSR1
    assert not send(record, signal.SIGUSR1)


@pytest.mark.parametrize("changed", [{"start_time": 1}, {"boot": "another"}])
def test_a_process_that_got_the_same_number_later_is_not_hit(
    sleeper: subprocess.Popen[bytes], changed: dict[str, object]
) -> None:
    assert not send(record_of(sleeper.pid, **changed), signal.SIGUSR1)
    assert sleeper.poll() is None


def test_what_a_killed_run_has_left_is_ended_and_nothing_else(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.running.session._LEFTOVERS_S", 0.2)
    folder = RunFolder(tmp_path)
    assert end_leftovers(folder) == []
    folder.write(record_of(os.getpid(), mark="another"))
    assert end_leftovers(folder) == []
    folder.write(record_of(os.getpid(), boot="another"))
    assert end_leftovers(folder) == []
    folder.write(record_of(os.getpid()))
    assert [process.pid for process in end_leftovers(folder)] == [sleeper.pid]
    assert sleeper.wait(10) == -signal.SIGTERM
