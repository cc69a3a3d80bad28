"""What the client of a job (:mod:`streams.jobs`) hands to the process that submits it (:mod:`streams.job`).

The two run in different environments: this module needs pydantic only. What must stay secret is not part of it: the
key of personal data, and how Kafka lets the job in, come by the environment.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

PII_KEY_VARIABLE = "PENSTOCK_PII_KEY"
KAFKA_VARIABLE = "PENSTOCK_KAFKA_JAVA_PROPERTIES"
"""A JSON object: :meth:`penstock.kafka.KafkaAccess.java`."""


class Submission(BaseModel):
    """One job to submit, as plain data.

    Args:
        name: The job's name in Flink.
        flink_rest: Base URL of the JobManager.
        jars: URLs of the connector and the kernel.
        parallelism: How many tasks each operator gets; at 1 all stages run chained in one task.
        checkpoint_interval_ms: How often state is saved; also how much is done again after a failure.
        savepoint: Path of the savepoint or retained checkpoint to continue from; None starts without state.
        python_files: Folders that hold the modules of Python columns, for the workers' path.
        python_mode: How Python columns run: ``thread`` inside the JVM, ``process`` beside it.
        kernel: The kernel's own request; see ``penstock.kernel.graph.Request``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    flink_rest: str
    jars: tuple[str, ...]
    parallelism: int
    checkpoint_interval_ms: int
    savepoint: str | None
    python_files: tuple[str, ...]
    python_mode: str
    kernel: KernelRequest


class Replay(BaseModel):
    """What makes a job a backfill; see ``penstock.kernel.replay.Replay``.

    Args:
        topic: Where the features go, instead of the pipeline's topic.
        start: The first offset to read of each partition; a partition that is not named is not read.
        end: The offset before which reading ends, of the same partitions.
        from_ms: Event time from which on rows are published.
        to_ms: Event time before which rows are published.
        max_ahead_ms: How far, by Kafka's timestamps, a partition may be read ahead of the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    start: dict[int, int]
    end: dict[int, int]
    from_ms: int
    to_ms: int
    max_ahead_ms: int


class KernelRequest(BaseModel):
    """The kernel's part: plan and schemas as JSON texts, and what names the job in Kafka."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    features_schema: str
    writers: tuple[str, ...]
    registry_url: str | None
    group: str
    submission_ms: int
    exactly_once: bool
    replay: Replay | None = None


class Submitted(BaseModel):
    """The answer: the last line of the process's standard output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
