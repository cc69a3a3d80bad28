"""The kernel as a child process: its command line without Flink's runtime, one JSON request and answer per line."""

from __future__ import annotations

import json
import subprocess
from typing import Any, cast

from deploy.local.paths import KERNEL_JAR, site_packages


class Kernel:
    """Asks the kernel; one process serves many requests."""

    def __init__(self) -> None:
        flink = site_packages("jobs")
        assert flink is not None, "the jobs environment is missing: make setup"
        assert KERNEL_JAR.exists(), "the kernel is not built: make setup"
        classpath = f"{KERNEL_JAR}:{flink / 'pyflink' / 'lib'}/*"
        self._process = subprocess.Popen(
            ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", classpath, "penstock.kernel.Cli"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def features(
        self, plan: dict[str, Any], rows: list[dict[str, Any]], snapshot_every: int = 0
    ) -> list[dict[str, Any] | None]:
        """The views of each row; None for a duplicate."""
        request = {"plan": plan, "rows": rows, "snapshot_every": snapshot_every}
        return cast("list[dict[str, Any] | None]", self._ask({"features": request}))

    def decode(
        self, plan: dict[str, Any], writers: list[str], key: str | None, records: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The columns of each record, or the reason for which it is refused."""
        request = {"plan": plan, "writers": writers, "key": key, "records": records}
        return cast("list[dict[str, Any]]", self._ask({"decode": request}))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def _ask(self, request: dict[str, Any]) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the kernel ended; its reason is on standard error"
        return json.loads(line)
