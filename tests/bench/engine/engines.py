"""The engines under test: how each is started on a topic and ended, and how its records are read.

A Flink engine is a job on the stack's cluster, a Python engine a process of its own. Each gets one task or worker.
"""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from penstock.errors import PenstockError
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT, java_home, jobs_python, venv_python
from schemas.codec import Decoder
from streams.flink import lifecycle
from streams.flink.rest import Flink
from streams.plan.feature_records import features_schema
from streams.plan.pipeline_topics import pipeline_topics
from tests.bench.engine import bench_topics
from tests.bench.engine.bench_stack import BenchStack
from tests.bench.engine.peers.peer_settings import PeerSettings
from tests.bench.engine.peers.windows import result_format
from tests.bench.engine.pipeline_definition import define
from tests.bench.engine.workload import OPERATIONS, Workload

_STOP_S = 20.0
_CANCEL_S = 60.0
# From a record to the event's number and the results of each entity, by window and OPERATIONS; None for no result.
Read = Callable[[bytes], tuple[int, list[list[float | None]]]]


@dataclass(frozen=True)
class Running:
    """An engine that runs.

    Args:
        target: The topic of its results.
        read: Decodes a record of that topic.
        alive: Raises an error if the engine has failed.
        pid: The process that does the work, alone or with its children.
        job_id: The Flink job, if it is one.
    """

    target: str
    read: Read
    alive: Callable[[], None]
    pid: int
    job_id: str | None = None


@dataclass(frozen=True)
class Engine:
    """An engine of the benchmark.

    Args:
        name: Its name in ``engine.json``.
        title: Its name for people.
        start: A context manager that runs it; takes the stack, the workload, the topic of events and a unique name.
        windows: How many of the workload's windows it computes; None for all, 0 for none.
        tiled: Whether windows move by hops; else they move with every row.
    """

    name: str
    title: str
    start: Callable[[BenchStack, Workload, str, str], Any]
    windows: int | None = None
    tiled: bool = True


@contextmanager
def _penstock(
    stack: BenchStack,
    work: Workload,
    source: str,
    name: str,
    backend: Literal["heap", "rocksdb"] = "heap",
    python: Literal["thread", "process"] = "thread",
) -> Iterator[Running]:
    project = define(_importable(stack.folder / "definitions"), name, source, work)
    pipeline, plan = project.pipeline, project.plan
    bench_topics.create(stack.kafka, pipeline.features_topic)
    create_topics(pipeline_topics(pipeline), stack.kafka)
    decoder = Decoder(features_schema(plan))
    names = [[f"{operation}_{window}" for window in work.windows for operation in OPERATIONS]] * len(plan.views)

    def read(record: bytes) -> tuple[int, list[list[float | None]]]:
        found = decoder.decode(record)
        views = [found[view.name] for view in plan.views]
        return int(found["event"]["event_id"]), [[v[n] for n in wanted] for v, wanted in zip(views, names, strict=True)]

    try:
        job = lifecycle.start(project, stack.settings, empty=True, state_backend=backend, python_mode=python)
    except PenstockError:
        # A job that was submitted but does not run yet must not start while another engine is measured.
        lifecycle.cancel(project, stack.settings)
        raise
    with _job(stack, job.id) as alive:
        yield Running(pipeline.features_topic, read, alive, stack.pid("taskmanager"), job.id)


