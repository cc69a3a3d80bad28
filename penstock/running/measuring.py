"""Measures a running pipeline from Kafka, Flink and the metrics pages of its services; starts and changes nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self, TypeVar

from confluent_kafka import KafkaException

from backfill.dead_letters.lanes import letter_topics
from penstock.errors import PenstockError
from penstock.running.figures import Backlog, Figures, Health, Latency, Meter, RolloutState
from penstock.running.group_lag import GroupLags
from penstock.running.job_offsets import JobOffsets
from penstock.running.metrics_pages import MetricsPages
from penstock.running.newest import NewestRecords
from penstock.running.parts import FEATURES, groups_of
from penstock.settings import Settings
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import read_followed
from streams.flink import lifecycle
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

EVERY_S = 1.0
# Reading the ends of topics costs a consumer each, and what they show changes seldom.
_SLOWLY_S = 5.0
_STOP_S = 3.0


class Measuring:
    """Measures a pipeline once; :class:`Watch` does so again and again.

    Args:
        project: The pipeline.
        settings: Where Kafka and Flink are.
        addresses: ``host:port`` of metrics pages, those of other pipelines and nobody's included.
    """

    def __init__(self, project: Project, settings: Settings, addresses: Collection[str]) -> None:
        self._project, self._settings = project, settings
        self._addresses = tuple(dict.fromkeys(addresses))
        partitions = {topic.name: topic.partitions for topic in pipeline_topics(project.pipeline)}
        self._groups = GroupLags(settings.kafka.access, groups_of(project.pipeline), partitions)
        self._newest = NewestRecords(settings.kafka.access, self._groups.lag)
        self._pages = MetricsPages(project.name)
        self._job_offsets = JobOffsets(lifecycle.job_name(project), self._addresses)
        self._arrived = Meter()
        self._slow = Figures(at_ms=0)
        self._slow_at = float("-inf")

    def measure(self) -> Figures:
        """What can be measured now; what cannot is named among the problems."""
        now, now_ms, problems = time.monotonic(), time.time_ns() // 1_000_000, list[str]()
        if now - self._slow_at >= _SLOWLY_S:
            self._slow, self._slow_at = self._measure_slowly(now_ms), now
        ahead = {FEATURES: self._job_offsets.read()}
        nothing: dict[str, Backlog] = {}
        backlogs = _tried("Kafka", lambda: self._groups.measure(now_ms, ahead), nothing, problems)
        arrived = _tried("Kafka", self._count_arrived, None, problems)
        if arrived is not None:
            self._arrived.set(arrived, now)
        slow = self._slow
        return Figures(
            at_ms=now_ms,
            arriving=self._arrived.per_second,
            backlogs={**slow.backlogs, **backlogs},
            health=slow.health,
            job=slow.job,
            latency=slow.latency,
            alerts=slow.alerts,
            letters=slow.letters,
            rollout=slow.rollout,
            problems=tuple(dict.fromkeys([*problems, *slow.problems])),
        )

    def close(self) -> None:
        """Disconnect."""
        self._groups.close()
        self._pages.close()
        self._job_offsets.close()

    def _measure_slowly(self, now_ms: int) -> Figures:
        pipeline, problems, before = self._project.pipeline, list[str](), self._slow
        health: dict[str, Health] = {}
        backlogs: dict[str, Backlog] = {}
        for address in self._addresses:
            page = self._pages.read(address)
            if page is not None:
                part, health[part], lag = page
                if lag is not None:
                    backlogs[part] = Backlog(lag.records, lag.seconds)
        job = _tried("Flink", lambda: lifecycle.status(self._project, self._settings), None, problems)
        predictions = pipeline.predictions_topic
        none: list[tuple[int, int]] = []
        samples = _tried("predictions", lambda: self._newest.latencies(predictions), none, problems)
        alerts = before.alerts
        if pipeline.monitors is not None:
            alerts = _tried("drift", lambda: self._newest.alerts(pipeline.drift_topic), alerts, problems)
        policy = _tried("rollout", lambda: read_followed(self._settings.kafka.access, pipeline), None, problems)
        return Figures(
            at_ms=now_ms,
            backlogs=backlogs,
            health=health,
            job=None if job is None else job.state,
            latency=Latency.of(samples),
            alerts=alerts,
            letters=_tried(
                "dead letters",
                lambda: self._newest.letters(letter_topics(pipeline), pipeline.name),
                before.letters,
                problems,
            ),
            rollout=None if policy is None else rollout_state(policy),
            problems=tuple(problems),
        )

    def _count_arrived(self) -> int:
        return sum(
            sum(self._groups.lag.end_offsets(source.topic).values()) for source in self._project.pipeline.sources
        )


class Watch:
    """Measures in a thread for the duration of the block; ``latest`` has the figures, None at first."""

    def __init__(self, measuring: Measuring) -> None:
        self.latest: Figures | None = None
        self._measuring = measuring
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measuring", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # It may be in a call to an unreachable server; who stops does not wait longer for it.
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.latest = self._measuring.measure()
            except Exception:  # noqa: BLE001 - the pipeline goes on, whatever its screen does
                _log.exception("the pipeline cannot be measured")
            self._stop.wait(EVERY_S)
        self._measuring.close()


def rollout_state(change: PolicyChange) -> RolloutState:
    """A policy, for the screen."""
    policy = change.policy.policy
    step = f", step {change.step + 1} of {len(policy.steps)}" if policy.steps else ""
    weights = {f"{arm.name} (version {arm.version})": change.policy.weights[arm.name] for arm in policy.arms}
    return RolloutState(f"{policy.mode}{step}, {change.status}", weights, change.reason)


def _tried(what: str, measure: Callable[[], _T], otherwise: _T, problems: list[str]) -> _T:
    try:
        return measure()
    except PenstockError as error:
        problems.append(f"{what}: {error.what}")
    except KafkaException as error:
        problems.append(f"{what}: {error.args[0].str()}")
    except (KeyError, TimeoutError) as error:
        problems.append(f"{what}: no answer about {error}")
    return otherwise
