"""Runs every service of a pipeline, each as its own user, until all have caught up."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local.ports import Ports
from examples.demo.command_runner import CommandRunner
from penstock.kafka.lag import Lag
from penstock.kafka.names import group_of
from penstock.settings import Settings
from scoring.repository import ModelRepository
from streams.definitions.pipeline import Pipeline
from tests.scoring.scorer_bench import add_model
from tests.security.payments import add_reference


class Access(Protocol):
    """How each part of a pipeline gets into the servers."""

    def environment(self, part: str) -> dict[str, str]:
        """The variables of a part's process."""

    def settings(self, part: str) -> Settings:
        """The settings of a part's process."""


@dataclass(frozen=True)
class OpenAccess:
    """Servers that know no users: every part has the settings of this process."""

    def environment(self, _part: str) -> dict[str, str]:
        """No variables but those of this process."""
        return {}

    def settings(self, _part: str) -> Settings:
        """The settings of this process."""
        return Settings()


def serve(pipeline: Pipeline, file: Path, servers: Access, logs: Path, cleanup: ExitStack) -> list[str]:
    """Load a given model without training, and run sinks, scorer and drift until they have caught up.

    The job must be running. Returns the services' metrics pages.
    """
    operating = servers.settings("operator")
    operating.model_repository.mkdir(exist_ok=True)
    add_model(pipeline, operating)
    add_reference(pipeline, ModelRepository(operating.model_repository))
    ports = Ports.free()
    commands = {
        "sink-redis": (("sink", "run", "redis"), ports["redis"]),
        "sink-cassandra": (("sink", "run", "cassandra"), ports["cassandra"]),
        "scorer": (("scorer", "run", "--deadline-ms", "10000"), ports["triton_grpc"]),
        "drift": (("drift", "run"), ports["kafka"]),
    }
    operator = cleanup.enter_context(CommandRunner(servers.environment("operator"), logs))
    operator.call("load", "model", "load", str(file))
    started = [operator]
    for part, (command, port) in commands.items():
        started.append(cleanup.enter_context(CommandRunner(servers.environment(part), logs)))
        started[-1].start(part, *command, str(file), "--metrics-port", str(port))
    lag = cleanup.enter_context(Lag(servers.settings("admin").kafka.access))
    features, predictions = pipeline.features_topic, pipeline.predictions_topic
    waits = [("features", source.topic, 0) for source in pipeline.sources]
    waits += [("sink-redis", features, 0), ("scorer", features, 0)]
    waits += [("sink-cassandra", features, 0), ("sink-cassandra", predictions, 1)]
    waits += [("drift", features, 0), ("drift", predictions, 1)]
    deadline = time.monotonic() + 120
    for role, topic, markers in waits:
        group = group_of(pipeline.name, role)
        while any(left > markers for left in lag.of_group(group, topic).values()):
            assert time.monotonic() < deadline, f"{role} did not catch up on {topic}: see {logs}"
            for services in started:
                services.check()
            time.sleep(0.2)
    return [f"http://127.0.0.1:{port}/metrics" for _, port in commands.values()]
