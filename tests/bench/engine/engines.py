"""The engines under test: how each is started on a topic, ended, and its records read.

A Flink engine is a job on the site's cluster, a Python one a process of its own. Each gets one task or worker.
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
from tests.bench.engine import topics
from tests.bench.engine.definition import define
from tests.bench.engine.peers.given import Given
from tests.bench.engine.peers.windows import result_format
from tests.bench.engine.site import Site
from tests.bench.engine.workload import OPERATIONS, Workload

_STOP_S = 20.0
_CANCEL_S = 60.0
# An event's number, and for each entity its results in the order of windows and OPERATIONS; None where there is none.
Read = Callable[[bytes], tuple[int, list[list[float | None]]]]


@dataclass(frozen=True)
class Running:
    """An engine at work.

    Args:
        target: The topic of its results.
        read: What a record of it says.
        alive: Raises if the engine has failed.
        pid: The process that does the work, alone or with its children.
        job_id: Of its job, if it runs in Flink.
    """

    target: str
    read: Read
    alive: Callable[[], None]
    pid: int
    job_id: str | None = None


@dataclass(frozen=True)
class Engine:
    """One of the engines.

    Args:
        name: As in ``engine.json``.
        title: For people.
        start: Runs it in a ``with``: the site, the workload, the topic of events, a unique name.
        windows: How many of the workload's windows it computes; None for all, 0 for none.
        tiled: Whether windows move by hops (DESIGN §3), or with every row.
    """

    name: str
    title: str
    start: Callable[[Site, Workload, str, str], Any]
    windows: int | None = None
    tiled: bool = True


@contextmanager
def _penstock(
    site: Site,
    work: Workload,
    source: str,
    name: str,
    backend: Literal["heap", "rocksdb"] = "heap",
    python: Literal["thread", "process"] = "thread",
) -> Iterator[Running]:
    project = define(_importable(site.folder / "definitions"), name, source, work)
    pipeline, plan = project.pipeline, project.plan
    topics.create(site.kafka, pipeline.features_topic)
    create_topics(pipeline_topics(pipeline), site.kafka)
    decoder = Decoder(features_schema(plan))
    names = [[f"{operation}_{window}" for window in work.windows for operation in OPERATIONS]] * len(plan.views)

    def read(record: bytes) -> tuple[int, list[list[float | None]]]:
        found = decoder.decode(record)
        views = [found[view.name] for view in plan.views]
        return int(found["event"]["event_id"]), [[v[n] for n in wanted] for v, wanted in zip(views, names, strict=True)]

    try:
        job = lifecycle.start(project, site.settings, state_backend=backend, python_mode=python)
    except PenstockError:
        # What was submitted and does not run must not begin to beside the others.
        lifecycle.cancel(project, site.settings)
        raise
    with _job(site, job.id) as alive:
        yield Running(pipeline.features_topic, read, alive, site.pid("taskmanager"), job.id)


def _python_peer(module: Sequence[str]) -> Callable[[Site, Workload, str, str], Any]:
    @contextmanager
    def start(site: Site, work: Workload, source: str, name: str) -> Iterator[Running]:
        told = _told(site, work, source, name)
        log = site.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(venv_python("peers")), *module],
                env=_environment(told),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

        def alive() -> None:
            if process.poll() is not None:
                raise PenstockError(f"{name} ended with {process.returncode}: {_tail(log)}", where=str(log))

        try:
            yield Running(told.target, _packed(work), alive, process.pid)
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
) -> Callable[[Site, Workload, str, str], Any]:
    @contextmanager
    def start(site: Site, work: Workload, source: str, name: str) -> Iterator[Running]:
        told = _told(site, work, source, name, mode)
        log = site.folder / f"{name}.log"
        done = subprocess.run(
            [str(jobs_python()), *module],
            env=_environment(told)
            | {
                "FLINK_CONF_DIR": str(site.settings.flink.conf_dir),
                "FLINK_HOME": str(site.settings.flink.home),
                "FLINK_LOG_DIR": str(site.folder),
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
        with _job(site, job_id) as alive:
            yield Running(told.target, reader(work), alive, site.pid("taskmanager"), job_id)

    return start


@contextmanager
def _job(site: Site, job_id: str) -> Iterator[Callable[[], None]]:
    with Flink(site.settings.flink.rest) as flink:

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
    """Of Flink SQL: one window's results per entity, or none."""

    def read(record: bytes) -> tuple[int, list[list[float | None]]]:
        number, *values = next(csv.reader([record.decode()]))
        wide = len(OPERATIONS)
        parsed = [float(value) if value else None for value in values]
        return int(number), [parsed[place * wide : (place + 1) * wide] for place in range(len(work.keyed_by))]

    return read


def _forwarded(_: Workload) -> Read:
    return lambda record: (int(next(csv.reader([record.decode()]))[0]), [])


def _told(site: Site, work: Workload, source: str, name: str, mode: str = "") -> Given:
    target = f"results.{name}"
    topics.create(site.kafka, target)
    scratch = site.folder / "scratch" / name
    scratch.mkdir(parents=True)
    return Given(
        name=name,
        bootstrap=site.kafka.bootstrap,
        source=source,
        target=target,
        keyed_by=work.keyed_by,
        spans_ms=work.spans_ms,
        scratch=str(scratch),
        flink=site.flink,
        jars=site.connectors,
        mode=mode,
    )


def _environment(told: Given) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return {**kept, **told.environment(), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


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
# The first one finds Flink's servers cold.
ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (PEERS[0], PENSTOCK, *PEERS[1:])}
