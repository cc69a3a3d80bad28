"""Scored events as rows of Parquet: one row per event, at most about ``ROWS_PER_PART`` of one partition a file.

An event is identified by partition and offset in the source's topic, a row by that and ``model_version``. Where the
events of several topics are scored, ``source.topic`` belongs to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backfill.scores.events import Events
from backfill.scores.manifest import Part
from backfill.scores.places import TOPIC
from penstock.errors import PenstockError
from schemas.columns import Mask
from scoring.batch_decisions import Decisions

ROWS_PER_PART = 200_000
AMOUNT, GROUP = "amount", "group."
_TIME = pa.timestamp("ms", tz="UTC")

_ALWAYS = [
    ("event_id", pa.string()),
    ("event_time", _TIME),
    ("source.partition", pa.int32()),
    ("source.offset", pa.int64()),
    ("entity", pa.string()),
    ("model", pa.string()),
    ("model_version", pa.string()),
    ("score", pa.float64()),
    ("decision", pa.string()),
    ("error", pa.string()),
    ("defaulted", pa.bool_()),
]
_OF_POLICY = [
    ("policy", pa.string()),
    ("arm", pa.string()),
    ("explored", pa.bool_()),
    ("served.score", pa.float64()),
    ("served.decision", pa.string()),
    ("served.model_version", pa.string()),
    ("served.explored", pa.bool_()),
]


class ScoredRows:
    """Makes rows.

    Args:
        kept: The names of the outputs that models return beside the score.
        policy: The version of the policy that decides; None if one version scores all events.
        groups: The columns of groups, which become texts.
        amount: The column of amounts, which becomes ``amount``; None for none.
        has_topic: Whether the events of several topics are scored.
    """

    def __init__(
        self,
        kept: Sequence[str],
        policy: str | None,
        groups: Sequence[str],
        amount: str | None,
        *,
        has_topic: bool = False,
    ) -> None:
        self._policy = policy
        self._groups = tuple(groups)
        self._amount = amount
        self._has_topic = has_topic
        fields = [*_ALWAYS, *(_OF_POLICY if policy is not None else ())]
        fields += [(f"output.{name}", pa.float64()) for name in kept]
        fields += [(f"{GROUP}{name}", pa.string()) for name in groups]
        fields += [(AMOUNT, pa.float64())] if amount is not None else []
        fields += [(TOPIC, pa.string())] if has_topic else []
        self.schema = pa.schema(fields)

    def batch(self, partition: int, events: Events, decided: Decisions) -> pa.RecordBatch:
        """The rows of events and the decisions on them."""
        size = len(events)
        columns: list[Any] = [
            events.ids,
            events.times,
            np.full(size, partition),
            events.offsets,
            events.entities,
            [model.name for model in decided.models],
            [model.version for model in decided.models],
            pa.array(decided.scores, from_pandas=True),
            decided.decisions,
            decided.errors,
            events.defaulted,
        ]
        if self._policy is not None:
            served = events.served
            columns += [[self._policy] * size, decided.arms, decided.explored]
            columns += [[one.score for one in served], [one.decision for one in served]]
            columns += [[one.version for one in served], [one.forced for one in served]]
        columns += [decided.kept[:, place] for place in range(decided.kept.shape[1])]
        columns += [[None if one is None else str(one) for one in events.columns[name]] for name in self._groups]
        if self._amount is not None:
            columns.append([None if one is None else float(one) for one in events.columns[self._amount]])
        if self._has_topic:
            columns.append(events.topics)
        arrays = [
            column.cast(field.type) if isinstance(column, pa.Array) else pa.array(column, type=field.type)
            for column, field in zip(columns, self.schema, strict=True)
        ]
        return pa.record_batch(arrays, schema=self.schema)


class Seen:
    """A set of offsets, or other numbers from 0, a bit each; pages without any take no memory."""

    _PAGE = 1 << 16

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, offset: int) -> bool:
        """Add an offset; False if it is there already."""
        number, bit = divmod(offset, self._PAGE)
        page = self._pages.setdefault(number, bytearray(self._PAGE // 8))
        place, mask = bit >> 3, 1 << (bit & 7)
        is_new = not page[place] & mask
        page[place] |= mask
        return is_new

    def new(self, offsets: Sequence[int]) -> Mask:
        """Add offsets; (n,) which of them were not there."""
        return np.array([self.add(offset) for offset in offsets], np.bool_)


def write_part(
    folder: Path, partition: int, number: int, batches: Iterator[tuple[pa.RecordBatch, int]], schema: pa.Schema
) -> Part | None:
    """Write the next part of a partition; the file appears complete or not at all, also on a full disk.

    Args:
        folder: The folder.
        partition: The source partition.
        number: The part's number within the partition, from 0.
        batches: Rows, each batch with the place where the events after it begin; those of one part are consumed.
        schema: Of the rows.

    Returns:
        The part, which is for the caller to record; None if there is no further row.
    """
    name = f"part-{partition:05}-{number:05}.parquet"
    partial, count, following = folder / f".{name}", 0, 0
    writer = None
    try:
        for batch, place in batches:
            following = place
            if batch.num_rows:
                if writer is None:
                    writer = pq.ParquetWriter(partial, schema, compression="zstd")
                writer.write_batch(batch)
                count += batch.num_rows
            if count >= ROWS_PER_PART:
                break
        if writer is None:
            return None
        writer.close()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(folder / name)
    except Exception:
        if writer is not None:
            with suppress(OSError, pa.ArrowInvalid):  # a full disk, which is the error that brought us here
                writer.close()
            # What it holds would keep the disk full.
            partial.unlink(missing_ok=True)
        raise
    return Part(file=name, partition=partition, rows=count, next=following)


def read_part(folder: Path, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part.

    Raises:
        PenstockError: if the file is missing or damaged.
    """
    try:
        table = pq.read_table(folder / part.file, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(folder, part) from error
    if table.num_rows != part.rows:
        raise _damaged(folder, part)
    return table


def _damaged(folder: Path, part: Part) -> PenstockError:
    return PenstockError(
        f"part {part.file} of the scores is missing or damaged",
        where=str(folder),
        next="delete the folder and score again",
    )
