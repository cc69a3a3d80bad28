"""Runs one part of the pipeline as users do, and measures how many events it does in a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.names import Topic, group_of
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from streams.definitions.loading import load_pipeline
from tests.bench.engine import process_cpu
from tests.bench.pipeline.definition import PARTITIONS, define

PARTS = ("job", "redis", "cassandra", "scorer", "drift")
COMMANDS = {
    "redis": ("sink", "run", "redis"),
    "cassandra": ("sink", "run", "cassandra"),
    "scorer": ("scorer", "run"),
    "drift": ("drift", "run"),
}
_SERVERS = {"redis": "redis", "cassandra": "cassandra", "scorer": "triton"}
EVERY_PART = tuple(COMMANDS)
"""All parts but the job."""
_GROUPS = {"redis": "sink-redis", "cassandra": "sink-cassandra"}
# The marker at the end of a transaction takes an offset, too; with hundreds of results before it, it does not count.
_OFFSETS_PER_RESULT = {"per_message_exactly_once": 2}
_START_S = 90.0
_LONGEST_S = 300.0
_POLL_S = 0.1
# What a part does last waits for its next commit.
_TAIL = 0.03


@dataclass(frozen=True)
class Rate:
    """Events per second, and the CPU time of an event in microseconds: of the part, of its server and of the broker."""

    events_per_s: float
    seconds: float
    cpu_us: Mapping[str, float]


class Sample(NamedTuple):
    """How many events were done at a time, and the CPU time used until then."""

    at: float
    done: int
    cpu_s: Mapping[str, float]


class Pipeline:
    """The pipeline that is measured, as run by a working copy of the code.

    Args:
        code: The working copy.
        stack: The running stack, whose addresses are in the environment.
        folder: Where its definition and the logs go.
        name: The pipeline's name; its topics must not exist.
        before: Whether the code is that of the commit that is compared with.
    """

    def __init__(self, code: Path, stack: Stack, folder: Path, name: str, *, before: bool = False) -> None:
        self._code, self._stack, self._folder = code, stack, folder
        self.file = define(folder / "definitions", name)
        self.definition = load_pipeline(str(self.file))
        self.name = name
        self.settings = Settings()
        self._run("topics", "create", str(self.file))
        models = [sys.executable, str(Path(__file__).with_name("models.py")), str(self.file)]
        self.call([*models, "--before"] if before else models)
        self._run("model", "load", str(self.file))

    @contextmanager
    def job(self) -> Iterator[int]:
        """Run the job; gives the process id of the TaskManager."""
        self._run("job", "start", str(self.file))
        try:
            yield self._stack.pid("taskmanager")
        finally:
            self._run("job", "stop", str(self.file))

    def part(self, part: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run one of the other parts."""
        return self.process(part, [sys.executable, "-m", "penstock", *COMMANDS[part], str(self.file)])

    @contextmanager
    def process(self, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process with this code on its path; its output goes to a log of this name."""
        with (self._folder / f"{self.name}.{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._code, env=self._environment())
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def measure(self, part: str, warm_s: float, seconds: float) -> Rate:
        """Run a part on what its topics hold, until nearly all is done or the time is over."""
        features, predictions = self.definition.features_topic, self.definition.predictions_topic
        if part == "job":
            with Lag(self.settings.kafka.access) as lag, self.job() as pid:
                total = sum(lag.end_offsets(self.definition.source.topic).values())
                pids = {"part": pid, "broker": self._stack.pid("kafka")}
                # To the end, as the other parts need its features.
                taken = self._samples(lambda: _end(lag, features), pids, total, warm_s, _LONGEST_S, lambda: None)
            return rate_of(taken)
        topic, group = predictions if part == "drift" else features, group_of(self.name, _GROUPS.get(part, part))
        # Kafka tells the offsets of a transaction only between two of them, and the scorer always has one open.
        done = _written_to(predictions) if part == "scorer" else _committed_by(group, topic)
        return self.follow(self.part(part), done, topic, _SERVERS.get(part), warm_s, seconds)

    def follow(
        self,
        running: AbstractContextManager[subprocess.Popen[bytes]],
        done: Callable[[Lag], int],
        topic: str,
        server: str | None,
        warm_s: float,
        seconds: float,
    ) -> Rate:
        """Measure a process on the records of a topic, of which it has done so many."""
        with Lag(self.settings.kafka.access) as lag, running as process:
            pids = {"part": process.pid, "broker": self._stack.pid("kafka")}
            if server is not None:
                pids["server"] = self._stack.pid(server)
            total = _end(lag, topic)
            return rate_of(self._samples(lambda: done(lag), pids, total, warm_s, seconds, process.poll))

    def rival(self, name: str, out: str, warm_s: float, seconds: float) -> Rate:
        """Measure another way to score the features topic, of :mod:`tests.bench.scoring.rivals`."""
        features = self.definition.features_topic
        create_topics([Topic(out, PARTITIONS)], self.settings.kafka.access)
        command = [sys.executable, "-m", "tests.bench.scoring.rivals", name, str(self.file), out]
        done = _written_to(out, _OFFSETS_PER_RESULT.get(name, 1))
        return self.follow(self.process(name, command), done, features, "triton", warm_s, seconds)

    def _samples(
        self,
        done: Callable[[], int],
        pids: Mapping[str, int],
        total: int,
        warm_s: float,
        seconds: float,
        ended: Callable[[], int | None],
    ) -> list[Sample]:
        """The moments at which events were done, from the warm-up on."""
        taken: list[Sample] = []
        begin = time.monotonic()
        while not taken or (taken[-1].at < taken[0].at + warm_s + seconds and taken[-1].done < (1 - _TAIL) * total):
            count, now = done(), time.monotonic()
            if ended() is not None or (not taken and now > begin + _START_S):
                raise PenstockError(f"{self.name}: a part has ended or does nothing", where=str(self._folder))
            if now > begin + _START_S + warm_s + seconds:
                break
            if count > (taken[-1].done if taken else 0):
                taken.append(Sample(now, count, {name: process_cpu.seconds(pid) for name, pid in pids.items()}))
            time.sleep(_POLL_S)
        if len(taken) < 3:
            raise PenstockError(f"{self.name}: too few events to measure a part", where=str(self._folder))
        warm = [sample for sample in taken if sample.at >= taken[0].at + warm_s]
        # A part that was done before it was warm: the second half counts.
        return warm if len(warm) > 1 else taken[len(taken) // 2 - 1 :]

    def _run(self, *arguments: str) -> None:
        self.call([sys.executable, "-m", "penstock", *arguments])

    def call(self, command: list[str]) -> None:
        """Run a command with this code on its path."""
        result = subprocess.run(
            command,
            check=False,
            cwd=self._code,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode:
            raise PenstockError(f"{' '.join(command)} failed: {result.stdout}", where=str(self._code))

    def _environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(self._code), "PENSTOCK_JARS": str(self._code / "build" / "jars")}
        return {**os.environ, **self._stack.environment(), **own}


def _end(lag: Lag, topic: str) -> int:
    return sum(lag.end_offsets(topic).values())


def _written_to(topic: str, offsets_per_record: int = 1) -> Callable[[Lag], int]:
    """How many records a topic has, which was empty before."""
    return lambda lag: _end(lag, topic) // offsets_per_record


def _committed_by(group: str, topic: str) -> Callable[[Lag], int]:
    """How many records of a topic a group has committed."""
    return lambda lag: sum(lag.committed_offsets(group, topic).values())


def rate_of(samples: list[Sample]) -> Rate:
    """The rate between the first and the last sample."""
    first, last = samples[0], samples[-1]
    events, seconds = last.done - first.done, last.at - first.at
    cpu = {name: round(1e6 * (last.cpu_s[name] - used) / events, 1) for name, used in first.cpu_s.items()}
    return Rate(round(events / seconds), round(seconds, 1), cpu)
