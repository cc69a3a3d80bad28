"""The drift app: connects faust, which reads features and predictions, to the partition follower."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faust
from faust.types import TP
from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.retention import GapPolicy
from penstock.kafka.topics import largest_messages, require_topics
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from scoring.repository import ModelRepository
from scoring.training_set import view_versions
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import DriftRecordBuilder, monitors_by_topic, observation_reader
from streams.drift.drift_reference import DETECTORS, DriftReference, read_reference
from streams.drift.faust_consumer import OutOfRange, Positions, StatefulTransport
from streams.drift.partition_follower import PartitionFollower
from streams.drift.state_store import TrackStore
from streams.plan.project import Project

_log = logging.getLogger(__name__)

_STOP_S = 20.0
_BLOCKS_IN_QUEUE = 4


def serving_reference(project: Project, repository: ModelRepository) -> tuple[DriftReference, int]:
    """Read the drift reference of the served model version; returns it with the version.

    Raises:
        PenstockError: if the pipeline has no monitors or no model, or if its monitors or views changed since training.
    """
    pipeline = project.pipeline
    monitors, name = pipeline.monitors, pipeline.model.name
    train = f"penstock model train {project.reference} --backfill FOLDER, and load the new version"
    if monitors is None:
        raise PenstockError(
            f"pipeline {pipeline.name} declares no monitors", next="give it monitors=Monitors(inputs=(...))"
        )
    version = repository.current(name)
    folder = repository.folder(name, version)
    reference = read_reference(folder)
    trained = tuple(monitor.name for monitor in reference.monitors)
    settings = (reference.window, reference.false_alarm_every, reference.same_hour_of_week)
    declared = (monitors.window, monitors.false_alarm_every, monitors.same_hour_of_week)
    if (trained, settings) != (monitors.names(), declared):
        raise PenstockError(
            "the pipeline's monitors have changed since the model was trained", where=str(folder), next=train
        )
    views = view_versions(project.plan, monitors.inputs)
    trained_views = repository.manifest(name, version).views
    for view, current in views.items():
        if trained_views.get(view) != current:
            raise PenstockError(
                f"view {view} has changed since training: now {current}, then {trained_views.get(view, 'absent')}",
                where=str(folder),
                next=train,
            )
    return reference, version


def check_budget(reference: DriftReference, where: str) -> None:
    """Log which detectors are refused, because the reference is too short for the budget of false alarms.

    Raises:
        PenstockError: if no detector is left that watches values.
    """
    for refusal in reference.refusals():
        _log.warning("not watched: %s", refusal)
    if all({*one.refused} >= {*DETECTORS} - {"missing"} for one in reference.monitors):
        raise PenstockError(
            "the reference is too short to promise at most one false incident in "
            f"{reference.false_alarm_every:,} events on any monitor: {'; '.join(reference.refusals())}",
            where=where,
            next="train on a longer time, or lower false_alarm_every of the monitors and train again",
        )


def run_drift(
    project: Project, settings: Settings, instance: str, progress: ProgressTracker, *, skip_deleted: bool = False
) -> None:
    """Run the drift app until SIGTERM or SIGINT.

    With ``skip_deleted`` it goes on where Kafka deleted records before they were read.

    Raises:
        PenstockError: if a precondition fails, or the app cannot continue; a restart resumes from the saved state.
    """
    pipeline = project.pipeline
    reference, version = serving_reference(project, ModelRepository(settings.model_repository))
    check_budget(reference, f"{reference.model} version {version}")
    monitors = monitors_by_topic(pipeline)
    topics = [*monitors, *map(dead_letters_of, monitors), pipeline.drift_topic, pipeline.drift_state_topic]
    require_topics(topics, settings.kafka.access, partitions=pipeline.source.partitions, pipeline=project.reference)
    _log.info("drift %s: %s against model %s version %d", instance, ", ".join(monitors), reference.model, version)
    with (
        LagWatch(settings.kafka.access, pipeline.name, "drift", progress) as lag,
        tempfile.TemporaryDirectory() as scratch,
    ):
        gaps = GapPolicy(
            pipeline.name,
            "drift",
            tuple(monitors),
            "The detectors do not see them.",
            f"penstock drift run {project.reference} --instance {instance}",
            skip_deleted,
        )
        asyncio.run(_AppRun(project, settings, instance, reference, version, lag, Path(scratch), gaps).run())
    _log.info("drift %s stopped; every state is saved", instance)


class _AppRun:
    """One run of the app, in one event loop."""

    def __init__(
        self,
        project: Project,
        settings: Settings,
        instance: str,
        reference: DriftReference,
        version: int,
        lag: LagWatch,
        scratch: Path,
        gaps: GapPolicy,
    ) -> None:
        pipeline = self._pipeline = project.pipeline
        self._settings = settings
        self._instance = instance
        self._scratch = scratch
        self._lag = lag
        self._failure: Exception | None = None
        self._give_up = threading.Event()
        monitors = monitors_by_topic(pipeline)
        self._topics = list(monitors)
        self._follower = PartitionFollower(
            reference,
            TrackStore(settings.kafka.access, pipeline, reference, version, self._give_up, gaps),
            {topic: observation_reader(topic, project, version) for topic in monitors},
            monitors,
            DriftRecordBuilder(pipeline, reference, version, _letter_bytes(settings.kafka.access, monitors)),
            DriftMetrics(REGISTRY, pipeline.name, reference),
            clock=time.monotonic,
        )

    async def run(self) -> None:
        """Start faust, follow until a stop signal, save, and stop faust.

        Raises:
            PenstockError: the reason, if the app stopped on its own.
        """
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        follower = self._follower
        app = self._app = _App(self._acquire, follower.out_of_range, self._faust_settings(loop))
        follower.seek = self._seek
        follower.commit = self._commit
        for topic in self._topics:
            self._add_agent(topic)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        watch = asyncio.create_task(self._watch_faust())
        try:
            if await self._start_faust():
                await follower.run(self._stopping)
        except Exception as error:  # noqa: BLE001 - any error ends the process, with its reason
            self._failure = self._failure or error
        finally:
            watch.cancel()
            await self._shut_down()
        if self._failure is not None:
            raise _as_penstock_error(self._failure, str(self._settings.kafka.access)) from self._failure

    async def _start_faust(self) -> bool:
        """Start faust; False if a stop signal came first."""
        starting, stopped = asyncio.create_task(self._app.start()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        return True

    def _add_agent(self, topic: str) -> None:
        channel = self._app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False
        )

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    self._follower.process(event.message)
                except Exception as error:  # noqa: BLE001 - faust would log it, drop the record and continue
                    self._fail(error)

        self._app.agent(channel, name=f"drift.{topic}")(agent)

    async def _acquire(self, assigned: set[TP]) -> dict[TP, int]:
        try:
            self._lag.assigned({(tp.topic, tp.partition) for tp in assigned})
            positions = await self._follower.acquire(assigned)
        except Exception as error:
            self._fail(error)
            raise
        self._lag.done({(tp.topic, tp.partition): at for tp, at in positions.items()})
        return positions

    async def _on_assigned(self, _app: Any, _assigned: set[TP], **_: Any) -> None:
        # Also with no partitions: an instance beyond the partition count is healthy and waits.
        self._lag.started()

    async def _on_revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        await self._follower.release(set(revoked))
        self._lag.revoked({(tp.topic, tp.partition) for tp in revoked})

    async def _seek(self, positions: dict[TP, int]) -> None:
        consumer = self._app.consumer
        kept = {tp: at for tp, at in positions.items() if tp in consumer.assignment()}
        if kept:
            await consumer.seek_wait(kept)

    async def _commit(self, positions: dict[TP, int]) -> None:
        self._lag.done({(tp.topic, tp.partition): at for tp, at in positions.items()})
        await self._app.consumer.commit_positions(positions)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._stopping.set()

    async def _watch_faust(self) -> None:
        # faust stops itself on fatal errors; the process then exits too, so that its supervisor restarts it.
        while not self._app.crashed and not self._app.should_stop:  # noqa: ASYNC110 - faust has an event for neither
            await asyncio.sleep(0.5)
        self._fail(self._app.crash_reason or RuntimeError("faust has stopped"))

    async def _shut_down(self) -> None:
        try:
            async with asyncio.timeout(_STOP_S):
                if self._failure is None:
                    await self._follower.release(set(self._app.consumer.assignment()))
                self._give_up.set()
                await self._app.stop()
        except Exception:  # noqa: BLE001 - the process exits anyway, and the state is in Kafka
            _log.warning("faust did not stop cleanly", exc_info=True)
        self._give_up.set()

    def _faust_settings(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        group = group_of(self._pipeline.name, "drift")
        return {
            "id": group,
            "loop": loop,
            **self._settings.kafka.access.faust(),
            "datadir": self._scratch,
            "autodiscover": False,
            "web_enabled": False,
            "topic_allow_declare": False,
            "topic_disable_leader": True,
            "consumer_auto_offset_reset": "none",
            # Static membership: an instance that is killed and started again gets its partitions back at once.
            "consumer_group_instance_id": f"{group}-{self._instance}",
            "broker_client_id": f"{group}-{self._instance}",
            # In blocks of records, each of at most a fetch (1 MB): the rest waits on the broker. Default 4096.
            "stream_buffer_maxsize": _BLOCKS_IN_QUEUE,
            # Default 60 s: how long the partitions of a killed instance stay idle if it is not started again.
            "broker_session_timeout": 10.0,
            "broker_heartbeat_interval": 3.0,
            "broker_request_timeout": 40.0,
            "broker_rebalance_timeout": 40.0,
        }


class _App(faust.App):  # type: ignore[misc]
    def __init__(self, positions: Positions, out_of_range: OutOfRange, settings: dict[str, Any]) -> None:
        self._positions = positions
        self._out_of_range = out_of_range
        super().__init__(**settings)

    def _new_transport(self) -> StatefulTransport:
        return StatefulTransport(
            self.conf.broker_consumer,
            self,
            loop=self.loop,
            positions=self._positions,
            out_of_range=self._out_of_range,
        )


def _letter_bytes(kafka: KafkaAccess, topics: Iterable[str]) -> dict[str, int]:
    """The bytes of the longest record that each topic of dead letters takes, if this user may know it."""
    try:
        return largest_messages([dead_letters_of(topic) for topic in topics], kafka)
    except PenstockError as error:
        _log.warning("a dead letter that is too long for its topic would stop this app: %s; %s", error.what, error.next)
        return {}


def _as_penstock_error(failure: Exception, where: str) -> PenstockError:
    if isinstance(failure, PenstockError):
        return failure
    return PenstockError(
        f"the drift app cannot continue: {type(failure).__name__}: {failure}",
        where=where,
        safe="every published alert and the saved state",
        next="start it again; it resumes from the saved state",
    )
