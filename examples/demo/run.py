"""The demo's steps for each pipeline: backfill history and train on it, then a burst, then live traffic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import BaseModel

from examples.demo.consumers import CASSANDRA, DRIFT, JOB, REDIS, SCORER, Consumers
from examples.demo.producing import Upstream
from examples.demo.screen import Meter, Screen
from examples.demo.services import Services
from examples.demo.timeline import Recorder, Timeline
from examples.demo.watching import Alarms, Downstream
from examples.messages import Message
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from verify.measured import Measured

_POLL_S = 0.25
_STALL_S = 90.0


@dataclass(frozen=True)
class Script:
    """The demo's parameters for one pipeline: messages to train on, messages of a burst, live messages and their rate.

    ``drift_from_ms`` is the event time at which the generated data drifts, None without drift.
    """

    pipeline: str
    messages: Callable[[], Iterator[Message]]
    seed: int
    train: int
    burst: int
    live: int
    live_per_second: float = 400.0
    drift_from_ms: int | None = None


@dataclass(frozen=True)
class DemoOutcome:
    """The results of a run for the verifier and the report; ``backfill`` is the folder of its Parquet files."""

    measured: Measured
    timeline: Timeline
    backfill: Path


def run_pipeline_demo(script: Script, environment: dict[str, str], folder: Path, screen: Screen) -> DemoOutcome:
    """Run one pipeline from empty topics until all consumers have caught up, and return the measurements.

    Raises:
        PenstockError: if a component fails, or no consumer makes progress for 90 seconds.
    """
    pipeline = load_pipeline(script.pipeline)
    kafka = KafkaAccess(bootstrap=environment["PENSTOCK_KAFKA_BOOTSTRAP"])
    name = script.pipeline
    with Services(environment, folder / "logs", screen.refresh) as services:
        screen.state.pipeline = name
        screen.step(f"{name}: topics and feature job")
        services.call("topics", "topics", "create", name)
        services.call("job-start", "job", "start", name)
        try:
            services.start("sink-redis", "sink", "run", "redis", name)
            services.start("sink-cassandra", "sink", "run", "cassandra", name)
            return _PipelineDemo(script, pipeline, services, screen, kafka, folder / "backfill").run()
        finally:
            screen.step(f"{name}: stop the job with a savepoint")
            services.stop_all()
            services.call("job-stop", "job", "stop", name)
            screen.finish()


class _PipelineDemo:
    """The demo of one pipeline, while its feature job runs."""

    def __init__(
        self,
        script: Script,
        pipeline: Pipeline,
        services: Services,
        screen: Screen,
        kafka: KafkaAccess,
        backfill: Path,
    ) -> None:
        self._script = script
        self._pipeline = pipeline
        self._services = services
        self._screen = screen
        self._kafka = kafka
        self._backfill = backfill
        self._consumers = Consumers(pipeline, kafka)
        self._upstream = Upstream(kafka)
        self._downstream: Downstream | None = None
        self._alarms: Alarms | None = None
        self._recorder = Recorder(time.monotonic())
        self._polled_at = 0.0
        state = screen.state
        state.meters = {}
        state.lags, state.latencies_ms, state.high_scores, state.alarms = {}, (), (), ()

    def run(self) -> DemoOutcome:
        script, name = self._script, self._script.pipeline
        messages = script.messages()
        self._consumers.started(REDIS, CASSANDRA)
        self._step("history", "history, to train on")
        self._produce(islice(messages, script.train), None)
        self._wait("features of the history", JOB)
        assert self._upstream.event_times is not None
        begin, until = self._upstream.event_times
        out = str(self._backfill)
        self._step("backfill", "backfill: the same features again, from the raw events into Parquet")
        self._call("backfill", "run", name, "--from", str(begin), "--to", str(until + 1), "--out", out)
        self._step("train", "train on the backfill, load the first model")
        seed = str(script.seed)
        self._call("model", "train", name, "--backfill", out, "--until", str(until), "--seed", seed)
        self._call("model", "load", name)
        self._downstream = Downstream(self._kafka, self._pipeline.predictions_topic, self._pipeline.model.positive)
        try:
            measured = self._score(messages, until)
        finally:
            self._downstream.stop()
            if self._alarms is not None:
                self._alarms.close()
            self._consumers.close()
        return DemoOutcome(measured, self._recorder.timeline(time.monotonic()), self._backfill)

    def _score(self, messages: Iterator[Message], trained_until: int) -> Measured:
        script, name, downstream = self._script, self._script.pipeline, self._downstream
        assert downstream is not None
        self._services.start("scorer", "scorer", "run", name)
        self._consumers.started(SCORER)
        last = [REDIS, CASSANDRA]
        if self._pipeline.monitors is not None:
            self._services.start("drift", "drift", "run", name)
            self._consumers.started(DRIFT)
            self._alarms = Alarms(self._kafka, self._pipeline.drift_topic)
            last.append(DRIFT)
        self._step("score", "score the history")
        self._wait("predictions of the history", JOB, SCORER)
        self._wait("the consumers at the end", *last)

        self._step("burst", "a burst, as fast as it goes")
        before, started = downstream.count, time.monotonic()
        self._produce(islice(messages, script.burst), None)
        self._wait("predictions of the burst", JOB, SCORER)
        per_second = (downstream.count - before) / max(downstream.last_arrival - started, 1e-3)
        self._wait("the consumers at the end", *last)

        self._step("live", f"live traffic at {script.live_per_second:,.0f} messages/s")
        downstream.recent_ms.clear()
        downstream.measuring = True
        self._produce(islice(messages, script.live), script.live_per_second)
        self._step("catch up", "let every consumer catch up")
        self._wait("predictions of the live events", JOB, SCORER)
        downstream.measuring = False
        self._wait("the consumers at the end", *last)
        return Measured(
            events_per_s=round(per_second, 1),
            latencies_ms=downstream.latencies_ms,
            trained_until_ms=trained_until,
            drift_from_ms=script.drift_from_ms,
        )

    def _step(self, phase: str, text: str) -> None:
        self._recorder.phase(phase, time.monotonic())
        self._screen.step(f"{self._script.pipeline}: {text}")

    def _call(self, *command: str) -> None:
        self._services.call("-".join(command[:2]), *command, idle=self._tick)

    def _produce(self, messages: Iterator[Message], per_second: float | None) -> None:
        self._upstream.produce(messages, per_second=per_second, tick=self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._polled_at < _POLL_S:
            return
        self._polled_at = now
        self._services.check()
        produced = self._upstream.counts
        counts = {"produced": produced.total() - produced["label"], "features": self._consumers.features()}
        lags = self._consumers.lags()
        state = self._screen.state
        if self._downstream is not None:
            counts["predictions"] = self._downstream.count
            self._recorder.arrived(self._downstream.arrivals())
            state.latencies_ms = list(self._downstream.recent_ms)
            state.high_scores = list(self._downstream.high_scores)
        if self._alarms is not None:
            self._alarms.look()
            counts["drift alerts"] = self._alarms.count
            state.alarms = list(self._alarms.latest)
        self._recorder.sample(counts, lags, now)
        for stage, count in counts.items():
            state.meters.setdefault(stage, Meter()).set(count, now)
        state.lags = lags
        self._screen.refresh()

    def _wait(self, what: str, *consumers: str) -> None:
        left, moved_at = self._consumers.behind(consumers), time.monotonic()
        while left > 0:
            self._tick()
            time.sleep(_POLL_S / 2)
            now_left = self._consumers.behind(consumers)
            if now_left != left:
                left, moved_at = now_left, time.monotonic()
            elif time.monotonic() - moved_at > _STALL_S:
                raise PenstockError(
                    f"nothing has moved for {_STALL_S:.0f} s while waiting for {what}: {left} records behind",
                    next="read the logs in the folder of the report, and run `penstock status`",
                )
        self._tick()


def write_by_pipeline(facts: Mapping[str, BaseModel], path: Path) -> None:
    """Write data about each pipeline as one JSON document, for the verifier and for readers."""
    path.write_text(json.dumps({name: one.model_dump() for name, one in facts.items()}))
