"""One run of a pipeline in this process: topics, ports, supervisor, measurements, and the record on disk."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.local.ports import owner_of, taken
from deploy.local.prometheus_config import OPTIONAL_PORTS, SERVICE_PORTS
from deploy.local.services.service import HOST
from penstock.errors import PenstockError
from penstock.home import stack_port
from penstock.kafka.topics import create_topics, largest_messages, require_room
from penstock.processes import Identity, end, identity_of, marked
from penstock.running.children import CommandLauncher
from penstock.running.measuring import Measuring, Watch
from penstock.running.needs import WatchedNeeds
from penstock.running.parts import Part
from penstock.running.record import MARK, PartRecord, RunFolder, RunRecord, boot_id, new_mark
from penstock.running.supervisor import Supervisor
from penstock.settings import Settings
from streams.plan.pipeline_topics import pipeline_topics, room_of_data_quality, room_of_job, room_of_scorer
from streams.plan.project import Project

_STEP_S = 0.1
_RECORD_EVERY_S = 2.0
_TIDY_EVERY_S = 30.0
_LEFTOVERS_S = 60.0


class Requests:
    """What signals ask of a run; signal handlers set the attributes."""

    def __init__(self) -> None:
        self.stop = self.kill = self.retry = False


def make_topics(project: Project, settings: Settings) -> list[str]:
    """Create the topics of a pipeline that do not exist yet; returns their names.

    Raises:
        PenstockError: if Kafka cannot be reached, or an existing topic does not fit.
    """
    definition, kafka = project.pipeline, settings.kafka.access
    wanted = pipeline_topics(definition)
    created = create_topics(wanted, kafka)
    largest = largest_messages([topic.name for topic in wanted], kafka)
    room = room_of_job(definition, largest) | room_of_scorer(definition, largest) | room_of_data_quality(definition)
    require_room(room, largest, kafka)
    return created


def choose_ports(parts: Sequence[Part], say: Callable[[str], None]) -> dict[str, int]:
    """The port of the metrics of each part that serves them: the usual one, or a free one where that is taken."""
    wanted = {part.name: (SERVICE_PORTS | OPTIONAL_PORTS).get(part.name, 0) for part in parts if part.has_metrics}
    occupied = taken({name: port for name, port in wanted.items() if port})
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        chosen[name] = port if port and name not in occupied else _free_port()
        if name in occupied:
            by = owner_of(port) or "another process"
            say(f"port {port} is taken by {by}: {name} serves its metrics on {chosen[name]}")
    return chosen


def end_leftovers(folder: RunFolder) -> list[Identity]:
    """Wait for processes of a run whose supervisor was killed, end those that stay, and return all that there were.

    They are known by their mark, so no other process can be hit.
    """
    record = folder.read()
    if record is None or not record.is_of_this_boot:
        return []
    found = marked(MARK, record.mark)
    # The system has told them to stop when the supervisor ended. A second time would cut short what they do.
    deadline = time.monotonic() + _LEFTOVERS_S
    while any(process.alive for process in found) and time.monotonic() < deadline:
        time.sleep(_STEP_S)
    end(found, grace_s=_LEFTOVERS_S)
    return found


def addresses_of(ports: Mapping[str, int], settings: Settings) -> list[str]:
    """``host:port`` of metrics pages on this machine: of services, and of the local stack's TaskManager."""
    host = settings.metrics_host
    found = [f"{f'[{host}]' if ':' in host else host}:{port}" for port in ports.values()]
    task_manager = stack_port("taskmanager_metrics")
    return found if task_manager is None else [*found, f"{HOST}:{task_manager}"]


