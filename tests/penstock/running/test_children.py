"""Processes of parts: their logs, and how they ended."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from penstock.processes import identity_of
from penstock.running import children
from penstock.running.children import CommandLauncher
from penstock.running.parts import Part
from penstock.running.record import RunFolder
from penstock.running.restarts import End


def test_a_part_is_a_penstock_command_in_its_own_session_whose_last_error_is_known(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log("scorer").write_text("error: of an earlier start\n")
    # A pipeline that does not exist: the command ends by itself, after its imports.
    child = CommandLauncher(folder, {}).start(Part("scorer", ("schemas", "show", "nobody-has-this"), 0), None)
    assert os.getsid(child.pid) == child.pid
    deadline = time.monotonic() + 120
    while (end := child.end()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert isinstance(end, End)
    assert (end.status, end.error is not None and "nobody-has-this" in end.error) == (1, True)


@pytest.mark.parametrize("kill", [False, True])
def test_what_a_part_has_started_ends_with_it(tmp_path: Path, *, kill: bool) -> None:
    script = "sleep 60 & echo $!; " + ("wait" if kill else "exit 3")
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    started = identity_of(int(process.stdout.readline()))
    assert started is not None
    child = children._Process(process, tmp_path / "none.log", 0)
    if kill:
        child.kill()
    deadline = time.monotonic() + 60
    while ((end := child.end()) is None or started.alive) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (end, started.alive) == (End(-9 if kill else 3), False)


def test_a_log_that_became_too_long_is_kept_once_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "LOG_BYTES", 10)
    folder = RunFolder(tmp_path)
    launcher = CommandLauncher(folder, {})
    with folder.log("scorer").open("ab", buffering=0) as written:
        for text in (b"an older part", b"a newer part!", b"rest"):
            written.write(text)
            launcher.tidy()
    assert folder.log("scorer").read_bytes() == b"rest"
    assert (tmp_path / "scorer.log.1").read_bytes() == b"a newer part!"
    assert list(folder.logs()) == ["scorer"]
