"""Everything that a run of a pipeline left, as the verifier judges it: plain data, read once.

:mod:`verify.reading` reads it from Kafka, Redis, Cassandra and files. The judge (:mod:`verify.judge`) connects to
nothing, so a test can change a recorded run and judge it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from penstock.kafka.reading import Record
from verify.published import Published


@dataclass(frozen=True)
class StoredTable:
    """A Cassandra table: the primary key of every row, and some whole rows.

    ``key`` names the columns of the primary key, in order.
    """

    key: tuple[str, ...]
    keys: Sequence[tuple[Any, ...]]
    rows: Sequence[Mapping[str, Any]]


class OffsetRange(NamedTuple):
    """The offsets of one source that a backfill replayed, from ``start`` up to ``end``, by partition."""

    start: Mapping[int, int]
    end: Mapping[int, int]


@dataclass(frozen=True)
class BackfillData:
    """A backfill: its range of event time, the views of its rows, the offsets of each source, and all rows.

    ``announced_rows`` is the number of rows that its manifest states, ``epoch`` that of its rows in Cassandra.
    ``keyspaces`` are those of Cassandra to which all of its rows went, by its manifest. ``identity`` is the hash of
    what its rows follow from; training sets that were made of it have it, too.
    """

    from_ms: int
    to_ms: int
    views: tuple[str, ...]
    sources: tuple[OffsetRange, ...]
    announced_rows: int
    rows: pa.Table
    epoch: int = 0
    keyspaces: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class BuiltSet:
    """A folder of a training set: its name, its manifest, and all rows of its files in their order."""

    name: str
    manifest: Mapping[str, Any]
    rows: pa.Table


@dataclass(frozen=True)
class RunData:
    """One pipeline's topics, stores and models.

    Args:
        sources: The raw records of each source, in offset order within each partition.
        dead_letters: The records of each source's dead letter topic.
        references: The records of each topic of reference data, by topic.
        unpublished: The records of the features topic's dead letter topic.
        unscored: Those of the predictions topic's.
        features: The features topic, decoded.
        predictions: The predictions topic, decoded.
        shadows: The topic of shadow predictions, decoded.
        corrections: The topic of corrected predictions, decoded.
        rollout: The topic of the rollout policy.
        rollout_log: The log of all changes of the policy.
        alerts: The drift topic.
        states: The topic of the drift app's states.
        labels: The topics of labels, in the order of the definition.
        quality: The topic of histograms of quality.
        incidents: The log of incidents.
        data_quality: The topic of what data quality has learnt and counted.
        redis: Every key of the pipeline's vectors, with its value.
        cassandra: The tables by name.
        keyspace: The keyspace that they are in.
        backfills: The complete backfills that are judged.
        built_sets: The training sets that are judged, made of these backfills or of predictions.
        others: The features topics of other pipelines, decoded, of those that could be read.
        models: The model repository.
        unreadable: The places of records of features and of all predictions that cannot be decoded.
        unread: What the verifier was not allowed to read, in words.
        read_at_ms: When the stores were read, epoch ms.
    """

    sources: tuple[Sequence[Record], ...]
    dead_letters: tuple[Sequence[Record], ...]
    features: Sequence[Published]
    predictions: Sequence[Published]
    references: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    unpublished: Sequence[Record] = ()
    unscored: Sequence[Record] = ()
    shadows: Sequence[Published] = ()
    corrections: Sequence[Published] = ()
    rollout: Sequence[Record] = ()
    rollout_log: Sequence[Record] = ()
    alerts: Sequence[Record] = ()
    states: Sequence[Record] = ()
    labels: Sequence[Sequence[Record]] = ()
    quality: Sequence[Record] = ()
    incidents: Sequence[Record] = ()
    data_quality: Sequence[Record] = ()
    redis: Mapping[str, bytes] = field(default_factory=dict)
    cassandra: Mapping[str, StoredTable] = field(default_factory=dict)
    keyspace: str = ""
    backfills: Sequence[BackfillData] = ()
    built_sets: Sequence[BuiltSet] = ()
    others: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    models: Path = Path()
    unreadable: Sequence[str] = ()
    unread: Sequence[str] = ()
    read_at_ms: int = 0
