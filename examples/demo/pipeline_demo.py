"""Runs the demo of one pipeline: backfill the history and train on it, a burst, live traffic, and rollouts under it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from pydantic import BaseModel

from deploy.local.services.service import HOST
from examples.demo.command_runner import CommandRunner
from examples.demo.consumer_lag import CASSANDRA, DRIFT, JOB, QUALITY, REDIS, SCORER, ConsumerLags
from examples.demo.job_progress import JobProgress
from examples.demo.loop_act import QUIET, Expected, LoopAct
from examples.demo.output_readers import AlertReader, PredictionReader
from examples.demo.producer import DemoProducer
from examples.demo.rollout_act import Candidate, RolloutAct, Traffic
from examples.demo.rollout_record import Rollouts
from examples.demo.screen import RATE_WINDOW_S, Screen
from examples.demo.timeline import Recorder, Timeline
from examples.messages import Message
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.running.figures import Meter
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from verify.measured import Measured

_POLL_S = 0.25
_STALL_S = 90.0


@dataclass(frozen=True)
class DemoParameters:
    """The demo's parameters for one pipeline.

    ``train``, ``burst`` and ``live`` are numbers of messages. ``drift_from_ms`` is the event time at which the
    generated data drifts, None without drift. ``expected`` says what its alerts must lead to after the live phase; then
    ``candidates`` are rolled out. Traffic goes on meanwhile: ``shadow_per_second`` messages while the cause is sought
    and a version is in shadow, and ``live_per_second`` otherwise.
    """

    pipeline: str
    messages: Callable[[], Iterator[Message]]
    seed: int
    train: int
    burst: int
    live: int
    live_per_second: float = 400.0
    drift_from_ms: int | None = None
    expected: Expected | None = None
    candidates: tuple[Candidate, ...] = ()
    shadow_per_second: float = 1_500.0


@dataclass(frozen=True)
class DemoResult:
    """The measurements of a run, for the verifier and the report.

    ``backfills`` are the folders of its Parquet files; ``rollouts`` is None if nothing was rolled out. ``incident`` is
    the one whose cause was found, None if none was sought. The run began at ``began_ms``, epoch ms.
    """

    measured: Measured
    timeline: Timeline
    backfills: tuple[Path, ...]
    began_ms: int
    rollouts: Rollouts | None = None
    incident: str | None = None


def run_pipeline_demo(
    parameters: DemoParameters, environment: dict[str, str], job_metrics: str, folder: Path, screen: Screen
) -> DemoResult:
    """Run one pipeline from empty topics until all consumers have caught up, and return the measurements.

    ``job_metrics`` is the URL of the TaskManager's metrics page.

    Raises:
        PenstockError: if a component fails, or no consumer makes progress for 90 seconds.
    """
    pipeline = load_pipeline(parameters.pipeline)
    kafka = KafkaAccess(bootstrap=environment["PENSTOCK_KAFKA_BOOTSTRAP"])
    name = parameters.pipeline
    with CommandRunner(environment, folder / "logs", screen.refresh) as commands:
        screen.state.pipeline = name
        screen.step(f"{name}: topics and feature job")
        commands.call("topics", "topics", "create", name)
        commands.call("job-start", "job", "start", name)
        lags = ConsumerLags(pipeline, kafka, JobProgress(f"penstock-{name}", job_metrics))
        demo = _PipelineDemo(parameters, pipeline, commands, screen, kafka, lags, folder / "backfill")
        try:
            commands.start("sink-redis", "sink", "run", "redis", name)
            commands.start("sink-cassandra", "sink", "run", "cassandra", name)
            return demo.run()
        finally:
            commands.stop_all()
            if demo.job_runs:
                commands.call("job-stop", "job", "stop", name)
            screen.finish()


class _PipelineDemo:
    """The demo of one pipeline, whose feature job was started. ``job_runs`` until :meth:`run` stops it."""

    def __init__(
        self,
        parameters: DemoParameters,
        pipeline: Pipeline,
        commands: CommandRunner,
        screen: Screen,
        kafka: KafkaAccess,
        lags: ConsumerLags,
        backfill: Path,
    ) -> None:
        self.job_runs = True
        self._parameters = parameters
        self._pipeline = pipeline
        self._commands = commands
        self._screen = screen
        self._kafka = kafka
        self._backfill = backfill
        self._backfills = [backfill]
        self._lags = lags
        self._producer = DemoProducer(kafka)
        self._predictions: PredictionReader | None = None
        self._alerts: AlertReader | None = None
        self._act: RolloutAct | None = None
        self._incident: str | None = None
        self._began, self._began_ms = time.monotonic(), time.time_ns() // 1_000_000
        self._recorder = Recorder(self._began)
        self._polled_at = 0.0
        state = screen.state
        state.meters = {}
        state.lags, state.latencies_ms, state.high_scores, state.alerts, state.rollout = {}, (), (), (), None

    def run(self) -> DemoResult:
        parameters, name = self._parameters, self._parameters.pipeline
        messages = parameters.messages()
        self._lags.add(REDIS, CASSANDRA)
        self.begin("history", "produce the history")
        self.produce(islice(messages, parameters.train), None)
        assert self._producer.event_times is not None
        begin, until = self._producer.event_times
        out = str(self._backfill)
        self.begin("backfill", "backfill the history's features to Parquet")
        # It reads the raw events: it needs nothing of what the job and the sinks are still doing.
        self.call("backfill", "run", name, "--from", str(begin), "--to", str(until + 1), "--out", out)
        self.begin("train", "train a model on three quarters of the history, and judge it on the rest")
        trained_until, seed = begin + (until - begin) * 3 // 4, str(parameters.seed)
        self.call("model", "train", name, "--backfill", out, "--until", str(trained_until), "--seed", seed)
        # The demo shows what the gates say, and goes on whatever it is.
        self.call("model", "promote", name, "1", "--backfill", out, "--override", "the first model of a demo")
        self.call("model", "card", name, "1", "--out", str(self._backfill.with_name("card.html")))
        self._predictions = PredictionReader(
            self._kafka, self._pipeline.predictions_topic, self._pipeline.model.positive
        )
        try:
            measured = self._score(messages, trained_until)
            rollouts = None if self._act is None else self._act.record(self._began, self._began_ms)
        finally:
            self._predictions.stop()
            for reader in (self._alerts, self._act):
                if reader is not None:
                    reader.close()
            self._lags.close()
        timeline = self._recorder.timeline(time.monotonic())
        return DemoResult(measured, timeline, tuple(self._backfills), self._began_ms, rollouts, self._incident)

    def _score(self, messages: Iterator[Message], trained_until: int) -> Measured:
        parameters, name, predictions = self._parameters, self._parameters.pipeline, self._predictions
        assert predictions is not None
        self._commands.start("scorer", "scorer", "run", name)
        self._lags.add(SCORER)
        final_consumers = [REDIS, CASSANDRA]
        if self._pipeline.monitors is not None:
            self._commands.start("drift", "drift", "run", name)
            self._lags.add(DRIFT)
            self._alerts = AlertReader(self._kafka, self._pipeline.drift_topic)
            final_consumers.append(DRIFT)
        self.begin("score", "score the history")
        self._wait("predictions of the history", JOB, SCORER)
        self._wait("the sinks and the detectors", *final_consumers)

        self.begin("burst", "a burst, without a rate limit")
        before, started = predictions.count, time.monotonic()
        self.produce(islice(messages, parameters.burst), None)
        self._wait("predictions of the burst", JOB, SCORER)
        per_second = (predictions.count - before) / max(predictions.last_arrival - started, 1e-3)
        self._wait("the sinks and the detectors", *final_consumers)

        self.begin("live", f"live traffic at {parameters.live_per_second:,.0f} messages/s")
        predictions.recent_ms.clear()
        predictions.measuring = True
        self.produce(islice(messages, parameters.live), parameters.live_per_second)
        rollouts_from = self._answer_alerts(messages)
        if self._act is not None:
            final_consumers.append(QUALITY)
        self.begin("catch up", "stop the job with a savepoint")
        self._wait("features of the live events", JOB)
        # When it has stopped, all that it has computed is on the features topic.
        self.job_runs = False
        self.call("job", "stop", name)
        if self._act is not None:
            # Another version scores now: the incident ends.
            self.call("incidents", "watch", name, *QUIET)
        self.step("wait until all consumers have caught up")
        self._wait("predictions of the live events", SCORER)
        self._wait("the sinks and the detectors", *final_consumers)
        predictions.measuring = False
        return Measured(
            events_per_s=round(per_second, 1),
            latencies_ms=predictions.latencies_ms,
            trained_until_ms=trained_until,
            drift_from_ms=parameters.drift_from_ms,
            rollouts_from_ms=rollouts_from,
        )

    def _answer_alerts(self, messages: Iterator[Message]) -> int | None:
        """Find out why alerts came, and roll out what was trained anew, and the candidates.

        Returns the event time from which on other versions scored, too; None if none did.
        """
        parameters, predictions = self._parameters, self._predictions
        assert predictions is not None
        if parameters.expected is None:
            return None
        self._wait("predictions of the live events", JOB, SCORER)
        predictions.measuring = False
        traffic = Traffic(messages, parameters.shadow_per_second, parameters.live_per_second)
        if parameters.expected.rollout is not None:
            # From here on, and not before: the burst is to measure what it has always measured.
            self._commands.start("quality", "quality", "run", self._pipeline.name)
            self._lags.add(QUALITY)
        folder = self._backfill.with_name("retrain")
        loop = LoopAct(parameters.expected, self._pipeline, self._kafka, self, folder)
        self.begin("cause", "find out why alerts came")
        incident = loop.find_cause(traffic)
        self._incident = incident.id
        assert incident.diagnosis is not None
        self.begin("retrain", f"{incident.diagnosis.cause}: {'train anew' if incident.proposals else 'train nothing'}")
        retrained = loop.retrain(incident)
        if retrained is None:
            return None
        assert self._producer.event_times is not None
        _, latest = self._producer.event_times
        self._act = RolloutAct(self._pipeline, self._kafka, predictions, self, _free_port())
        self._act.start(self._commands)
        self.begin("rollouts", f"roll out {retrained.about}")
        self._act.follow(retrained, traffic)
        self._backfills.append(loop.backfill(incident))
        for candidate in parameters.candidates:
            self.begin("rollouts", f"roll out {candidate.about}")
            train = ("--backfill", str(self._backfill), "--seed", str(parameters.seed), *candidate.training)
            # Traffic goes on, so that labels of what the version before has scored become final.
            some = partial(islice, messages, int(_POLL_S * parameters.live_per_second))
            self.call(
                "model",
                "train",
                self._pipeline.name,
                *train,
                idle=lambda: self.produce(some(), parameters.live_per_second),  # noqa: B023
            )
            self._act.roll_out(candidate, traffic)
        return latest + 1

    def begin(self, phase: str, text: str) -> None:
        """Begin a phase of the timeline, and a step on the screen."""
        self._recorder.begin_phase(phase, time.monotonic())
        self.step(text)

    def step(self, text: str) -> None:
        """Begin a step on the screen."""
        self._screen.step(f"{self._parameters.pipeline}: {text}")

    def call(self, *command: str, code: int = 0, idle: Callable[[], None] | None = None) -> None:
        """Run a ``penstock`` command that must end with this exit code, and measure meanwhile, or do what is given."""
        self._commands.call("-".join(command[:2]), *command, idle=idle or self._tick, code=code)

    def produce(self, messages: Iterator[Message], per_second: float | None) -> None:
        """Send messages, at a rate or without limit, and measure meanwhile."""
        self._producer.produce(messages, per_second=per_second, tick=self._tick)

    def _tick(self) -> None:
        """Measure and refresh the screen, unless that was done a moment ago."""
        if time.monotonic() - self._polled_at >= _POLL_S:
            self._measure()

    def _measure(self) -> dict[str, int]:
        """Measure and refresh the screen; returns the lag of each consumer."""
        now = self._polled_at = time.monotonic()
        self._commands.check()
        produced = self._producer.counts
        lags = self._lags.lags()
        counts = {"produced": produced.total() - produced["label"], "features": self._lags.feature_records}
        state = self._screen.state
        if self._predictions is not None:
            counts["predictions"] = self._predictions.count
            self._recorder.add_arrivals(self._predictions.arrivals())
            state.latencies_ms = list(self._predictions.recent_ms)
            state.high_scores = list(self._predictions.high_scores)
        if self._alerts is not None:
            self._alerts.poll()
            counts["drift alerts"] = self._alerts.count
            state.alerts = list(self._alerts.latest)
        if self._act is not None:
            self._act.measure(now, state)
        self._recorder.add_sample(counts, lags, now)
        for stage, count in counts.items():
            state.meters.setdefault(stage, Meter(RATE_WINDOW_S)).set(count, now)
        state.lags = lags
        self._screen.refresh()
        return lags

    def _wait(self, what: str, *consumers: str) -> None:
        """Wait until none of the consumers is behind."""
        before, changed_at = -1, time.monotonic()
        while (behind := sum(lag for name, lag in self._measure().items() if name in consumers)) > 0:
            if behind != before:
                before, changed_at = behind, time.monotonic()
            elif time.monotonic() - changed_at > _STALL_S:
                raise PenstockError(
                    f"no progress for {_STALL_S:.0f} s while waiting for {what}: {behind} records behind",
                    next="read the logs in the folder of the report, and run `penstock status`",
                )
            time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def write_by_pipeline(models: Mapping[str, BaseModel], path: Path) -> None:
    """Write one model for each pipeline as a JSON document, by pipeline name."""
    path.write_text(json.dumps({name: model.model_dump() for name, model in models.items()}))
