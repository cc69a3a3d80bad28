"""The drift app: faust reads features and predictions, :mod:`~streams.drift.following` makes of them what they say."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import faust
from faust.types import TP
from prometheus_client import REGISTRY

from penstock.errors import PenstockError
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.names import dead_letters_of, group_of
from penstock.kafka.topics import require_topics
from penstock.settings import Settings
from penstock.telemetry import ProgressTracker
from scoring.repository import ModelRepository
from scoring.training_set import view_versions
from streams.drift.consumer import Positions, StatefulTransport
from streams.drift.drift_metrics import DriftMetrics
from streams.drift.drift_records import Writer, monitors_of, reader_of
from streams.drift.drift_reference import Reference, read_reference
from streams.drift.following import Following
from streams.drift.state_store import TrackStore
from streams.plan.project import Project

_log = logging.getLogger(__name__)

_STOP_S = 20.0


def current_reference(project: Project, repository: ModelRepository) -> tuple[Reference, int]:
    """The reference of the model version that is served, and that version.

    Raises:
        PenstockError: if the pipeline has no monitors, no model, or other monitors or views than were trained for.
    """
    pipeline = project.pipeline
    monitors, name = pipeline.monitors, pipeline.model.name
    train = f"penstock model train {project.reference}, and load the new version"
    if monitors is None:
        raise PenstockError(
            f"pipeline {pipeline.name} declares no monitors", next="give it monitors=Monitors(inputs=(...))"
        )
    serving = repository.serving_config(name)
    version = serving.version if serving is not None else repository.newest(name)
    folder = repository.folder(name, version)
    reference = read_reference(folder)
    trained = tuple(monitor.name for monitor in reference.monitors)
    if (trained, reference.window, reference.false_alarm_every) != (
        monitors.names(),
        monitors.window,
        monitors.false_alarm_every,
    ):
        raise PenstockError(
            "the pipeline's monitors are not those that the model was trained with", where=str(folder), next=train
        )
    views = view_versions(project.plan, monitors.inputs)
    then = repository.manifest(name, version).views
    for view, now in views.items():
        if then.get(view) != now:
            raise PenstockError(
                f"view {view} is not what the model was trained on: {now} now, {then.get(view, 'absent')} then",
                where=str(folder),
                next=train,
            )
    return reference, version


def run_drift(project: Project, settings: Settings, instance: str, progress: ProgressTracker) -> None:
    """Follow the pipeline until told to stop (SIGTERM, SIGINT).

    Raises:
        PenstockError: if something that must hold does not, at the start or later; a restart goes on from the state.
    """
    pipeline = project.pipeline
    reference, version = current_reference(project, ModelRepository(settings.model_repository))
    monitors = monitors_of(pipeline)
    topics = [*monitors, *map(dead_letters_of, monitors), pipeline.drift_topic, pipeline.drift_state_topic]
    require_topics(topics, settings.kafka.access, partitions=pipeline.source.partitions, pipeline=project.reference)
    _log.info("drift %s: %s against model %s version %d", instance, ", ".join(monitors), reference.model, version)
    with (
        LagWatch(settings.kafka.access, pipeline.name, "drift", progress) as lag,
        tempfile.TemporaryDirectory() as scratch,
    ):
        asyncio.run(_Run(project, settings, instance, reference, version, lag, Path(scratch)).run())
    _log.info("drift %s stopped; every state is saved", instance)


class _Run:
    """One run of the app in an event loop."""

    def __init__(
        self,
        project: Project,
        settings: Settings,
        instance: str,
        reference: Reference,
        version: int,
        lag: LagWatch,
        scratch: Path,
    ) -> None:
        pipeline = self._pipeline = project.pipeline
        self._settings = settings
        self._instance = instance
        self._scratch = scratch
        self._lag = lag
        self._failure: Exception | None = None
        self._give_up = threading.Event()
        monitors = monitors_of(pipeline)
        self._topics = list(monitors)
        self._following = Following(
            reference,
            TrackStore(settings.kafka.access, pipeline, reference, version, self._give_up),
            {topic: reader_of(topic, project, version) for topic in monitors},
            monitors,
            Writer(pipeline, reference, version),
            DriftMetrics(REGISTRY, pipeline.name, reference),
            clock=time.monotonic,
        )

    async def run(self) -> None:
        """Start faust, follow until told to stop, save, and stop faust.

        Raises:
            PenstockError: why it ended by itself.
        """
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        following = self._following
        app = self._app = _App(self._positions, self._faust_settings(loop))
        following.seek = self._seek
        following.committed = self._committed
        for topic in self._topics:
            self._follow(topic)
        app.on_partitions_assigned.connect(self._assigned, weak=False)
        app.on_partitions_revoked.connect(self._revoked, weak=False)
        watch = asyncio.create_task(self._watch())
        try:
            if await self._started():
                await following.keep(self._stopping)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the process with a reason
            self._failure = self._failure or error
        finally:
            watch.cancel()
            await self._end()
        if self._failure is not None:
            raise _ended(self._failure, str(self._settings.kafka.access)) from self._failure

    async def _started(self) -> bool:
        """Start faust; False if told to stop before it has."""
        starting, stopped = asyncio.create_task(self._app.start()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        return True

    def _follow(self, topic: str) -> None:
        channel = self._app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False
        )

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    self._following.take(event.message)
                except Exception as error:  # noqa: BLE001 - faust would log it, drop the record and go on
                    self._fail(error)

        self._app.agent(channel, name=f"drift.{topic}")(agent)

    async def _positions(self, assigned: set[TP]) -> dict[TP, int]:
        try:
            self._lag.assigned({(tp.topic, tp.partition) for tp in assigned})
            positions = await self._following.positions(assigned)
        except Exception as error:
            self._fail(error)
            raise
        self._lag.done({(tp.topic, tp.partition): at for tp, at in positions.items()})
        return positions

    async def _assigned(self, _app: Any, _assigned: set[TP], **_: Any) -> None:
        # Also if it is nothing: an instance more than there are partitions is well, and waits.
        self._lag.started()

    async def _revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        await self._following.release(set(revoked))
        self._lag.revoked({(tp.topic, tp.partition) for tp in revoked})

    async def _seek(self, positions: dict[TP, int]) -> None:
        consumer = self._app.consumer
        kept = {tp: at for tp, at in positions.items() if tp in consumer.assignment()}
        if kept:
            await consumer.seek_wait(kept)

    async def _committed(self, positions: dict[TP, int]) -> None:
        self._lag.done({(tp.topic, tp.partition): at for tp, at in positions.items()})
        await self._app.consumer.commit_positions(positions)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._stopping.set()

    async def _watch(self) -> None:
        # faust ends itself at what it cannot mend; the process then ends too, for its supervisor to start it anew.
        while not self._app.crashed and not self._app.should_stop:  # noqa: ASYNC110 - faust has an event for neither
            await asyncio.sleep(0.5)
        self._fail(self._app.crash_reason or RuntimeError("faust has stopped"))

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(_STOP_S):
                if self._failure is None:
                    await self._following.release(set(self._app.consumer.assignment()))
                self._give_up.set()
                await self._app.stop()
        except Exception:  # noqa: BLE001 - it ends anyhow, and the state is in Kafka
            _log.warning("faust did not stop in order", exc_info=True)
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
            "consumer_auto_offset_reset": "earliest",
            # Static membership: an instance that is killed and started again gets its partitions back at once.
            "consumer_group_instance_id": f"{group}-{self._instance}",
            "broker_client_id": f"{group}-{self._instance}",
            # Default 60 s: how long the partitions of a killed instance that is not started again lie idle.
            "broker_session_timeout": 10.0,
            "broker_heartbeat_interval": 3.0,
            "broker_request_timeout": 40.0,
            "broker_rebalance_timeout": 40.0,
        }


class _App(faust.App):  # type: ignore[misc]
    def __init__(self, positions: Positions, settings: dict[str, Any]) -> None:
        self._positions = positions
        super().__init__(**settings)

    def _new_transport(self) -> StatefulTransport:
        return StatefulTransport(self.conf.broker_consumer, self, loop=self.loop, positions=self._positions)


def _ended(failure: Exception, where: str) -> PenstockError:
    if isinstance(failure, PenstockError):
        return failure
    return PenstockError(
        f"the drift app cannot go on: {type(failure).__name__}: {failure}",
        where=where,
        safe="every published alert and the state that remembers it",
        next="start it again; it goes on from there",
    )
