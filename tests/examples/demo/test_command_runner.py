"""The demo's child processes: a failure shows the end of its log, and no process outlives the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.demo.command_runner import CommandRunner
from penstock.errors import PenstockError

PARENT = """
import sys, time
from pathlib import Path
from examples.demo.command_runner import CommandRunner
services = CommandRunner({}, Path(sys.argv[1]))
services.start("child", "logs", "kafka", "--home", sys.argv[2], "-f")
print(services._running["child"].pid, flush=True)
time.sleep(60)
"""


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with CommandRunner({}, tmp_path) as services, pytest.raises(PenstockError) as caught:
        services.call("describe", "features", "describe", "no-such-pipeline")
    assert "ended with exit status 1" in str(caught.value)
    assert "there is no pipeline 'no-such-pipeline'" in str(caught.value)
    assert str(tmp_path / "describe.log") in str(caught.value)


def test_a_command_that_is_called_again_keeps_the_log_of_the_first_call(tmp_path: Path) -> None:
    with CommandRunner({}, tmp_path) as services:
        services.call("version", "--version")
        services.call("version", "--version")
    assert len((tmp_path / "version.log").read_text().splitlines()) == 2


def test_a_background_command_that_ends_by_itself_is_reported(tmp_path: Path) -> None:
    with CommandRunner({}, tmp_path) as services:
        services.start("early", "--version")
        time.sleep(0.1)
        services._running["early"].wait(30)
        with pytest.raises(PenstockError, match="early ended by itself with exit status 0"):
            services.check()


def test_commands_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    home = tmp_path / "stack"
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "kafka.log").write_text("a line\n")
    arguments = [sys.executable, "-c", PARENT, str(tmp_path), str(home)]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 15
    while Path(f"/proc/{child}").exists() and _state(child) != "Z":
        assert time.monotonic() < deadline, "the command outlived its parent"
        time.sleep(0.05)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
