"""Assembles the PyFlink job of a pipeline from its plan, around the JVM kernel, and submits it to the cluster.

Runs in the *jobs* environment as ``python -m streams.flink.job_graph``, with a
:class:`streams.flink.submission.Submission` as JSON on standard input; :mod:`streams.flink.submit` is its only caller.
Python only defines the graph. Per event, the kernel runs, and the Flink SQL and Python functions of derived columns.
"""

# ruff: noqa: SLF001 - PyFlink gives no other access to its Java objects
from __future__ import annotations

import contextlib
import os
import sys
from typing import Any
from urllib.parse import urlsplit

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import DataTypes, StreamTableEnvironment, Table
from pyflink.table.udf import udf
from pyflink.util.java_utils import add_jars_to_context_class_loader, to_jarray

from streams.flink.submission import (
    DESCRIPTION_PARAMETER,
    KAFKA_VARIABLE,
    PII_KEY_VARIABLE,
    Join,
    Submission,
    SubmissionResult,
)
from streams.plan.derivation import derivation_query, feature_query, function_name, python_function
from streams.plan.model import ColumnPlan, PipelinePlan

# The number of key groups, and so the highest parallelism that a savepoint of the job can be restored with.
MAX_PARALLELISM = 128


def main() -> None:
    """Submit the job given on standard input; print a :class:`SubmissionResult` as the last line of standard output."""
    submission = Submission.model_validate_json(sys.stdin.read())
    job_id = submit(submission, os.environ[KAFKA_VARIABLE], os.environ.get(PII_KEY_VARIABLE, "").encode())
    sys.stdout.write(SubmissionResult(job_id=job_id).model_dump_json() + "\n")
    sys.stdout.flush()
    _end_now()


def _end_now() -> None:
    """End this process and its JVM, which would take half a second to close what the system closes anyway."""
    with contextlib.suppress(Exception):  # the answer of a JVM that has ended
        get_gateway().jvm.java.lang.Runtime.getRuntime().halt(0)
    os._exit(0)


def submit(submission: Submission, kafka: str, personal_key: bytes) -> str | None:
    """Assemble the graph, submit it, and return the job's id without waiting for the job to run.

    A dry run only assembles the graph, so that its errors show without a job; it returns None.
    """
    environment = _remote_environment(submission)
    assemble(environment, submission, kafka, personal_key)
    if submission.dry_run:
        environment._j_stream_execution_environment.getStreamGraph(False)
        return None
    client = environment.execute_async(submission.name)
    return str(client.get_job_id())


def assemble(environment: StreamExecutionEnvironment, submission: Submission, kafka: str, personal_key: bytes) -> None:
    """Add the job's operators to ``environment``: read, SQL, windows, SQL, write."""
    new_graph = get_gateway().jvm.penstock.kernel.graph.JobGraph
    if isinstance(submission.kernel, Join):
        join = submission.kernel
        new_graph.join(environment._j_stream_execution_environment, join.live, join.filled, join.target)
        return
    plan = PipelinePlan.model_validate_json(submission.kernel.plan)
    # JVM classes of the kernel; secrets go into serialized operators, never into the configuration that Flink shows.
    graph = new_graph(submission.kernel.model_dump_json(), kafka, personal_key)
    events = graph.read(environment._j_stream_execution_environment)
    if graph.computesColumns():
        events = _add_derived_columns(environment, graph, events, plan, submission)
    events = graph.windows(events)
    if graph.computesFeatures():
        events = _add_derived_features(environment, graph, events, plan)
    graph.write(events)


def _add_derived_features(environment: StreamExecutionEnvironment, graph: Any, events: Any, plan: PipelinePlan) -> Any:
    """Add the derived features by SQL: the events, now with their views, pass through a table again."""
    tables = StreamTableEnvironment.create(environment)
    tables.create_temporary_view("features", Table(graph.toFeatureTable(tables._j_tenv, events), tables))
    derived = tables.sql_query(feature_query(plan, list(graph.featureTableColumns()), "features"))
    return graph.fromFeatureTable(tables._j_tenv, derived._j_table)


