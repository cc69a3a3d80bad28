"""Processes are identified by pid and start time, and found again by a variable in their environment."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

from penstock.processes import Identity, end, identity_of, marked

_SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_reused_pid_is_not_the_same_process() -> None:
    mine = identity_of(os.getpid())
    assert mine is not None
    assert mine.alive
    assert not Identity(mine.pid, mine.start_time - 1).alive


def test_marked_processes_are_found_with_their_children_and_ended() -> None:
    mark = secrets.token_hex(8)
    parent = f"import subprocess, sys; subprocess.run({_SLEEP!r})"
    process = subprocess.Popen([sys.executable, "-c", parent], env={**os.environ, "MARK": mark})
    try:
        while len(found := marked("MARK", mark)) < 2:
            assert process.poll() is None
        assert process.pid in {identity.pid for identity in found}
        end(found, grace_s=5)
        assert not any(identity.alive for identity in found)
    finally:
        process.kill()
        process.wait()


def test_a_process_that_ignores_the_request_is_killed() -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = identity_of(process.pid)
        assert identity is not None
        end([identity], grace_s=0.2)
        assert process.wait(5) == -9
