"""The demo's story, for each pipeline: train on an earlier slice, replay a burst, then live traffic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from backfill.verify.measured import Measured
from examples.demo.producing import Upstream
from examples.demo.screen import Meter, Screen
from examples.demo.services import Services
from examples.demo.watching import Downstream
from examples.messages import Message
from penstock.errors import PenstockError
from penstock.kafka import KafkaAccess
from streams.definitions import Pipeline
from streams.lag import Lag
from streams.loading import load_pipeline
from streams.topics import group_of

_POLL_S = 0.25
_STALL_S = 90.0


@dataclass(frozen=True)
class Script:
    """How one pipeline is shown: messages to train on, messages in a burst, then live ones at a pace."""

    pipeline: str
    messages: Callable[[], Iterator[Message]]
    seed: int
    train: int
    burst: int
    live: int
    live_per_second: float = 400.0


def play(script: Script, environment: dict[str, str], folder: Path, screen: Screen) -> Measured:
    """Run one pipeline from empty topics to caught-up consumers, and return what was measured on the way.

    Raises:
        PenstockError: if a part fails, or nothing moves for a minute and a half.
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
            return _Act(script, pipeline, services, screen, kafka).run()
        finally:
            screen.step(f"{name}: stop the job with a savepoint")
            services.stop_all()
            services.call("job-stop", "job", "stop", name)
            screen.finish()


class _Act:
    """One pipeline's run while its job is up."""

    def __init__(
        self, script: Script, pipeline: Pipeline, services: Services, screen: Screen, kafka: KafkaAccess
    ) -> None:
        self._script = script
        self._pipeline = pipeline
        self._services = services
        self._screen = screen
        self._kafka = kafka
        self._lag = Lag(kafka)
        self._upstream = Upstream(kafka)
        self._downstream: Downstream | None = None
        self._polled_at = 0.0
        state = screen.state
        state.meters = {title: Meter() for title in ("produced", "features", "predictions")}
        state.lags, state.latencies_ms, state.high_scores = {}, (), ()

    def run(self) -> Measured:
        script, name = self._script, self._script.pipeline
        messages = script.messages()
        self._screen.step(f"{name}: history, to train on")
        self._produce(islice(messages, script.train), None)
        self._wait("features of the history", self._features_behind)
        self._screen.step(f"{name}: train and load the first model")
        until = str(self._upstream.newest_event_time)
        self._services.call("model-train", "model", "train", name, "--until", until, "--seed", str(script.seed))
        self._services.call("model-load", "model", "load", name)
        self._downstream = Downstream(self._kafka, self._pipeline.predictions_topic, self._pipeline.model.positive)
        try:
            return self._score(messages, int(until))
        finally:
            self._downstream.stop()
            self._lag.close()

    def _score(self, messages: Iterator[Message], trained_until: int) -> Measured:
        script, name, downstream = self._script, self._script.pipeline, self._downstream
        assert downstream is not None
        self._services.start("scorer", "scorer", "run", name)
        self._screen.step(f"{name}: score the history")
        self._wait("predictions of the history", self._predictions_behind)
        self._wait("the sinks", self._sinks_behind)

        self._screen.step(f"{name}: a burst, as fast as it goes")
        before, started = downstream.count, time.time()
        self._produce(islice(messages, script.burst), None)
        self._wait("predictions of the burst", self._predictions_behind)
        per_second = (downstream.count - before) / max(downstream.last_arrival - started, 1e-3)
        self._wait("the sinks", self._sinks_behind)

        self._screen.step(f"{name}: live traffic at {script.live_per_second:,.0f} messages/s")
        downstream.recent_ms.clear()
        downstream.measuring = True
        self._produce(islice(messages, script.live), script.live_per_second)
        self._wait("predictions of the live events", self._predictions_behind)
        downstream.measuring = False
        self._screen.step(f"{name}: let every consumer catch up")
        self._wait("the sinks", self._sinks_behind)
        return Measured(
            events_per_s=round(per_second, 1),
            latencies_ms=downstream.latencies_ms,
            trained_until_ms=trained_until,
        )

    def _produce(self, messages: Iterator[Message], per_second: float | None) -> None:
        self._upstream.produce(messages, per_second=per_second, tick=self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._polled_at < _POLL_S:
            return
        self._polled_at = now
        self._services.check()
        state = self._screen.state
        counts = self._upstream.counts
        state.meters["produced"].set(counts.total() - counts["label"], now)
        features = self._lag.end_offsets(self._pipeline.features_topic)
        state.meters["features"].set(sum(features.values()), now)
        state.lags["features"] = self._features_behind()
        if self._downstream is not None:
            state.meters["predictions"].set(self._downstream.count, now)
            state.lags["predictions"] = self._predictions_behind()
            state.latencies_ms = list(self._downstream.recent_ms)
            state.high_scores = list(self._downstream.high_scores)
        self._screen.refresh()

    def _wait(self, what: str, behind: Callable[[], int]) -> None:
        left, moved_at = behind(), time.monotonic()
        while left > 0:
            self._tick()
            time.sleep(_POLL_S / 2)
            now_left = behind()
            if now_left != left:
                left, moved_at = now_left, time.monotonic()
            elif time.monotonic() - moved_at > _STALL_S:
                raise PenstockError(
                    f"nothing has moved for {_STALL_S:.0f} s while waiting for {what}: {left} records behind",
                    next="look at the logs beside the report, and at `penstock status`",
                )
        self._tick()

    def _features_behind(self) -> int:
        # The job commits its position at each checkpoint, when all that it has read is on the features topic.
        return self._behind("features", self._pipeline.source.topic)

    def _predictions_behind(self) -> int:
        return self._features_behind() + self._behind("scorer", self._pipeline.features_topic)

    def _sinks_behind(self) -> int:
        features, predictions = self._pipeline.features_topic, self._pipeline.predictions_topic
        behind = self._behind("sink-redis", features) + self._behind("sink-cassandra", features)
        return behind + self._behind("sink-cassandra", predictions, markers=1)

    def _behind(self, role: str, topic: str, markers: int = 0) -> int:
        """Records behind; a transactional topic ends in a commit marker that is no record: ``markers`` a partition."""
        lag = self._lag.of_group(group_of(self._pipeline.name, role), topic)
        return sum(max(0, behind - markers) for behind in lag.values())


def write_measured(measured: dict[str, Measured], path: Path) -> None:
    """Write what was measured, for the verifier, which is another process."""
    path.write_text(json.dumps({name: one.model_dump() for name, one in measured.items()}))