def _add_derived_columns(
    environment: StreamExecutionEnvironment, graph: Any, events: Any, plan: PipelinePlan, submission: Submission
) -> Any:
    """Add the derived columns by SQL and Python functions: the events pass through a table."""
    tables = StreamTableEnvironment.create(environment)
    python_columns = [column for column in plan.derived if column.python is not None]
    for folder in submission.python_files if python_columns else ():
        environment.add_python_file(folder)
        sys.path.insert(0, folder)
    for column in python_columns:
        function = udf(python_function(column), result_type=_result_type(column))
        tables.create_temporary_function(function_name(column), function)
    tables.create_temporary_view("events", Table(graph.toTable(tables._j_tenv, events), tables))
    derived = tables.sql_query(derivation_query(plan, list(graph.tableColumns()), "events"))
    events = graph.fromTable(tables._j_tenv, derived._j_table)
    if python_columns:
        _require_python_mode(environment, submission.description.options.python_mode)
    return events


def _result_type(column: ColumnPlan) -> Any:
    return {
        "string": DataTypes.STRING(),
        "long": DataTypes.BIGINT(),
        "double": DataTypes.DOUBLE(),
        "boolean": DataTypes.BOOLEAN(),
    }[column.type]


def _require_python_mode(environment: StreamExecutionEnvironment, mode: str) -> None:
    """Raise if Flink chose another mode: it falls back from threads to slower processes without a message."""
    used = get_gateway().jvm.penstock.kernel.graph.PythonMode.of(environment._j_stream_execution_environment)
    if used != mode:
        raise RuntimeError(f"Python columns would run in mode {used!r}, but the job's option is {mode!r}")


def _remote_environment(submission: Submission) -> StreamExecutionEnvironment:
    rest = urlsplit(submission.flink_rest)
    assert rest.hostname is not None
    assert rest.port is not None
    add_jars_to_context_class_loader(list(submission.jars))
    jvm = get_gateway().jvm
    configuration = Configuration()
    for name, value in job_settings(submission).items():
        configuration.set_string(name, value)
    # Passed as an argument of its own: otherwise the environment overwrites the configured values with defaults.
    restore = jvm.org.apache.flink.runtime.jobgraph.SavepointRestoreSettings.fromConfiguration(
        configuration._j_configuration
    )
    remote = jvm.org.apache.flink.streaming.api.environment.RemoteStreamEnvironment(
        rest.hostname, rest.port, configuration._j_configuration, to_jarray(jvm.String, []), None, restore
    )
    job_parameters = Configuration().set_string(DESCRIPTION_PARAMETER, submission.description.model_dump_json())
    remote.getConfig().setGlobalJobParameters(job_parameters._j_configuration)
    return StreamExecutionEnvironment(remote)


def job_settings(submission: Submission) -> dict[str, str]:
    """The job's configuration, as Flink's option names and values."""
    options, kernel = submission.description.options, submission.kernel
    backfill = not isinstance(kernel, Join) and kernel.replay is not None and kernel.fill is None
    settings = {
        "pipeline.jars": ";".join(submission.jars),
        "pipeline.name": submission.name,
        "pipeline.object-reuse": "true",
        "pipeline.generic-types": "false",
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        "parallelism.default": str(options.parallelism),
        "execution.attached": "false",
        # Records do not wait for a network buffer to fill. Nobody waits for those of a backfill.
        "execution.buffer-timeout.interval": "100 ms" if backfill else "1 ms",
        "state.backend.type": {"heap": "hashmap", "rocksdb": "rocksdb"}[options.state_backend],
        "execution.checkpointing.interval": f"{options.checkpoint_interval_ms} ms",
        # If a snapshot takes longer than the interval, the job still runs for one interval without a snapshot.
        "execution.checkpointing.min-pause": f"{options.checkpoint_interval_ms} ms",
        "execution.checkpointing.timeout": "5 min",
        "execution.checkpointing.tolerable-failed-checkpoints": "10",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "restart-strategy.exponential-delay.reset-backoff-threshold": "2 min",
        "python.execution-mode": options.python_mode,
        "python.fn-execution.bundle.time": "5",
    }
    if backfill:
        # Nothing waits in the operators of a replay when a checkpoint begins: ViewsMerger.java.
        settings["execution.checkpointing.unaligned.enabled"] = "false"
    if options.state_backend == "rocksdb":
        settings["execution.checkpointing.incremental"] = "true"
    if submission.savepoint is not None:
        settings["execution.state-recovery.path"] = submission.savepoint
        # NO_CLAIM: Flink never deletes the savepoint, and the user can start from it again.
        # CLAIM: only the backfill uses its checkpoint, so Flink deletes it once a newer one exists. A fill may begin a
        # segment again.
        settings["execution.state-recovery.ignore-unclaimed-state"] = str(submission.drop_state).lower()
        settings["execution.state-recovery.claim-mode"] = "CLAIM" if backfill else "NO_CLAIM"
    return settings


if __name__ == "__main__":
    main()
