"""The stack that the benchmark runs on, with a TaskManager that is large enough for a million entities."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.kafka.access import KafkaAccess
from penstock.settings import Settings


@dataclass(frozen=True)
class BenchStack:
    """A running stack, and the folder that the benchmark writes to."""

    settings: Settings
    folder: Path
    stack: Stack

    def pid(self, program: str) -> int:
        """The present pid of one of the stack's programs."""
        return next(status.pid for status in self.stack.status() if status.name == program)

    @property
    def kafka(self) -> KafkaAccess:
        """The connection settings of Kafka."""
        return self.settings.kafka.access

    @property
    def flink(self) -> tuple[str, int]:
        """Host and port of the JobManager."""
        url = urlsplit(self.settings.flink.rest)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    @property
    def connectors(self) -> tuple[str, ...]:
        """URLs of Flink's Kafka connector."""
        return tuple(path.resolve().as_uri() for path in sorted((self.settings.jars / "flink").glob("*.jar")))


@contextmanager
def bench_stack(folder: Path, memory_mb: int) -> Iterator[BenchStack]:
    """Run Kafka and Flink on free ports; stop and delete them at the end.

    Args:
        folder: Folder of definitions, logs and the stack.
        memory_mb: Memory of the TaskManager's process, the same for every engine that runs in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in ("scratch", "definitions"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    for log in folder.glob("bench_*.log"):
        log.unlink()
    stack = Stack(folder / "stack", Ports.free())
    try:
        stack.up(["kafka", "flink"])
        os.environ.update(stack.environment())
        settings = Settings()
        config = settings.flink.conf_dir / "config.yaml"
        sized = rf'\g<1>"{memory_mb}m"'
        text = re.sub(r"(taskmanager\.memory\.process\.size: ).*", sized, config.read_text(encoding="utf-8"))
        config.write_text(text, encoding="utf-8")
        stack.restart("taskmanager")
        yield BenchStack(settings, folder, stack)
    finally:
        stack.down(wipe=True)
