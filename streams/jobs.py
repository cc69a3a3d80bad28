"""The feature job of a pipeline as an operator sees it: start, stop with a savepoint, status.

Submission itself needs PyFlink and happens in a process of the *jobs* environment (:mod:`streams.job`); everything
else is Flink's REST interface (:mod:`streams.flink_rest`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.paths import ROOT, java_home, jobs_python
from deploy.local.processes import end_with_parent
from penstock.errors import PenstockError
from penstock.settings import Settings
from schemas.committed import require_unchanged, writer_schemas
from schemas.contract import Pii
from schemas.records import features_schema
from streams.definitions import Pipeline
from streams.flink_rest import Flink, Job
from streams.plan import PipelinePlan, plan
from streams.submission import KAFKA_VARIABLE, PII_KEY_VARIABLE, KernelRequest, Replay, Submission, Submitted
from streams.topics import group_of, require_topics

LATEST = "latest"
_SUBMIT_TIMEOUT_S = 180.0
_RUNNING_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 300.0
# Also how often a backfill's progress is known.
_BACKFILL_CHECKPOINT_MS = 2_000


def job_name(pipeline: Pipeline) -> str:
    """The name of the pipeline's job in Flink."""
    return f"penstock-{pipeline.name}"


def start(
    pipeline: Pipeline,
    settings: Settings,
    *,
    savepoint: str | None = None,
    parallelism: int = 1,
    exactly_once: bool = False,
    checkpoint_interval_ms: int = 2_000,
    python_mode: str = "thread",
) -> Job:
    """Submit the pipeline's job and return once all its tasks run.

    Args:
        pipeline: What to run.
        settings: Where Kafka and Flink are, and the key of personal data.
        savepoint: Path of a savepoint or retained checkpoint to continue from, or :data:`LATEST` for the one that the
            last :func:`stop` left. None starts with empty windows and a new epoch, at the consumer group's committed
            offsets (the topic's beginning for a new group).
        parallelism: Tasks per operator; at 1 all stages run chained in one task.
        exactly_once: Publish in Kafka transactions, visible at each checkpoint: seconds of latency.
        checkpoint_interval_ms: How often state is saved.
        python_mode: How Python columns run, ``thread`` or ``process``.

    Raises:
        PenstockError: if a topic, a jar, the key or Flink is missing, the definition changed under an old version, a
            job of that name runs already, or Flink refuses the job. Nothing runs then.
    """
    planned = plan(pipeline)
    require_unchanged(pipeline, settings.schemas)
    topics = [planned.source.topic, planned.source.dead_letter_topic, planned.features_topic]
    require_topics(pipeline, settings.kafka, topics)
    with Flink(settings.flink_rest) as flink:
        _require_none_running(flink, pipeline)
        group = group_of(pipeline.name, "features")
        job_id = _submitted(
            planned,
            settings,
            name=job_name(pipeline),
            kernel=_kernel_request(pipeline, planned, settings, group=group, exactly_once=exactly_once),
            parallelism=parallelism,
            checkpoint_interval_ms=checkpoint_interval_ms,
            savepoint=_savepoint(pipeline, settings, savepoint),
            python_mode=python_mode,
        )
        return _await_running(flink, job_id, pipeline)


def start_backfill(
    pipeline: Pipeline, settings: Settings, *, name: str, replay: Replay, checkpoint: str | None = None
) -> str:
    """Submit the same job over a bounded part of the raw topic; returns its id without waiting for it to run.

    Args:
        pipeline: What to run.
        settings: Where Kafka and Flink are, and the key of personal data.
        name: The job's name, and that of its consumer group.
        replay: What to read, and where the rows go.
        checkpoint: The retained checkpoint of the same backfill to continue from; the new job takes it over.

    Raises:
        PenstockError: as :func:`start`.
    """
    planned = plan(pipeline)
    require_unchanged(pipeline, settings.schemas)
    require_topics(pipeline, settings.kafka, [planned.source.topic, replay.topic])
    return _submitted(
        planned,
        settings,
        name=name,
        kernel=_kernel_request(pipeline, planned, settings, group=name, exactly_once=True, replay=replay),
        # One task sees all partitions, and so their order.
        parallelism=1,
        checkpoint_interval_ms=_BACKFILL_CHECKPOINT_MS,
        savepoint=checkpoint,
        python_mode="thread",
    )


