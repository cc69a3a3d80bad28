"""Runs the commands of docker-compose.yml without containers: entry point, command, variables and health check.

The images' own programs are replaced by those of the locked environments, addresses in the network by local ones.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.ports import Ports
from deploy.local.services.flink import flink_home
from deploy.local.stack import Stack
from penstock.paths import ROOT, VENVS, java_home
from penstock.settings import Settings
from scoring.repository import ModelRepository
from streams.definitions.pipeline import Pipeline
from streams.drift.drift_reference import DriftReference, MonitorReference, Thresholds
from streams.flink import lifecycle
from streams.plan.project import open_project
from tests.scoring.scorer_bench import DEFINITION, add_model, unload_model, wait_for
from tests.streams.drift.references import add_reference

_SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
_LASTING = ("fraud-sink-redis", "fraud-sink-cassandra", "fraud-scorer", "fraud-drift", "fraud-rollout")
_PORT = "9464"


class Container:
    """A service of docker-compose.yml as a local process, for a pipeline other than `fraud`."""

    def __init__(self, name: str, reference: Path, variables: dict[str, str], folder: Path) -> None:
        self.service = _SERVICES[name]
        self.port = str(Ports.free()["kafka"])
        self._log = folder / f"{name}.log"
        environment = self.service["environment"]
        unmapped = {"PENSTOCK_METRICS_PORT", "PENSTOCK_METRICS_HOST", "PENSTOCK_PII_KEY_FILE"}
        assert set(environment) <= set(variables) | unmapped
        self.bin = VENVS / ("jobs" if self.service["image"].startswith("penstock-jobs") else "services") / "bin"
        # As the image: nothing but its own programs and Java; as compose: its own variables alone.
        self._environment = {"PATH": f"{self.bin}:/usr/bin:/bin", "JAVA_HOME": str(java_home()), "HOME": str(folder)}
        self._environment |= {key: value for key, value in variables.items() if key in environment}
        self._environment |= {key: variables[key] for key in _FROM_IMAGE if "jobs" in self.service["image"]}
        self._environment |= {"PENSTOCK_CASSANDRA_KEYSPACE": variables["PENSTOCK_CASSANDRA_KEYSPACE"]}
        if "PENSTOCK_METRICS_PORT" in environment:
            self._environment |= {"PENSTOCK_METRICS_PORT": self.port, "PENSTOCK_METRICS_HOST": "127.0.0.1"}
        arguments = [str(reference) if word == "fraud" else word for word in self.service["command"]]
        self._command = [str(self.bin / "penstock"), *arguments]

    def once(self) -> str:
        """Run it to its end; returns its output."""
        done = subprocess.run(
            self._command, env=self._environment, capture_output=True, text=True, check=False, timeout=240, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log, cwd="/")

    def healthy(self) -> bool:
        assert self.process.poll() is None, self.log()
        return _check(self.service, self._environment, {_PORT: self.port}) == 0

    def stop(self) -> int:
        """Stop it as a container engine does, within its grace period."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(float(self.service["stop_grace_period"].removesuffix("s")))

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


# Variables that jobs.Dockerfile sets.
_FROM_IMAGE = ("PENSTOCK_FLINK_HOME", "PENSTOCK_FLINK_CONF_DIR", "PENSTOCK_FLINK_STATE", "PENSTOCK_JARS")


def _check(service: dict[str, Any], environment: dict[str, str], places: dict[str, str]) -> int:
    """The exit status of a service's health check, with addresses replaced."""
    command = service["healthcheck"]["test"][1:]
    for old, new in places.items():
        command = [word.replace(old, new) for word in command]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=30).returncode


