"""The processes of parts: each a ``penstock`` command in a session of its own, with a log that cannot grow for ever."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from penstock.processes import end_with_parent
from penstock.running.parts import Part
from penstock.running.record import RunFolder
from penstock.running.restarts import End, end_of

# One older file of this size is kept.
LOG_BYTES = 32 * 1024 * 1024
_TAIL_BYTES = 16 * 1024
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Child(Protocol):
    """A process of a part."""

    pid: int

    def end(self) -> End | None:
        """How it has ended; None while it runs."""

    def stop(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """Starts processes of parts."""

    def start(self, part: Part, port: int | None) -> Child:
        """Start a part.

        Raises:
            OSError: if the system cannot.
        """

    def tidy(self) -> None:
        """Shorten logs that have become too long."""


class CommandLauncher:
    """Starts ``penstock`` commands, which end when the thread ends that has started them.

    Args:
        folder: Has the logs.
        environment: The variables of the processes, added to those of this one.
    """

    def __init__(self, folder: RunFolder, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}

    def start(self, part: Part, port: int | None) -> Child:
        """Start a part."""
        path = self._folder.log(part.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            begins_at = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", *part.arguments(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                # Ctrl-C reaches the supervisor alone, which stops the parts in their order.
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it makes one system call
            )
        return _Process(process, path, begins_at)

    def tidy(self) -> None:
        """Shorten logs that have become too long."""
        for path in self._folder.logs().values():
            with contextlib.suppress(OSError):
                if path.stat().st_size > LOG_BYTES:
                    # The process goes on writing to the same file, at its new end.
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)


class _Process:
    def __init__(self, process: subprocess.Popen[bytes], log: Path, begins_at: int) -> None:
        self.pid = process.pid
        self._process, self._log, self._begins_at = process, log, begins_at

    def end(self) -> End | None:
        if self._process.returncode is None and os.waitid(os.P_PID, self.pid, _ENDED) is not None:
            # What it has started ends with it: a program that submits a job would submit it later. Until the process is
            # waited for, the number of its group is nobody else's.
            self._kill_group()
        status = self._process.poll()
        return None if status is None else end_of(status, self._logged())

    def stop(self) -> None:
        # Popen has not been waited for, so the pid is still this process's.
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _logged(self) -> str:
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(size - _TAIL_BYTES, self._begins_at if self._begins_at <= size else 0))
                return log.read().decode(errors="replace")
        except OSError:
            return ""
