"""Submits a job to Flink: PyFlink assembles it in the *jobs* environment (:mod:`streams.flink.job_graph`)."""

from __future__ import annotations

import hashlib
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

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from penstock.paths import PACKAGED_KERNEL, SETUP_COMMAND, code_folder, java_home, jobs_python
from penstock.processes import end_with_parent
from penstock.settings import Settings
from schemas.avro import fingerprint
from schemas.committed import writer_schemas
from schemas.contract import Contract
from streams.definitions.columns import PythonColumn
from streams.definitions.importing import source_files
from streams.definitions.pipeline import Pipeline
from streams.flink.submission import (
    KAFKA_VARIABLE,
    PII_KEY_VARIABLE,
    Description,
    Fill,
    Join,
    KernelRequest,
    Limits,
    Options,
    Replay,
    SourceStart,
    Submission,
    SubmissionResult,
)
from streams.plan.feature_records import features_schema
from streams.plan.hashing import optional_fields
from streams.plan.model import PipelinePlan
from streams.plan.project import Project

# For a JVM that ends within seconds: no optimising compiler, no concurrent garbage collector.
_JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_SUBMIT_TIMEOUT_S = 180.0
_DAY_MS = 86_400_000
# The state of a replay need not expire, and looking for what has expired costs a tenth of it.
_FOR_EVER_MS = 2**63 - 1


def submit_job(
    project: Project,
    settings: Settings,
    options: Options,
    limits: Limits,
    *,
    name: str,
    group: str,
    savepoint: str | None = None,
    drop_state: bool = False,
    starts: tuple[SourceStart, ...] = (),
    skip_deleted: bool = False,
    replay: Replay | None = None,
    fill: Fill | None = None,
    filled: str | None = None,
) -> str:
    """Submit a job and return its id without waiting for it to run.

    Args:
        project: What to run.
        settings: The addresses of Kafka and Flink, and the key of personal data.
        options: How to run it.
        limits: The longest records that its topics take.
        name: The job's name.
        group: Its consumer group.
        savepoint: Path of the savepoint or retained checkpoint to continue from; None starts without state.
        drop_state: Whether the savepoint may have state of stages that the job no longer has.
        starts: Where a live job begins to read its sources.
        skip_deleted: Whether it goes on where Kafka deleted records before it read them.
        replay: The offsets of a backfill; None runs the live job.
        fill: What makes the replay fill views of a running pipeline.
        filled: The fill whose views the job takes over from the savepoint.

    Raises:
        PenstockError: if a jar, the key or Flink is missing, or Flink refuses the job.
    """
    job_id = _build_and_submit(
        project,
        settings,
        options,
        name,
        group,
        limits=limits,
        savepoint=savepoint,
        drop_state=drop_state,
        starts=starts,
        skip_deleted=skip_deleted,
        replay=replay,
        fill=fill,
        filled=filled,
    )
    assert job_id is not None
    return job_id


def dry_run_job(
    project: Project, settings: Settings, options: Options, limits: Limits, *, name: str, group: str
) -> None:
    """Assemble the job as :func:`submit_job` does, without submitting it.

    Raises:
        PenstockError: as :func:`submit_job`, apart from the errors of a running Flink.
    """
    _build_and_submit(project, settings, options, name, group, limits=limits, dry_run=True)


def submit_join(project: Project, settings: Settings, join: Join, *, name: str) -> str:
    """Submit a job that joins two savepoints; returns its id without waiting for it to run.

    Raises:
        PenstockError: as :func:`submit_job`.
    """
    options = Options()
    submission = Submission(
        name=name,
        flink_rest=settings.flink.rest,
        jars=_jars(settings),
        description=description_of(project, options),
        savepoint=None,
        drop_state=False,
        python_files=(),
        kernel=join,
        dry_run=False,
    )
    job_id = _run_job_graph(submission, "", settings)
    assert job_id is not None
    return job_id


def description_of(project: Project, options: Options) -> Description:
    """The description of a job with these definitions and options."""
    plan = project.plan
    return Description(
        options=options,
        plan=hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:16],
        views={view.id: view.hash for view in plan.views},
        optional=optional_fields(project.pipeline),
        entities=tuple(stage.entity for stage in plan.stages),
        form=fingerprint(features_schema(plan)).hex(),
    )


def personal_key_of(plan: PipelinePlan, settings: Settings) -> str:
    """The key that hashes the pipeline's personal data; empty if no field is hashed.

    Raises:
        PenstockError: if the pipeline needs a key and none is configured.
    """
    return settings.pii.require_key().get_secret_value() if plan.hashed_fields else ""


