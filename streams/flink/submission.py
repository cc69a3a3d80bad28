"""The request that :mod:`streams.flink.submit` passes to :mod:`streams.flink.job_graph`, which submits a job.

The two run in different environments, so this module needs pydantic only. Secrets are not part of the request: the key
of personal data and the Kafka credentials are passed as environment variables.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

PII_KEY_VARIABLE = "PENSTOCK_PII_KEY"
DESCRIPTION = "penstock"
"""The job's parameter that holds a :class:`Description`."""
KAFKA_VARIABLE = "PENSTOCK_KAFKA_JAVA_PROPERTIES"
"""A JSON object: :meth:`penstock.kafka.access.KafkaAccess.java`."""


class Options(BaseModel):
    """How a job runs; its definitions say what it computes.

    Args:
        parallelism: How many tasks each operator gets; at 1 all stages run chained in one task.
        exactly_once: Whether features are published in Kafka transactions, visible at each checkpoint.
        checkpoint_interval_ms: How often state is saved; also how much is done again after a failure.
        python_mode: How Python columns run: ``thread`` inside the JVM, ``process`` beside it.
        forget_after_days: How long an event may wait in the raw topic, or be late: the state of an entity is kept for
            so long beyond its longest window.
        state_backend: Where state lives: ``heap``, as objects, or ``rocksdb``, serialized on the TaskManager's disk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parallelism: int = 1
    exactly_once: bool = False
    checkpoint_interval_ms: int = 2_000
    python_mode: Literal["thread", "process"] = "thread"
    state_backend: Literal["heap", "rocksdb"] = "heap"
    forget_after_days: int = 30

    def arguments(self) -> str:
        """What to append to ``penstock job start PIPELINE`` for the same; nothing if that is what it does anyway."""
        given = self.model_dump(exclude_defaults=True)
        return "".join(f" --{name.replace('_', '-')}{'' if on is True else f' {on}'}" for name, on in given.items())


class Description(BaseModel):
    """A running job's description: Flink shows it among the job's parameters, so it holds no secret.

    Args:
        options: How it runs.
        plan: A hash of its plan.
        views: The hash of each of its views, by ``name@version``.
        entities: Its stages.
        form: The fingerprint of its feature records' schema, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: Options
    plan: str
    views: dict[str, str]
    entities: tuple[str, ...]
    form: str


class Submission(BaseModel):
    """One job to submit, as plain data.

    Args:
        name: The job's name in Flink.
        flink_rest: Base URL of the JobManager.
        jars: URLs of the connector and the kernel.
        description: What the job is to say of itself; its options hold for the job.
        savepoint: Path of the savepoint or retained checkpoint to continue from; None starts without state.
        drops_state: Whether it may continue from state of stages that it does not have any more.
        python_files: Folders that hold the modules of Python columns, for the workers' path.
        kernel: The kernel's own request; see ``penstock.kernel.graph.JobRequest``.
        rehearsal: Whether to assemble the job only, and not to submit it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    flink_rest: str
    jars: tuple[str, ...]
    description: Description
    savepoint: str | None
    drops_state: bool
    python_files: tuple[str, ...]
    kernel: KernelRequest
    rehearsal: bool


class Offsets(BaseModel):
    """A bounded part of a topic.

    Args:
        start: The first offset to read of each partition; a partition that is not named is not read.
        end: The offset before which reading ends, of the same partitions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: dict[int, int]
    end: dict[int, int]

    @property
    def records(self) -> int:
        """How many there are, transaction markers included."""
        return sum(self.end.values()) - sum(self.start.values())


class Replay(Offsets):
    """The part of a request that makes a job a backfill; see ``penstock.kernel.replay.Replay``.

    Args:
        topic: Where the features go, instead of the pipeline's topic.
        start: Of the source whose events give rows, as :class:`Offsets`.
        end: The same.
        additional_sources: What to read of each further source, in the plan's order.
        from_ms: Event time from which on rows are published.
        to_ms: Event time before which rows are published.
        max_ahead_ms: How far, by Kafka's timestamps, a partition may be read ahead of the others.
    """

    topic: str
    additional_sources: tuple[Offsets, ...] = ()
    from_ms: int
    to_ms: int
    max_ahead_ms: int

    @property
    def sources(self) -> tuple[Offsets, ...]:
        """What to read of each source, in the plan's order."""
        return (self, *self.additional_sources)


class KernelRequest(BaseModel):
    """The kernel's part: plan and schemas as JSON texts, and what names the job in Kafka.

    ``writers`` are the schemas that each source's producers may have written with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    features_schema: str
    writers: tuple[tuple[str, ...], ...]
    registry_url: str | None
    group: str
    submission_ms: int
    wait_ms: int
    exactly_once: bool
    replay: Replay | None = None


class Submitted(BaseModel):
    """The answer: the last line of the process's standard output; without an id if it was a rehearsal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str | None