def _python_peer(module: Sequence[str]) -> Callable[[BenchStack, Workload, str, str], Any]:
    @contextmanager
    def start(stack: BenchStack, work: Workload, source: str, name: str) -> Iterator[Running]:
        peer = _peer_settings(stack, work, source, name)
        log = stack.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(venv_python("peers")), *module],
                env=_environment(peer),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

        def alive() -> None:
            if process.poll() is not None:
                raise PenstockError(f"{name} ended with {process.returncode}: {_tail(log)}", where=str(log))

        try:
            yield Running(peer.target, _packed(work), alive, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return start


def _flink_peer(
    module: Sequence[str], reader: Callable[[Workload], Read], mode: str = ""
) -> Callable[[BenchStack, Workload, str, str], Any]:
    @contextmanager
    def start(stack: BenchStack, work: Workload, source: str, name: str) -> Iterator[Running]:
        peer = _peer_settings(stack, work, source, name, mode)
        log = stack.folder / f"{name}.log"
        done = subprocess.run(
            [str(jobs_python()), *module],
            env=_environment(peer)
            | {
                "FLINK_CONF_DIR": str(stack.settings.flink.conf_dir),
                "FLINK_HOME": str(stack.settings.flink.home),
                "FLINK_LOG_DIR": str(stack.folder),
                "JAVA_HOME": str(java_home()),
            },
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=180,
            check=False,
        )
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise PenstockError(f"{name} could not be submitted: {_tail(log)}", where=str(log))
        job_id = done.stdout.strip().splitlines()[-1]
        with _job(stack, job_id) as alive:
            yield Running(peer.target, reader(work), alive, stack.pid("taskmanager"), job_id)

    return start


@contextmanager
def _job(stack: BenchStack, job_id: str) -> Iterator[Callable[[], None]]:
    with Flink(stack.settings.flink.rest) as flink:

        def alive() -> None:
            job = flink.job(job_id)
            if not job.is_active:
                job = flink.with_details(job)
                raise PenstockError(f"job {job.name} is {job.state}: {job.failure}", where=flink.url)

        try:
            yield alive
        finally:
            if flink.job(job_id).is_active:
                flink.cancel(job_id)
                deadline = time.monotonic() + _CANCEL_S
                while flink.job(job_id).is_active and time.monotonic() < deadline:
                    time.sleep(0.1)


def _packed(work: Workload) -> Read:
    windows, entities = len(work.windows), len(work.keyed_by)
    unpack = result_format(windows, entities).unpack
    width = windows * len(OPERATIONS)

    def read(record: bytes) -> tuple[int, list[list[float | None]]]:
        number, *values = unpack(record)
        present = [None if math.isnan(value) else value for value in values]
        return number, [present[place * width : (place + 1) * width] for place in range(entities)]

    return read


def _csv(work: Workload) -> Read:
    """Reads Flink SQL's records: the results of one window for each entity."""

    def read(record: bytes) -> tuple[int, list[list[float | None]]]:
        number, *values = next(csv.reader([record.decode()]))
        wide = len(OPERATIONS)
        parsed = [float(value) if value else None for value in values]
        return int(number), [parsed[place * wide : (place + 1) * wide] for place in range(len(work.keyed_by))]

    return read


def _forwarded(_: Workload) -> Read:
    return lambda record: (int(next(csv.reader([record.decode()]))[0]), [])


def _peer_settings(stack: BenchStack, work: Workload, source: str, name: str, mode: str = "") -> PeerSettings:
    target = f"results.{name}"
    bench_topics.create(stack.kafka, target)
    scratch = stack.folder / "scratch" / name
    scratch.mkdir(parents=True)
    return PeerSettings(
        name=name,
        bootstrap=stack.kafka.bootstrap,
        source=source,
        target=target,
        keyed_by=work.keyed_by,
        spans_ms=work.spans_ms,
        scratch=str(scratch),
        flink=stack.flink,
        jars=stack.connectors,
        mode=mode,
    )


def _environment(peer: PeerSettings) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return {**kept, **peer.environment(), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _importable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-600:]


_PEERS = "tests.bench.engine.peers"
PENSTOCK = Engine("penstock", "Penstock", _penstock)
ON_ROCKSDB = replace(PENSTOCK, start=partial(_penstock, backend="rocksdb"))
PYTHON_BESIDE = replace(PENSTOCK, start=partial(_penstock, python="process"))
PEERS = (
    Engine(
        "bare_forward",
        "Flink SQL, decode and forward",
        _flink_peer(["-m", f"{_PEERS}.flink_sql", "bare"], _forwarded),
        windows=0,
    ),
    Engine(
        "flink_sql_over",
        "Flink SQL OVER, one window",
        _flink_peer(["-m", f"{_PEERS}.flink_sql", "over"], _csv),
        windows=1,
        tiled=False,
    ),
    Engine("bytewax", "Bytewax", _python_peer(["-m", "bytewax.run", f"{_PEERS}.bytewax_flow:flow"])),
    Engine(
        "pyflink_process", "PyFlink, process mode", _flink_peer(["-m", f"{_PEERS}.pyflink_job"], _packed, "process")
    ),
    Engine("pyflink_thread", "PyFlink, thread mode", _flink_peer(["-m", f"{_PEERS}.pyflink_job"], _packed, "thread")),
    Engine("quixstreams", "Quix Streams", _python_peer(["-m", f"{_PEERS}.quix_app"])),
    Engine("faust", "Faust", _python_peer(["-m", f"{_PEERS}.faust_app", "worker", "-l", "warn"])),
)
# The first engine starts on cold Flink servers, so Penstock is not the first.
ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (PEERS[0], PENSTOCK, *PEERS[1:])}
