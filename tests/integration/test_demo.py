"""An interrupted demo leaves no process running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("ending", "process"),
    [
        pytest.param(signal.SIGINT, " penstock job start ", id="ctrl-c while commands run"),
        pytest.param(signal.SIGHUP, " kafka.Kafka ", id="terminal closed while the stack starts"),
    ],
)
def test_an_interrupted_demo_stops_every_process_that_it_started(
    tmp_path: Path, ending: signal.Signals, process: str
) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "penstock", "demo", "--only", "fraud", "--folder", str(folder)]
    # Tests that run in the background may ignore Ctrl-C, and the demo would inherit that.
    restore_default = partial(signal.signal, ending, signal.SIG_DFL)
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=restore_default)  # noqa: PLW1509
    assert demo.stdout is not None
    deadline = time.monotonic() + 300
    while not any(process in command for command in processes_of(folder)):
        assert demo.poll() is None, demo.stdout.read()
        assert time.monotonic() < deadline, f"the demo has not started{process}"
        time.sleep(0.2)

    demo.send_signal(ending)

    output = demo.stdout.read()
    assert demo.wait(90) == 130, output
    assert "interrupted" in output
    deadline = time.monotonic() + 10
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes but the demo that have the folder in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if str(folder) in command + environment and " demo --only " not in command:
            found.append(command)
    return found
