"""The request that :mod:`streams.flink.submit` passes to :mod:`streams.flink.job_graph`, which submits a job.

The two run in different environments, so this module may import nothing but pydantic. The request holds no secret: the
key of personal data and the Kafka credentials are passed as environment variables.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

PII_KEY_VARIABLE = "PENSTOCK_PII_KEY"
DESCRIPTION_PARAMETER = "penstock"
"""The name of the job parameter that holds a :class:`Description`."""
KAFKA_VARIABLE = "PENSTOCK_KAFKA_JAVA_PROPERTIES"
"""A JSON object: :meth:`penstock.kafka.access.KafkaAccess.java`."""


class Options(BaseModel):
    """How a job runs. What it computes is in its definitions.

    Args:
        parallelism: Tasks per operator; at 1 all stages run chained in one task.
        exactly_once: Whether features are published in Kafka transactions, visible at each checkpoint.
        checkpoint_interval_ms: Time between checkpoints; a failure repeats at most the work since the last one.
        python_mode: Where Python columns run: ``thread`` inside the JVM, ``process`` in processes beside it.
        state_backend: Where state is kept: ``heap``, as objects, or ``rocksdb``, serialized on the TaskManager's disk.
        forget_after_days: How long the state of an entity is kept beyond its longest window: at least as long as an
            event may wait in the raw topic or be late.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parallelism: int = 1
    exactly_once: bool = False
    checkpoint_interval_ms: int = 2_000
    python_mode: Literal["thread", "process"] = "thread"
    state_backend: Literal["heap", "rocksdb"] = "heap"
    forget_after_days: int = 30

    def arguments(self) -> str:
        """The options other than the defaults, as text to append to ``penstock job start PIPELINE``."""
        given = self.model_dump(exclude_defaults=True)
        return "".join(f" --{name.replace('_', '-')}{'' if on is True else f' {on}'}" for name, on in given.items())


class Description(BaseModel):
    """What a job runs. Flink shows it among the job's parameters, so it holds no secret.

    Args:
        options: The job's options.
        plan: The hash of its plan.
        views: The hash of each view, by ``name@version``.
        optional: The types of the optional fields that no hash has; see :func:`streams.plan.hashing.optional_fields`.
        entities: The entity of each stage.
        form: The fingerprint of its feature records' schema, in hexadecimal.
        filled: The fill whose views the job took over when it started; see :class:`Fill`. None: it took over none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: Options
    plan: str
    views: dict[str, str]
    optional: dict[str, str]
    entities: tuple[str, ...]
    form: str
    filled: str | None = None


class Submission(BaseModel):
    """One job to submit, as plain data.

    Args:
        name: The job's name in Flink.
        flink_rest: Base URL of the JobManager.
        jars: URLs of the connector jars and the kernel jar.
        description: The job's description, published as a job parameter; its options apply to the job.
        savepoint: Path of the savepoint or retained checkpoint to continue from; None starts without state.
        drop_state: Whether the savepoint may have state of stages that the job no longer has.
        python_files: Folders with the modules of Python columns, for the Python path of Flink's workers.
        kernel: The kernel's part; see ``penstock.kernel.graph.JobRequest``. Or two savepoints that it joins.
        dry_run: Whether to assemble the job without submitting it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    flink_rest: str
    jars: tuple[str, ...]
    description: Description
    savepoint: str | None
    drop_state: bool
    python_files: tuple[str, ...]
    kernel: KernelRequest | Join
    dry_run: bool


class Offsets(BaseModel):
    """A bounded part of a topic.

    Args:
        start: The first offset to read, by partition; other partitions are not read.
        end: The offset before which reading ends, for the same partitions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: dict[int, int]
    end: dict[int, int]

    @property
    def records(self) -> int:
        """The number of offsets, those of transaction markers included."""
        return sum(self.end.values()) - sum(self.start.values())


class Restored(Offsets):
    """Copies of a source's records; see ``penstock.kernel.replay.Replay.Restored``. ``topic`` has them."""

    topic: str


class Replay(Offsets):
    """What a backfill reads and publishes; see ``penstock.kernel.replay.Replay``.

    Args:
        topic: The topic for the features, instead of the pipeline's.
        start: As in :class:`Offsets`, for the first source, whose events give rows.
        end: As in :class:`Offsets`, for the first source.
        additional_sources: The offsets of each further source, in the plan's order.
        lookups: The offsets of each topic of reference data, in the plan's order.
        from_ms: Rows are published from this event time on.
        to_ms: Rows are published before this event time.
        max_ahead_ms: How far a partition may be read ahead of the others, by Kafka's timestamps.
        max_per_s: How many records to replay in a second at most; 0: as many as possible.
        parallelism: Tasks of each stage. One task puts the records in order before them.
        restored: The topics that have copies of the records to read, in the plan's order; empty: the sources' own have
            them.
    """

    topic: str
    additional_sources: tuple[Offsets, ...] = ()
    lookups: tuple[Offsets, ...] = ()
    from_ms: int
    to_ms: int
    max_ahead_ms: int
    max_per_s: int = 0
    parallelism: int = 1
    restored: tuple[Restored, ...] = ()

    @property
    def sources(self) -> tuple[Offsets, ...]:
        """The offsets of all sources, in the plan's order."""
        return (self, *self.additional_sources)


class Fill(BaseModel):
    """What makes a replay one that fills views of a running pipeline; see ``penstock.kernel.fill.Fill``.

    Args:
        run: The id of the fill.
        segment: The number of the segment that the job replays, from 0.
        end_savepoint: The savepoint at whose positions it ends; None: at those of the replay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    segment: int
    end_savepoint: str | None = None


class Join(BaseModel):
    """Savepoints to join; see ``penstock.kernel.fill.Savepoints``.

    Args:
        live: The savepoint of the running job.
        filled: The savepoint of a fill that ended at its positions.
        target: The path of the savepoint to write.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: str
    filled: str
    target: str


class Limits(BaseModel):
    """Bytes of the longest record that each topic of a job takes.

    Args:
        features: The features topic.
        dead_letters: The dead-letter topic of each source.
        unpublished: The dead-letter topic of the features topic.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int
    dead_letters: tuple[int, ...]
    unpublished: int


class SourceStart(BaseModel):
    """Where a live job begins to read a source.

    Args:
        first: By partition, the first offset of a job without state; -2 is the earliest that the topic has.
        earliest: By partition, the first offset that the topic still has: the job's state may not be behind it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: dict[int, int]
    earliest: dict[int, int]


class KernelRequest(BaseModel):
    """The kernel's part: plan and schemas as JSON texts, and the job's consumer group.

    ``writers`` are, for each source and then each lookup, the schemas that its producers may have used, ``starts``
    where a live job begins. With ``skip_deleted`` it goes on where Kafka deleted records before it read them.
    ``unpublished_topic`` is for the letters of feature records that are too long for their topic.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    features_schema: str
    writers: tuple[tuple[str, ...], ...]
    registry_url: str | None
    group: str
    submission_ms: int
    wait_ms: int
    starts: tuple[SourceStart, ...]
    skip_deleted: bool
    exactly_once: bool
    unpublished_topic: str
    limits: Limits
    replay: Replay | None = None
    fill: Fill | None = None


class SubmissionResult(BaseModel):
    """The result: the last line of the process's standard output. A dry run has no job id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str | None
