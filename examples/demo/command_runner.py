"""Runs ``penstock`` commands as child processes with a log each, and stops them at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock.errors import PenstockError
from penstock.processes import end_with_parent

_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.1
_TAIL_LINES = 12


class CommandRunner:
    """Runs ``penstock`` commands against one stack; leaving the context stops those that still run.

    Args:
        environment: Variables of the stack, added to those of this process.
        logs: Folder of the logs, which are called ``<name>.log``.
        idle: Called several times a second while :meth:`call` waits.
    """

    def __init__(self, environment: dict[str, str], logs: Path, idle: Callable[[], None] = lambda: None) -> None:
        self._idle = idle
        self._environment = {**os.environ, **environment}
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def call(self, name: str, *arguments: str, idle: Callable[[], None] | None = None, code: int = 0) -> None:
        """Run ``penstock ARGUMENTS`` and wait until it exits.

        Args:
            name: Name of its log, to which a second call appends.
            arguments: Arguments of the command.
            idle: Called while waiting, instead of the ``idle`` of this object.
            code: The exit status that it must have.

        Raises:
            PenstockError: if it ends with another one; it contains the end of the log.
        """
        with self._log(name).open("ab") as log:
            command = subprocess.Popen(
                self._command(arguments),
                stdout=log,
                stderr=log,
                env=self._environment,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it makes one system call
            )
            try:
                while command.poll() is None:
                    (idle or self._idle)()
                    time.sleep(_POLL_S)
            finally:
                _end(command)
        if command.returncode != code:
            raise self._failure(name, f"`penstock {' '.join(arguments)}` ended with exit status {command.returncode}")

    def start(self, name: str, *arguments: str) -> None:
        """Start ``penstock ARGUMENTS`` in the background; a second start appends to the same log."""
        with self._log(name).open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches only the demo, which then stops its commands in order.
            self._running[name] = subprocess.Popen(
                self._command(arguments),
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - it makes one system call
            )

    def kill(self, name: str) -> None:
        """End a background command with SIGKILL, so that it cannot commit or close anything."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def check(self) -> None:
        """Check that no background command has ended by itself.

        Raises:
            PenstockError: if one has; it contains its name and the end of its log.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise self._failure(name, f"{name} ended by itself with exit status {process.returncode}")

    def ended(self) -> list[str]:
        """The background commands that have ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def stop_all(self) -> None:
        """Stop all background commands; kill those that do not stop in time."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            _end(process)
        self._running.clear()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "penstock", *arguments]

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _failure(self, name: str, what: str) -> PenstockError:
        lines = self._log(name).read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return PenstockError("\n  | ".join([what, *lines]), where=str(self._log(name)))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with SIGTERM, and with SIGKILL if it does not end in time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
