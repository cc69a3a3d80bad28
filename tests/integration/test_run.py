"""A whole pipeline by `penstock run`: fed by a file, a part killed, all stopped, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.stack import Stack
from penstock.home import STACK_FILE
from penstock.kafka.reading import read_topic
from penstock.processes import marked
from penstock.running.record import MARK, RunFolder
from penstock.settings import Settings
from streams.flink import lifecycle
from streams.plan.project import Project
from tests.loop.taps import define, time_of

EVENTS = 200


class Bench:
    """A pipeline of the test's own, and the commands on it; ``home`` has its runs."""

    def __init__(self, project: Project, home: Path) -> None:
        self.project = project
        self.folder = RunFolder(home / "runs" / project.name)

    def penstock(self, *arguments: str, code: int | tuple[int, ...] = 0) -> str:
        command = [sys.executable, "-m", "penstock", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode in (code if isinstance(code, tuple) else (code,)), done.stdout + done.stderr
        return done.stdout

    def part(self, name: str) -> dict[str, Any]:
        # 3 while a part pauses before it is started again.
        (run,) = json.loads(self.penstock("ps", "--json", code=(0, 3)))
        return next(part for part in run["parts"] if part["name"] == name)


@pytest.fixture
def bench(
    tmp_path: Path, stack: Stack, suffix: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(stack.home / STACK_FILE, home)
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    found = Bench(define(tmp_path, suffix), home)
    yield found
    subprocess.run([sys.executable, "-m", "penstock", "stop", found.project.reference], timeout=280, check=False)


def test_a_pipeline_runs_as_a_whole_survives_the_death_of_a_part_and_leaves_nothing(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    reference, pipeline = bench.project.reference, bench.project.pipeline
    bench.penstock("run", reference, "--detach", "--without", "sink-cassandra")
    assert bench.part("features")["ready"]
    scorer = bench.part("scorer")
    assert (scorer["state"], "penstock model train" in scorer["next"]) == ("waiting", True)

    file = tmp_path / "taps.csv"
    rows = [f"t{n},{time_of(n)},c{n % 9},{n % 3},{n}.5" for n in range(EVENTS)]
    file.write_text("\n".join(["tap_id,event_time,card,shop,amount", *reversed(rows)]))
    bench.penstock("play", str(file), "--as", reference, "--speed", "max")
    bench.penstock("play", str(file), "--as", reference, code=99)
    deadline, features = time.monotonic() + 60, 0
    while features < EVENTS and time.monotonic() < deadline:
        features = sum(1 for _ in read_topic(settings.kafka.access, pipeline.features_topic))
    assert features == EVENTS

    os.kill(bench.part("sink-redis")["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not (sink := bench.part("sink-redis"))["restarts"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (sink["state"], sink["restarts"], sink["reason"]) == ("running", 1, "killed by signal 9")
    shown = {topic["topic"]: topic for topic in json.loads(bench.penstock("topics", "show", reference, "--json"))}
    assert shown[pipeline.source.topic]["records"] == EVENTS
    assert json.loads(bench.penstock("top", reference, "--json"))["job"] == "RUNNING"

    record = bench.folder.read()
    assert record is not None
    bench.penstock("stop", reference)
    assert (marked(MARK, record.mark), bench.folder.is_held) == ([], False)
    job = lifecycle.status(bench.project, settings)
    assert job is not None
    assert job.state == "FINISHED"
    bench.penstock("ps", reference, code=3)
