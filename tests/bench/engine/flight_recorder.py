"""Profiles Penstock: records the TaskManager with the JVM's flight recorder, and counts its samples by part."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from penstock.errors import PenstockError

# A sample belongs to the part of its innermost frame that begins with one of these prefixes.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "windows": ("penstock.kernel.window.",),
    "decoding": ("penstock.kernel.decode.EventDecoder", "penstock.kernel.decode.JsonDecoder"),
    "encoding": ("penstock.kernel.encode.",),
    "Kafka's producer": ("org.apache.flink.kafka.shaded.", "org.apache.flink.connector.kafka.sink."),
    "state and de-duplication": ("org.apache.flink.runtime.state.", "org.rocksdb.", "penstock.kernel.stage."),
    "source": ("org.apache.flink.connector.", "penstock.kernel.decode.RawRecord"),
    "Flink between operators": ("org.apache.flink.",),
}
_FRAME = re.compile(r"^\s+([\w.$<>]+)\(.*line:", re.MULTILINE)
_TASK = "Source: "


def start(pid: int) -> None:
    """Begin to record a JVM."""
    _run("jcmd", str(pid), "JFR.start", "name=bench", "settings=profile")


def stop(pid: int, file: Path) -> None:
    """End the recording and write it."""
    _run("jcmd", str(pid), "JFR.stop", "name=bench", f"filename={file.resolve()}")


def shares(file: Path) -> dict[str, float]:
    """Shares of the task thread's samples by part, the largest first."""
    printed = _run("jfr", "print", "--stack-depth", "64", "--events", "jdk.ExecutionSample", str(file))
    found = parts(printed.split("jdk.ExecutionSample {")[1:])
    total = sum(found.values())
    return {part: count / total for part, count in found.most_common()}


def parts(samples: Iterable[str]) -> Counter[str]:
    """How many of the printed samples of the task thread belong to each part."""
    return Counter(_part(sample) for sample in samples if f'sampledThread = "{_TASK}' in sample)


def _part(sample: str) -> str:
    for frame in _FRAME.findall(sample):
        for part, beginnings in _PARTS.items():
            if frame.startswith(beginnings):
                return part
    return "Flink between operators"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise PenstockError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