def stop(pipeline: Pipeline, settings: Settings) -> str:
    """Stop the job with a savepoint; returns the savepoint's path, from which :func:`start` can continue.

    Raises:
        PenstockError: if no job of the pipeline runs, or the savepoint fails (the job then goes on).
    """
    with Flink(settings.flink_rest) as flink:
        job = _running(flink, pipeline)
        if job is None:
            raise PenstockError(
                f"no job {job_name(pipeline)} is running",
                where=settings.flink_rest,
                next=f"penstock job status {pipeline.name}",
            )
        path = flink.stop(job.id, _STOP_TIMEOUT_S)
    remembered = _latest_file(pipeline, settings)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(path + "\n", encoding="utf-8")
    return path


def status(pipeline: Pipeline, settings: Settings) -> Job | None:
    """The pipeline's job, the latest if there have been several; None if Flink knows none.

    Raises:
        PenstockError: if Flink cannot be reached.
    """
    with Flink(settings.flink_rest) as flink:
        jobs = sorted(flink.jobs(job_name(pipeline)), key=lambda job: (job.is_active, job.start_ms))
        return flink.detailed(jobs[-1]) if jobs else None


def _running(flink: Flink, pipeline: Pipeline) -> Job | None:
    return next((job for job in flink.jobs(job_name(pipeline)) if job.is_active), None)


def _require_none_running(flink: Flink, pipeline: Pipeline) -> None:
    job = _running(flink, pipeline)
    if job is not None:
        raise PenstockError(
            f"job {job.name} is {job.state} already",
            where=f"{flink.url}, job {job.id}",
            safe="nothing was changed",
            next=f"penstock job stop {pipeline.name}",
        )


def personal_key_of(planned: PipelinePlan, settings: Settings) -> str:
    """The key with which the pipeline's personal data is hashed; empty if it has none to hash.

    Raises:
        PenstockError: if it needs a key and none is configured.
    """
    hashes = any(field.pii is Pii.HASH for field in planned.source.fields)
    return settings.require_pii_key().get_secret_value() if hashes else ""


def _jars(settings: Settings) -> tuple[str, ...]:
    kernel = settings.jars / "kernel" / "penstock-kernel.jar"
    connectors = sorted((settings.jars / "flink").glob("*.jar"))
    if not kernel.is_file():
        raise PenstockError("the kernel is not built", where=str(kernel), next="make setup")
    if not connectors:
        raise PenstockError("Flink's Kafka connector is missing", where=str(settings.jars / "flink"), next="make setup")
    return tuple(path.resolve().as_uri() for path in (*connectors, kernel))


def _submitted(
    planned: PipelinePlan,
    settings: Settings,
    *,
    name: str,
    kernel: KernelRequest,
    parallelism: int,
    checkpoint_interval_ms: int,
    savepoint: str | None,
    python_mode: str,
) -> str:
    personal_key = personal_key_of(planned, settings)
    jars = _jars(settings)
    with _python_files(planned) as python_files:
        submission = Submission(
            name=name,
            flink_rest=settings.flink_rest,
            jars=jars,
            parallelism=parallelism,
            checkpoint_interval_ms=checkpoint_interval_ms,
            savepoint=savepoint,
            python_files=python_files,
            python_mode=python_mode,
            kernel=kernel,
        )
        return _submit(submission, personal_key, settings)


def _kernel_request(
    pipeline: Pipeline,
    planned: PipelinePlan,
    settings: Settings,
    *,
    group: str,
    exactly_once: bool,
    replay: Replay | None = None,
) -> KernelRequest:
    return KernelRequest(
        plan=planned.model_dump_json(),
        features_schema=json.dumps(features_schema(planned)),
        writers=tuple(json.dumps(schema) for schema in writer_schemas(pipeline.source.contract, settings.schemas)),
        registry_url=settings.schema_registry_url,
        group=group,
        submission_ms=time.time_ns() // 1_000_000,
        exactly_once=exactly_once,
        replay=replay,
    )


