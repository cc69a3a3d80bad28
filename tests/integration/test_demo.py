"""The demo, interrupted: nothing that it started is left running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP], ids=["ctrl-c", "terminal closed"])
def test_interrupted_it_stops_all_that_it_started(tmp_path: Path, ending: signal.Signals) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "penstock", "demo", "--only", "fraud", "--folder", str(folder)]
    # Started in the background these tests may have been told to ignore ctrl-c, and the demo would be with them.
    heeding = partial(signal.signal, ending, signal.SIG_DFL)
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeding)  # noqa: PLW1509
    assert demo.stdout is not None
    for line in demo.stdout:
        # The first step is done: the stack runs, and the services are being started.
        if line.startswith("✓"):
            break
    time.sleep(5)
    assert processes_of(folder), "the demo does not run what it should"

    demo.send_signal(ending)

    said = demo.stdout.read()
    assert demo.wait(90) == 130, said
    assert "interrupted" in said
    deadline = time.monotonic() + 10
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that mention the folder, or work in it; the demo itself apart."""
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
