"""Runs the kernel as a child process, without Flink's runtime: one JSON request and one JSON response per line.

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
from penstock.paths import KERNEL_ARCHIVE, KERNEL_JAR, SETUP_COMMAND, java_home, site_packages

# Java goes without the archive if it is missing, or of other jars.
# In an image with Java and without Flink's Python package.
_FLINK = KERNEL_JAR.parent / "flink"
_FROM_ARCHIVE = (f"-XX:SharedArchiveFile={KERNEL_ARCHIVE}",)


class Kernel:
    """A kernel process that serves many requests, one at a time. It ends with this process, or by ``close``.

    Args:
        jar: The kernel's jar.
        options: More options of Java.

    Raises:
        PenstockError: if Java, the kernel's jar or Flink's jars are missing; from every request, if the kernel fails.
    """

    def __init__(self, jar: Path = KERNEL_JAR, options: Sequence[str] = _FROM_ARCHIVE) -> None:
        # Java would warn about an archive on standard output, which is for responses.
        command = [str(_java()), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable", *options]
        command += ["-cp", f"{_require_jar(jar)}:{_flink()}", "penstock.kernel.Cli"]
        self._lock = threading.Lock()
        # A file: a pipe that nobody reads would fill up and block the process.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            # Ctrl-C must reach only this process; the child ends when its input is closed.
            start_new_session=True,
        )

    def features(
        self, plan: dict[str, Any], rows: list[dict[str, Any]], snapshot_every: int = 0, later: Sequence[int] = ()
    ) -> list[dict[str, Any] | None]:
        """The views of each row; None for a duplicate.

        Args:
            plan: The plan as JSON.
            rows: Rows with all columns, derived ones included. ``__source`` is the number of the row's source in the
                plan (default 0).
            snapshot_every: Write and read back all states after so many rows; 0: never.
            later: Durations in ms. For each, a view also has the features that a timer would emit so long after its
                ``as_of``.
        """
        request = {"plan": plan, "rows": rows, "snapshot_every": snapshot_every, "later": list(later)}
        return cast("list[dict[str, Any] | None]", self.request({"features": request}))

    def decode(
        self,
        plan: dict[str, Any],
        writers: list[str],
        key: str | None,
        records: list[dict[str, Any]],
        source: int = 0,
        registry: str | None = None,
        clock: int | None = None,
        lookup: int | None = None,
    ) -> list[dict[str, Any]]:
        """The columns of each record, the reason for its refusal, or that it is ``ignored``.

        Args:
            plan: The plan as JSON.
            writers: The schemas of Avro values.
            key: The key that hashes personal data, in base64.
            records: For each record its ``value`` in base64, its Kafka ``timestamp``, and its ``headers``: for each
                its name, or its name and value in base64.
            source: The number of the records' source in the plan.
            registry: The URL of a schema registry.
            clock: The job's clock, epoch ms; None as in a replay.
            lookup: The number of the lookup of whose topic the records are, in place of a source; their columns are
                then the fields of its contract.
        """
        request = {"plan": plan, "writers": writers, "key": key, "records": records, "source": source}
        request |= {"registry": registry} | ({} if clock is None else {"clock": clock})
        request |= {} if lookup is None else {"lookup": lookup}
        return cast("list[dict[str, Any]]", self.request({"decode": request}))

    def request(self, message: dict[str, Any]) -> Any:
        """Send a request of ``penstock.kernel.Cli`` and return its response."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        line = ""
        with self._lock, contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            raise PenstockError(
                f"the kernel process ended: {self._error_message()}", safe="nothing was read or written"
            )
        return json.loads(line)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
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

    def _error_message(self) -> str:
        """The innermost error message on the process's standard error."""
        self._process.wait(10)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith(("Caused by: ", "Exception in thread ", "Error: "))]
        return (
            errors[-1].removeprefix("Caused by: ") if errors else f"exit code {self._process.returncode}, {lines[-1:]}"
        )


def _java() -> Path:
    home = java_home()
    if home is None:
        raise PenstockError("Java 17 is missing", next=SETUP_COMMAND)
    return home / "bin" / "java"


def _require_jar(jar: Path) -> Path:
    if not jar.is_file():
        raise PenstockError("the kernel is not built", where=str(jar), next=SETUP_COMMAND)
    return jar


def _flink() -> str:
    """Its class path. The kernel needs none of the jars beside it, and Log4j alone takes a fifth of the start."""
    if _FLINK.is_dir():
        return f"{_FLINK}/*"
    packages = site_packages("jobs")
    if packages is None:
        raise PenstockError("the jobs environment, which contains Flink, is missing", next=SETUP_COMMAND)
    (jar,) = (packages / "pyflink" / "lib").glob("flink-dist-*.jar")
    return str(jar)