def run_parts(
    project: Project,
    settings: Settings,
    parts: Sequence[Part],
    folder: RunFolder,
    requests: Requests,
    *,
    say: Callable[[str], None],
    show: Callable[[Supervisor, Watch], None],
) -> Supervisor:
    """Run parts until asked to stop, and until all have ended; the caller holds the folder's lock.

    Args:
        project: The pipeline.
        settings: Where everything is.
        parts: What to run.
        folder: Of the run.
        requests: What signals ask for.
        say: Is told each change, in one line.
        show: Is called several times a second.
    """
    ports = choose_ports(parts, say)
    mark, began_ms = new_mark(project.name), time.time_ns() // 1_000_000
    me = identity_of(os.getpid())
    assert me is not None
    record = RunRecord(
        pipeline=project.name,
        reference=project.reference,
        cwd=str(Path.cwd()),
        mark=mark,
        boot=boot_id(),
        pid=me.pid,
        start_time=me.start_time,
        began_ms=began_ms,
    )
    launcher = CommandLauncher(folder, {MARK: mark})
    wanted = {part.needs for part in parts if part.needs is not None}
    writer = _RecordWriter(folder, record, say)
    with (
        WatchedNeeds(project, settings, wanted) as needs,
        Watch(Measuring(project, settings, addresses_of(ports, settings))) as watch,
    ):
        supervisor = Supervisor(
            parts,
            ports,
            launcher,
            needs,
            clock=time.monotonic,
            now_ms=lambda: time.time_ns() // 1_000_000,
            say=say,
        )
        tidied_at = time.monotonic()
        goes_on = True
        while goes_on:
            if requests.retry:
                requests.retry = False
                supervisor.retry()
            if requests.stop and not supervisor.is_stopping:
                say("stopping: what judges first, then the job with a savepoint, the scorer and the sinks")
                supervisor.stop()
            if requests.kill and not supervisor.was_killed:
                supervisor.kill()
            ready = _readiness(watch)
            goes_on = supervisor.step(ready)
            writer.write(supervisor.records(), ready)
            show(supervisor, watch)
            if time.monotonic() - tidied_at > _TIDY_EVERY_S:
                tidied_at = time.monotonic()
                launcher.tidy()
            time.sleep(_STEP_S)
    return supervisor


def require_stopped_in_order(supervisor: Supervisor, reference: str) -> None:
    """Check how a run ended.

    Raises:
        PenstockError: if a part did not stop as it should, or all were killed.
    """
    job = f"penstock job status {reference}; penstock job stop {reference}"
    if supervisor.was_killed:
        raise PenstockError(
            "the parts were killed before they had stopped by themselves",
            safe="everything that was committed; what was not is done again by the next run",
            next=f"if the feature job runs on: {job}",
        )
    if supervisor.failures:
        raise PenstockError(
            f"not everything has stopped as it should: {'; '.join(supervisor.failures)}",
            safe="everything that was committed",
            next=f"penstock logs {reference}; if the feature job runs on: {job}",
        )


def _readiness(watch: Watch) -> frozenset[str]:
    """The parts that take records, as far as they say so."""
    figures = watch.latest
    if figures is None:
        return frozenset()
    ready = {name for name, health in figures.health.items() if health.ok and health.has_started}
    return frozenset(ready | ({"features"} if figures.job == "RUNNING" else set()))


class _RecordWriter:
    """Writes the record when it has changed, and now and then, so that it comes back if somebody deletes it."""

    def __init__(self, folder: RunFolder, record: RunRecord, say: Callable[[str], None]) -> None:
        self._folder, self._record, self._say = folder, record, say
        self._written_at = float("-inf")
        self._failed = False

    def write(self, parts: tuple[PartRecord, ...], ready: frozenset[str]) -> None:
        parts = tuple(part.model_copy(update={"ready": part.name in ready}) for part in parts)
        now = time.monotonic()
        if parts == self._record.parts and now - self._written_at < _RECORD_EVERY_S:
            return
        self._record = self._record.model_copy(update={"parts": parts})
        self._written_at = now
        try:
            self._folder.path.mkdir(parents=True, exist_ok=True)
            self._folder.write(self._record)
        except OSError as error:
            # A full disk stops nobody: the parts go on, and only `penstock ps` sees an old state.
            if not self._failed:
                self._say(f"the state of the run cannot be written: {error}; everything runs on")
            self._failed = True
        else:
            self._failed = False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