@pytest.fixture(scope="module")
def fraud(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Container]]:
    """The containers of the profiles `fraud` and `scoring`, in the order of their dependencies."""
    folder = tmp_path_factory.mktemp("containers")
    variables = {**stack.environment(), "PENSTOCK_CASSANDRA_KEYSPACE": "containers"}
    reference = _define(folder)
    containers = {
        name: Container(name, reference, variables, folder)
        for name in _SERVICES
        if name.startswith("fraud-") and name != "fraud-events"
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        settings, project = Settings(), open_project(str(reference))
        pipeline = project.pipeline
        try:
            add_model(pipeline, settings)
            _add_drift_reference(pipeline, settings)
            containers["fraud-topics"].once()
            containers["fraud-job"].once()
            containers["fraud-model"].once()
            for name in _LASTING:
                containers[name].start()
            yield containers
        finally:
            for name in _LASTING:
                if (process := getattr(containers[name], "process", None)) is not None and process.poll() is None:
                    process.kill()
            lifecycle.cancel(project, settings)
            unload_model(pipeline, settings)


@pytest.mark.parametrize("name", _LASTING)
def test_a_service_starts_by_its_command_and_passes_its_health_check(fraud: dict[str, Container], name: str) -> None:
    wait_for(fraud[name].healthy, 90, f"{name} to be healthy")


def test_one_off_commands_can_run_again_and_change_nothing_that_exists(fraud: dict[str, Container]) -> None:
    assert "created" not in fraud["fraud-topics"].once()
    assert "is already running" in fraud["fraud-job"].once()
    assert "Triton serves" in fraud["fraud-model"].once()


@pytest.mark.parametrize("name", _LASTING)
def test_a_service_stops_when_asked_and_its_health_check_then_fails(fraud: dict[str, Container], name: str) -> None:
    container = fraud[name]
    wait_for(container.healthy, 90, f"{name} to be healthy")
    assert container.stop() == 0, container.log()
    assert _check(container.service, {"PATH": f"{container.bin}:/usr/bin"}, {_PORT: container.port}) != 0


def test_the_command_that_sends_the_examples_messages_works(stack_environment: dict[str, str]) -> None:
    service = _SERVICES["fraud-events"]
    # With the flights example, because other tests count the records on the topics of the fraud example.
    words = ["flights" if word == "fraud" else word for word in (*service["entrypoint"], *service["command"])]
    environment = {**stack_environment, "PATH": f"{VENVS / 'services' / 'bin'}:/usr/bin:/bin"}
    for command in (["penstock", "topics", "create", "flights"], [*words, "--messages", "200"]):
        program = shutil.which(command[0], path=environment["PATH"])
        done = subprocess.run(
            [str(program), *command[1:]], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert " event" in done.stdout


def test_flink_starts_with_the_configuration_of_its_image_and_passes_its_health_checks(
    stack: Stack, suffix: str, tmp_path: Path
) -> None:
    ports, home = Ports.free(), flink_home()
    places = {
        "zookeeper:2181": f"127.0.0.1:{stack.ports['zookeeper']}",
        "/opt/venv/bin/python": str(VENVS / "jobs" / "bin" / "python"),
        "/data/flink": str(tmp_path / "data"),
        '"jobmanager"': '"127.0.0.1"',
        "0.0.0.0": "127.0.0.1",
        '"6123"': f'"{ports["flink_rpc"]}"',
        '"6124"': f'"{ports["flink_blob"]}"',
        '"8081"': f'"{ports["flink_rest"]}"',
        '"9249"': f'"{ports["jobmanager_metrics"]}-{ports["jobmanager_metrics"] + 1}"',
    }
    conf = tmp_path / "conf"
    shutil.copytree(home / "conf", conf)
    for file in (ROOT / "deploy" / "images").glob("log4j-*.properties"):
        shutil.copy(file, conf)
    text = (ROOT / "deploy" / "images" / "flink-config.yaml").read_text(encoding="utf-8")
    for old, new in places.items():
        assert old in text
        text = text.replace(old, new)
    # A cluster other than the stack's, in the same ZooKeeper.
    (conf / "config.yaml").write_text(f'{text}high-availability.cluster-id: "/{suffix}"\n', encoding="utf-8")
    environment = {
        "PATH": f"{VENVS / 'jobs' / 'bin'}:{home / 'bin'}:/usr/bin:/bin",
        "JAVA_HOME": str(java_home()),
        "FLINK_HOME": str(home),
        "FLINK_CONF_DIR": str(conf),
        "FLINK_LOG_DIR": str(tmp_path / "log"),
        "FLINK_PID_DIR": str(tmp_path / "pid"),
    }
    address = f"127.0.0.1:{ports['flink_rest']}"
    rest = {"jobmanager:8081": address, "127.0.0.1:8081": address}
    with _running("jobmanager", environment, tmp_path), _running("taskmanager", environment, tmp_path):
        for name in ("jobmanager", "taskmanager"):
            wait_for(lambda name=name: _check(_SERVICES[name], environment, rest) == 0, 120, f"{name} to be healthy")
    assert not (tmp_path / "log").exists() or not any((tmp_path / "log").iterdir())  # logs go to the console alone


@contextmanager
def _running(name: str, environment: dict[str, str], folder: Path) -> Iterator[None]:
    """The command of a Flink container, ended afterwards."""
    program = shutil.which(_SERVICES[name]["command"][0], path=environment["PATH"])
    assert program is not None
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_SERVICES[name]["command"][1:]], env=environment, stdout=log, stderr=log, cwd=folder
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_redis_starts_by_its_command_and_passes_its_health_check(tmp_path: Path) -> None:
    port, service = str(Ports.free()["redis"]), _SERVICES["redis"]
    command = [*service["command"], "--port", port, "--bind", "127.0.0.1"]
    environment = {"PATH": os.environ["PATH"]}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    try:
        _await_port(int(port))
        client, *words = service["healthcheck"]["test"][1:]
        asked = [client, "-p", port, *words]
        assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "PONG\n"
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def _define(folder: Path) -> Path:
    suffix = secrets.token_hex(4)
    text = DEFINITION.format(suffix=suffix, partitions=2)
    text = text.replace("import ENTITY", "import Monitors, ENTITY").replace(
        "    model=Model(", '    monitors=Monitors(inputs=("activity.count_1h",), window=100),\n    model=Model('
    )
    path = folder / f"taps_{suffix}.py"
    path.write_text(text, encoding="utf-8")
    return path


def _add_drift_reference(pipeline: Pipeline, settings: Settings) -> None:
    """The files that training writes beside the model."""
    monitors = pipeline.monitors
    assert monitors is not None
    thresholds = Thresholds(adwin_delta=0.002, page_hinkley=50.0, psi=0.5, kl=0.5, missing=0.5)
    seen = {"rows": 1_000, "mean": 0.5, "std": 1.0, "edges": (0.5,), "shares": (0.5, 0.5, 0.0)}
    reference = DriftReference(
        pipeline=pipeline.name,
        model=pipeline.model.name,
        until_ms=0,
        window=monitors.window,
        false_alarm_every=monitors.false_alarm_every,
        seed=0,
        monitors=tuple(MonitorReference(name=name, thresholds=thresholds, **seen) for name in monitors.names()),
    )
    add_reference(ModelRepository(settings.model_repository), reference)
