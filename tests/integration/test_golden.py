"""The same input gives the same output: kills, rescaling and upgrades of the job change no value.

Another process judges at the end (:mod:`tests.integration.golden_verifier`).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.committed import export
from streams.flink import lifecycle, upgrade
from streams.flink.rest import Flink
from streams.plan.pipeline_topics import pipeline_topics
from tests.integration.golden_pipeline import PARTITIONS, define, payments, project_of

SEED = 5
EVENTS = payments(1_500, SEED)
CHECKPOINTS = {"checkpoint_interval_ms": 500}


class Golden:
    """One run: a separate pipeline over the common input."""

    def __init__(self, folder: Path, name: str) -> None:
        self.settings = Settings()
        self.file = define(folder, name)
        self.extended = define(folder, name, extended=True)
        self.project = project_of(self.file)
        self.pipeline = self.project.pipeline
        self.sent = 0
        self._name = name
        create_topics(pipeline_topics(self.pipeline), self.settings.kafka.access)
        export(self.project.forms, self.project.schemas)

    def send(self, until: int, per_second: float | None = None, meanwhile: Callable[[int], None] | None = None) -> None:
        """Produce the input up to an event, each event to the partition of its card; at a given pace, if any."""
        producer = Producer(self.settings.kafka.access.client())
        for number in range(self.sent, until):
            event = EVENTS[number]
            key = event["card"].encode()
            topic = self.pipeline.source.topic
            producer.produce(topic, json.dumps(event).encode(), key, sum(key) % PARTITIONS)
            producer.poll(0 if per_second is None else 1 / per_second)
            if meanwhile is not None:
                meanwhile(number)
        assert producer.flush(30) == 0
        self.sent = until

    def finish(self) -> None:
        """Produce the rest of the input, wait until the job has committed it, and end the job."""
        self.send(len(EVENTS))
        self.await_done()
        with Flink(self.settings.flink.rest) as flink:
            flink.cancel(lifecycle.require_running(flink, self.project).id)

    def await_done(self) -> None:
        """Wait until the job has committed everything that was sent."""
        deadline = time.monotonic() + 120
        with Lag(self.settings.kafka.access) as lag:
            while any(lag.of_group(lifecycle.job_group(self.project), self.pipeline.source.topic).values()):
                assert time.monotonic() < deadline, "the job did not catch up"
                time.sleep(0.2)


@pytest.fixture(scope="module")
def folder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the runs' definitions and their committed files."""
    path = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        yield path


def killed(run: Golden, stack: Stack, rng: random.Random) -> None:
    """A run on RocksDB whose processes are killed under load, each after the job has recovered from the kill before."""
    moments = {
        rng.randrange(150, 300): "taskmanager",
        rng.randrange(600, 750): "jobmanager",
        rng.randrange(1_100, 1_250): "taskmanager",
    }
    rests = {moment + 200 for moment in list(moments)[:2]}

    def kill(number: int) -> None:
        if number in moments:
            os.kill(stack.pid(moments[number]), signal.SIGKILL)
        if number in rests:
            run.await_done()

    lifecycle.start(run.project, run.settings, state_backend="rocksdb", **CHECKPOINTS)
    run.send(len(EVENTS), per_second=120, meanwhile=kill)


def moved(run: Golden, rng: random.Random) -> None:
    """A run that is rescaled to two and three tasks, moved to RocksDB, and upgraded with views that go again."""
    first, second, third, fourth = sorted(rng.sample(range(200, len(EVENTS) - 200), 4))
    extended = project_of(run.extended)
    lifecycle.start(run.project, run.settings, **CHECKPOINTS)
    run.send(first)
    with pytest.raises(PenstockError, match="not those of the running job"):
        upgrade.rescale(extended, run.settings, 2)
    done = upgrade.rescale(run.project, run.settings, 2)
    assert (done.options.parallelism, done.options.checkpoint_interval_ms) == (2, 500), "an option was forgotten"
    run.send(second)
    with pytest.raises(PenstockError, match="not committed"):
        upgrade.upgrade(extended, run.settings)
    export(extended.forms, extended.schemas)
    done = upgrade.upgrade(extended, run.settings)
    assert (set(done.added), done.removed) == ({"dear@1", "by_till@1"}, ())
    run.send(third)
    done = upgrade.upgrade(run.project, run.settings)
    assert (done.added, set(done.removed)) == ((), {"dear@1", "by_till@1"})
    run.send(fourth)
    savepoint = lifecycle.stop(run.project, run.settings)
    lifecycle.start(
        run.project, run.settings, savepoint=savepoint, parallelism=3, state_backend="rocksdb", **CHECKPOINTS
    )


def verdict(*files: Path) -> dict[str, Any]:
    """The output of the verifier's process."""
    command = [sys.executable, "-m", "tests.integration.golden_verifier", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.timeout(600)
def test_a_killed_rescaled_or_upgraded_job_computes_the_same_values_as_an_undisturbed_one(
    stack: Stack, folder: Path, suffix: str
) -> None:
    rng = random.Random(SEED)
    clean, other, shot = (Golden(folder, f"{name}_{suffix}") for name in ("clean", "moved", "shot"))

    lifecycle.start(clean.project, clean.settings, **CHECKPOINTS)
    clean.finish()
    moved(other, rng)
    other.finish()
    killed(shot, stack, rng)
    shot.finish()

    report = verdict(clean.file, other.extended, shot.file)
    assert not [wrong for run in report.values() for wrong in run["wrong"]], report
    golden, moves, kills = report.values()
    assert golden["attempts"] == 1
    assert moves["attempts"] >= 3, "too few savepoints had anything to go on with"
    assert kills["attempts"] == 4, "each kill makes it begin again once"
    assert min(run["last_vectors"] for run in report.values()) >= 5, "too few entities that the topic is not keyed by"
    assert kills["emitted"] > golden["emitted"], "nothing was emitted again"
    assert min(run["same"] for run in report.values()) >= golden["emitted"]
    assert min(run["checked"] for run in report.values()) > 10_000
