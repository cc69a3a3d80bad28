"""What it takes to make a version again, byte for byte, beside what its manifest said before. Plain data.

A version whose manifest has no recipe was written by an earlier build, and cannot be made again.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class TopicRead(BaseModel):
    """Which records of a topic were read.

    Args:
        offsets: By partition the offset of the first record, and the one after the last. Partitions without a record
            are not in it.
        records: How many there were.
        sha256: The hash of their places, Kafka timestamps and values.
    """

    model_config = ConfigDict(frozen=True)

    offsets: Mapping[int, tuple[int, int]]
    records: int
    sha256: str


class DataRecipe(BaseModel):
    """Where a training set comes from.

    Args:
        data_hash: The hash of the set.
        events: How many events it has.
        columns: The SHA-256 of each column, which say what differs if the hash does. ``EVENTS`` and ``LABEL`` are two
            of them, the others are inputs.
        from_ms: The backfill's first event time, in epoch ms, and ``to_ms`` the one after its last.
        views: The views of the backfill, in record order.
        max_ahead_ms: How far its job read partitions ahead, by Kafka's timestamps.
        offsets: Those of each raw topic that it replayed, in the order of the sources: by partition the first, and the
            end.
        topics: The other topics that were read: labels, and predictions if they gave inputs of other pipelines.
    """

    model_config = ConfigDict(frozen=True)

    data_hash: str
    events: int
    columns: Mapping[str, str]
    from_ms: int
    to_ms: int
    views: tuple[str, ...]
    max_ahead_ms: int
    offsets: Mapping[str, Mapping[int, tuple[int, int]]]
    topics: Mapping[str, TopicRead]


class Recipe(BaseModel):
    """How a version was made.

    Args:
        definition: The hash of each part of the pipeline's definition that its data and files depend on; the views are
            in the manifest.
        seed: The seed of the training and of the drift reference.
        parameters: Those of Penstock's own training.
        data: The training set; of an import the set of its drift reference, None without one.
        trainer: The digest of the source of the function that trained it; None if Penstock did, empty if it could not
            be read.
        tolerance: How far a score of the check rows might be off; None if it was trained.
        code: The SHA-256 of Penstock's own source.
        machine: What it was made on, as far as numbers may depend on it.
    """

    model_config = ConfigDict(frozen=True)

    definition: Mapping[str, str]
    seed: int
    parameters: Mapping[str, float] = {}
    data: DataRecipe | None = None
    trainer: str | None = None
    tolerance: float | None = None
    code: str
    machine: Mapping[str, str]
