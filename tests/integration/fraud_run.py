"""Runs the fraud example on a stack: its job, sinks, model, scorer and producer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from backfill.parity.check import check_parity
from backfill.parity.kafka import kafka_sources
from backfill.parity.report import as_json
from backfill.parity.sources import Range
from deploy.local.stack import Stack
from examples.demo.command_runner import CommandRunner
from examples.demo.producer import DemoProducer
from examples.fraud.delivery import messages
from examples.fraud.pipeline import pipeline as fraud
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from penstock.settings import Settings
from streams.inprocess.features_of import shared_kernel
from streams.plan.project import open_project
from tests.integration.catching_up import await_caught_up
from verify.report import PipelineReport
from verify.verifier import verify

COMMANDS = {
    "sink-redis": ("sink", "run", "redis", "fraud"),
    "sink-cassandra": ("sink", "run", "cassandra", "fraud"),
    "scorer": ("scorer", "run", "fraud"),
    "drift": ("drift", "run", "fraud"),
}
SERVING = ("sink-redis", "sink-cassandra", "scorer")


class Run:
    """The running fraud pipeline, for tests; created by :func:`running`."""

    def __init__(self, services: CommandRunner, kafka: KafkaAccess, seed: int, backfill: Path) -> None:
        self.backfill = backfill
        self.services = services
        self.lag = Lag(kafka)
        self.upstream = DemoProducer(kafka)
        self.messages = messages(seed)
        self.event_times: list[int] = []
        self._seed = seed

    def start(self, name: str) -> None:
        """Start one of :data:`COMMANDS`. From the main thread: a service ends with the thread that started it."""
        self.services.start(name, *COMMANDS[name])

    def produce(self, count: int, per_second: float | None = None) -> None:
        """Publish the next messages of the simulation."""
        batch = list(islice(self.messages, count))
        self.upstream.produce(batch, per_second=per_second, tick=lambda: None)
        self.event_times += [m.event_time_ms for m in batch if m.kind == "event" and m.event_time_ms is not None]

    def await_features(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until the job has processed everything published."""
        self._await(meanwhile, "features", fraud.source.topic)

    def await_all(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until job, scorer and sinks have processed everything published."""
        self.await_features(meanwhile)
        self._await(meanwhile, "scorer", fraud.features_topic)
        self._await(meanwhile, "sink-redis", fraud.features_topic)
        self._await(meanwhile, "sink-cassandra", fraud.features_topic)
        self._await(meanwhile, "sink-cassandra", fraud.predictions_topic, markers=1)

    def await_drift(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until the detectors have processed everything published and saved their state."""
        self._await(meanwhile, "drift", fraud.features_topic)
        self._await(meanwhile, "drift", fraud.predictions_topic, markers=1)

    def verified_report(self) -> PipelineReport:
        """The verifier's report; asserts that all checks passed."""
        report = verify(open_project("fraud"), Settings(), None, seed=self._seed)
        assert report.failures() == [], report.examples
        return report

    def require_parity(self, report: PipelineReport) -> None:
        """Assert that all that was served, since the first event, can be recomputed or has a cause."""
        project, settings = open_project("fraud"), Settings()
        whole = Range(0, max(self.event_times) + 1)
        parity = check_parity(project, kafka_sources(project, settings, 0), whole, shared_kernel())
        assert parity.unexplained == 0, as_json(parity, [fraud.source.topic])
        assert parity.findings.values >= report.features_total

    def _await(self, meanwhile: Callable[[], None], role: str, topic: str, markers: int = 0) -> None:
        await_caught_up(self.lag, f"penstock-fraud-{role}", topic, meanwhile, markers=markers)


@contextmanager
def environment_of(stack: Stack, folder: Path, keyspace: str) -> Iterator[dict[str, str]]:
    """The variables of the stack and of the pipeline's key, set in this process and for its child processes."""
    key = folder / "pii.key"
    key.write_text("a key of the tests, long enough to be one")
    key.chmod(0o600)
    variables = {
        **stack.environment(),
        "PENSTOCK_CASSANDRA_KEYSPACE": keyspace,
        "PENSTOCK_PII_KEY_FILE": str(key),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


@contextmanager
def running(
    environment: dict[str, str], logs: Path, *, seed: int, train: int, commands: Iterable[str] = SERVING
) -> Iterator[Run]:
    """The pipeline with a model trained on the first ``train`` messages; stopped with a savepoint at the end."""
    with CommandRunner(environment, logs) as services:
        services.call("topics", "topics", "create", "fraud")
        services.call("job-start", "job", "start", "fraud", "--checkpoint-interval-ms", "2000")
        run = Run(services, Settings().kafka.access, seed, logs / "backfill")
        with run.lag:
            run.produce(train)
            run.await_features()
            first, last = min(run.event_times), max(run.event_times)
            features = str(run.backfill)
            times = ("--from", str(first), "--to", str(last + 1))
            services.call("backfill", "backfill", "run", "fraud", *times, "--out", features)
            services.call("train", "model", "train", "fraud", "--backfill", features, "--until", str(last))
            services.call("load", "model", "load", "fraud")
            for name in commands:
                run.start(name)
            yield run
            services.call("job-stop", "job", "stop", "fraud")
