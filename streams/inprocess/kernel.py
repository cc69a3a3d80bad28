"""The kernel as a child process, without Flink's runtime: one JSON request and one answer per line.

It runs the same code as a job, so it computes the same values. It needs Java and the jars, but no cluster.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from penstock.errors import PenstockError
from penstock.paths import KERNEL_JAR, java_home, site_packages


class Kernel:
    """Asks the kernel; one process serves many requests, one at a time. It ends with this process, or by ``close``.

    Args:
        jar: The kernel.
        flink_home: A Flink distribution; by default the one in the environment of jobs.

    Raises:
        PenstockError: if Java, the kernel's jar or Flink's are missing; from any request, if the kernel fails.
    """

    def __init__(self, jar: Path = KERNEL_JAR, flink_home: Path | None = None) -> None:
        command = [str(_java()), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-cp", f"{_existing(jar)}:{_flink_jars(flink_home)}", "penstock.kernel.Cli"]
        self._lock = threading.Lock()
        # An unread pipe would fill up and block the process.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            # Ctrl-C is this process's to handle; the child ends when its input does.
            start_new_session=True,
        )

    def features(
        self, plan: dict[str, Any], rows: list[dict[str, Any]], snapshot_every: int = 0, later: Sequence[int] = ()
    ) -> list[dict[str, Any] | None]:
        """The views of each row, which has every column, derived ones included; None for a duplicate.

        ``__source`` in a row is the number of its source in the plan, 0 if it is left out.

        After every ``snapshot_every`` rows all states are written and read back (0: never). A view also has, of each of
        the milliseconds in ``later``, the features that a timer would emit so long after its ``as_of``.
        """
        request = {"plan": plan, "rows": rows, "snapshot_every": snapshot_every, "later": list(later)}
        return cast("list[dict[str, Any] | None]", self.ask({"features": request}))

    def decode(
        self, plan: dict[str, Any], writers: list[str], key: str | None, records: list[dict[str, Any]], source: int = 0
    ) -> list[dict[str, Any]]:
        """The columns of each record of the plan's source of that number, or the reason for which it is refused.

        ``writers`` are the schemas of Avro values, ``key`` hashes personal data; that and the records' ``value`` are in
        base64, their ``timestamp`` is Kafka's.
        """
        request = {"plan": plan, "writers": writers, "key": key, "records": records, "source": source}
        return cast("list[dict[str, Any]]", self.ask({"decode": request}))

    def ask(self, request: dict[str, Any]) -> Any:
        """The answer to any request that ``penstock.kernel.Cli`` knows."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        line = ""
        with self._lock, contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            raise PenstockError(f"the kernel ended: {self._why()}", safe="nothing was read or written")
        return json.loads(line)

    @property
    def alive(self) -> bool:
        """Whether it still takes requests."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _why(self) -> str:
        """The innermost error message on its standard error."""
        self._process.wait(10)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        told = [line for line in lines if line.startswith(("Caused by: ", "Exception in thread ", "Error: "))]
        return told[-1].removeprefix("Caused by: ") if told else f"code {self._process.returncode}, {lines[-1:]}"


def _java() -> Path:
    home = java_home()
    if home is None:
        raise PenstockError("there is no Java 17", next="make setup")
    return home / "bin" / "java"


def _existing(jar: Path) -> Path:
    if not jar.is_file():
        raise PenstockError("the kernel is not built", where=str(jar), next="make setup")
    return jar


def _flink_jars(flink_home: Path | None) -> str:
    if flink_home is not None:
        return f"{flink_home}/lib/*"
    packages = site_packages("jobs")
    if packages is None:
        raise PenstockError("the environment of jobs, which brings Flink, is missing", next="make setup")
    return f"{packages}/pyflink/lib/*"
