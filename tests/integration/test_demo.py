"""An interrupted demo leaves no process running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "terminal closed"])
def test_an_interrupted_demo_stops_every_process_that_it_started(tmp_path: Path, ending: signal.Signals) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "penstock", "demo", "--only", "fraud", "--folder", str(folder)]
    # Tests that run in the background may ignore Ctrl-C, and the demo would inherit that.
    restore_default = partial(signal.signal, ending, signal.SIG_DFL)
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=restore_default)  # noqa: PLW1509
    assert demo.stdout is not None
    for line in demo.stdout:
        # After the first step, the stack runs and the commands are being started.
        if line.startswith("✓"):
            break
    time.sleep(5)
    assert processes_of(folder), "the demo has started no processes"

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