def _savepoint(pipeline: Pipeline, settings: Settings, savepoint: str | None) -> str | None:
    if savepoint != LATEST:
        return savepoint
    remembered = _latest_file(pipeline, settings)
    if not remembered.is_file():
        raise PenstockError(
            f"no savepoint of {pipeline.name} is remembered",
            where=str(remembered),
            next=f"penstock job start {pipeline.name} --from-savepoint PATH, or without it to start empty",
        )
    return remembered.read_text(encoding="utf-8").strip()


def _latest_file(pipeline: Pipeline, settings: Settings) -> Path:
    """Where the path of the last savepoint is kept."""
    return settings.flink_state / "latest-savepoints" / pipeline.name


@contextmanager
def _python_files(planned: PipelinePlan) -> Iterator[tuple[str, ...]]:
    """A folder with the modules of the Python columns, for the workers; they have Penstock itself."""
    modules = {column.python.partition(":")[0] for column in planned.derived if column.python is not None}
    if not modules:
        yield ()
        return
    with tempfile.TemporaryDirectory(prefix="penstock-job-") as folder:
        for top in {module.partition(".")[0] for module in modules}:
            spec = importlib.util.find_spec(top)
            assert spec is not None  # the pipeline was imported through it
            if spec.submodule_search_locations:
                source = Path(next(iter(spec.submodule_search_locations)))
                shutil.copytree(source, Path(folder) / top, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                assert spec.origin is not None
                shutil.copy(spec.origin, folder)
        yield (folder,)


def _submit(submission: Submission, personal_key: str, settings: Settings) -> str:
    python = jobs_python()
    home = java_home()
    if not python.exists() or home is None:
        raise PenstockError("the environment that submits jobs is missing", where=str(python), next="make setup")
    logs = settings.flink_state / "log"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        "FLINK_CONF_DIR": str(settings.flink_conf_dir),
        "FLINK_LOG_DIR": str(logs),
        "JAVA_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        KAFKA_VARIABLE: json.dumps(settings.kafka.java()),
        PII_KEY_VARIABLE: personal_key,
    }
    if settings.flink_home is not None:
        environment["FLINK_HOME"] = str(settings.flink_home)
    try:
        # Flink's client leaves what it packed in Java's folder for temporary files.
        with tempfile.TemporaryDirectory(prefix="penstock-submit-") as scratch:
            done = subprocess.run(
                [str(python), "-m", "streams.job"],
                input=submission.model_dump_json(),
                capture_output=True,
                text=True,
                env=environment | {"JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={scratch}"},
                # It would go on submitting although nobody waits for it. Its JVM ends with it.
                preexec_fn=end_with_parent,
                timeout=_SUBMIT_TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise PenstockError(
            f"submission took more than {_SUBMIT_TIMEOUT_S:.0f} s", where=settings.flink_rest, next="penstock status"
        ) from error
    if done.returncode:
        log = logs / f"submit-{submission.name}.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        cause = _cause(done.stderr)
        needs_python = "ClassNotFoundException" in cause and ".python." in cause
        raise PenstockError(
            f"the job was refused: {cause}",
            where=str(log),
            safe="no job was started",
            next="put Flink's opt/flink-python-*.jar into the cluster's lib folder" if needs_python else None,
        )
    return Submitted.model_validate_json(done.stdout.strip().splitlines()[-1]).job_id


def _cause(stderr: str) -> str:
    """The innermost message of a Java or Python traceback."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"at [\w.$/<>]+\(|\.\.\. \d+ more", line)]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[-1].removeprefix(": ") if lines else "it said nothing"


def _await_running(flink: Flink, job_id: str, pipeline: Pipeline) -> Job:
    deadline = time.monotonic() + _RUNNING_TIMEOUT_S
    while True:
        job = flink.detailed(flink.job(job_id))
        if job.state == "RUNNING" and job.tasks_running == job.tasks:
            return job
        if not job.is_active or time.monotonic() > deadline or job.restarts > 2:
            raise PenstockError(
                f"job {job.name} does not run: it is {job.state}, {job.tasks_running} of {job.tasks} tasks run"
                + (f"; {job.failure}" if job.failure else ""),
                where=f"{flink.url}, job {job_id}",
                next=f"penstock job status {pipeline.name}; penstock logs taskmanager",
            )
        time.sleep(0.2)