def _build_and_submit(
    project: Project,
    settings: Settings,
    options: Options,
    name: str,
    group: str,
    *,
    limits: Limits,
    savepoint: str | None = None,
    drop_state: bool = False,
    starts: tuple[SourceStart, ...] = (),
    skip_deleted: bool = False,
    replay: Replay | None = None,
    fill: Fill | None = None,
    filled: str | None = None,
    dry_run: bool = False,
) -> str | None:
    plan = project.plan
    personal_key = personal_key_of(plan, settings)
    jars = _jars(settings)
    kernel = KernelRequest(
        plan=plan.model_dump_json(),
        features_schema=json.dumps(features_schema(plan)),
        writers=tuple(
            tuple(json.dumps(schema) for schema in writer_schemas(contract, project.schemas))
            for contract in _contracts_read(project.pipeline)
        ),
        registry_url=settings.schema_registry_url,
        group=group,
        submission_ms=time.time_ns() // 1_000_000,
        wait_ms=options.forget_after_days * _DAY_MS if replay is None else _FOR_EVER_MS,
        starts=starts,
        skip_deleted=skip_deleted,
        exactly_once=options.exactly_once,
        unpublished_topic=dead_letters_of(plan.features_topic),
        limits=limits,
        replay=replay,
        fill=fill,
    )
    with _python_files(project.pipeline) as python_files:
        submission = Submission(
            name=name,
            flink_rest=settings.flink.rest,
            jars=jars,
            description=description_of(project, options).model_copy(update={"filled": filled}),
            savepoint=savepoint,
            drop_state=drop_state,
            python_files=python_files,
            kernel=kernel,
            dry_run=dry_run,
        )
        return _run_job_graph(submission, personal_key, settings)


def _contracts_read(pipeline: Pipeline) -> list[type[Contract]]:
    """The contracts of the sources, then those of the lookups."""
    return [*(source.contract for source in pipeline.sources), *(lookup.contract for lookup in pipeline.lookups)]


def _jars(settings: Settings) -> tuple[str, ...]:
    kernel = PACKAGED_KERNEL if PACKAGED_KERNEL.is_file() else settings.jars / "kernel" / PACKAGED_KERNEL.name
    connectors = sorted((settings.jars / "flink").glob("*.jar"))
    if not kernel.is_file():
        raise PenstockError("the kernel is not built", where=str(kernel), next=SETUP_COMMAND)
    if not connectors:
        raise PenstockError(
            "Flink's Kafka connector jar is missing", where=str(settings.jars / "flink"), next=SETUP_COMMAND
        )
    return tuple(path.resolve().as_uri() for path in (*connectors, kernel))


@contextmanager
def _python_files(pipeline: Pipeline) -> Iterator[tuple[str, ...]]:
    """A temporary folder with the modules of the Python columns; Flink's workers have Penstock itself."""
    modules = {column.function.__module__ for column in pipeline.derived.values() if isinstance(column, PythonColumn)}
    if not modules:
        yield ()
        return
    with tempfile.TemporaryDirectory(prefix="penstock-job-") as folder:
        for module in modules:
            for name, file in source_files(module).items():
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        yield (folder,)


def _run_job_graph(submission: Submission, personal_key: str, settings: Settings) -> str | None:
    python = jobs_python()
    home = java_home()
    if not python.exists() or home is None:
        raise PenstockError("the jobs environment or Java is missing", where=str(python), next=SETUP_COMMAND)
    if not settings.flink.conf_dir.is_dir():
        # Without it Flink's client fails with a Java error that does not name the cause.
        raise PenstockError(
            "Flink's configuration folder is missing",
            where=str(settings.flink.conf_dir),
            safe="no job was started",
            next="penstock up; for a stack in another folder: export PENSTOCK_HOME=FOLDER; "
            "for another cluster: set PENSTOCK_FLINK_CONF_DIR",
        )
    logs = settings.flink.state / "log"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        "FLINK_CONF_DIR": str(settings.flink.conf_dir),
        "FLINK_LOG_DIR": str(logs),
        "JAVA_HOME": str(home),
        "PYTHONPATH": str(code_folder()),
        KAFKA_VARIABLE: json.dumps(settings.kafka.access.java()),
        PII_KEY_VARIABLE: personal_key,
    }
    if settings.flink.home is not None:
        environment["FLINK_HOME"] = str(settings.flink.home)
    try:
        # Flink's client does not delete its files in Java's temporary folder.
        with tempfile.TemporaryDirectory(prefix="penstock-submit-") as scratch:
            finished = subprocess.run(
                [str(python), "-m", "streams.flink.job_graph"],
                input=submission.model_dump_json(),
                capture_output=True,
                text=True,
                env=environment | {"JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={scratch} {_JVM_OPTIONS}"},
                # Without this, an orphaned process would still submit the job. Its JVM ends with it.
                preexec_fn=end_with_parent,
                timeout=_SUBMIT_TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise PenstockError(
            f"the submission did not finish within {_SUBMIT_TIMEOUT_S:.0f} s",
            where=settings.flink.rest,
            next="penstock status",
        ) from error
    if finished.returncode:
        log = logs / f"submit-{submission.name}.log"
        log.write_text(finished.stdout + finished.stderr, encoding="utf-8")
        cause = _innermost_message(finished.stderr)
        needs_python = "ClassNotFoundException" in cause and ".python." in cause
        raise PenstockError(
            f"the submission failed: {cause}",
            where=str(log),
            safe="no job was started",
            next="copy Flink's opt/flink-python-*.jar into the cluster's lib folder" if needs_python else None,
        )
    return SubmissionResult.model_validate_json(finished.stdout.strip().splitlines()[-1]).job_id


def _innermost_message(stderr: str) -> str:
    """The innermost message of a Java or Python traceback."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"at [\w.$/<>]+\(|\.\.\. \d+ more", line)]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else lines[-1].removeprefix(": ") if lines else "no message on standard error"
