"""What is profiled: the part files of a backfill or of a training set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from backfill.parquet import Backfill
from backfill.training_sets.folder import open_training_set
from penstock.errors import PenstockError
from penstock.time import iso
from streams.plan.model import PipelinePlan

# Some tens of megabytes of forty features.
_BATCH = 131_072


@dataclass(frozen=True)
class Source:
    """Part files of one schema with at least one row.

    Args:
        files: The files, in the order in which rows are numbered.
        schema: Their columns.
        rows: The rows of all.
        title: What they are, for people; the same wherever the folder lies.
    """

    files: tuple[Path, ...]
    schema: pa.Schema
    rows: int
    title: str

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows, in a fixed order.

        Raises:
            PenstockError: if a file cannot be read to its end.
        """
        for path in self.files:
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(_BATCH, columns=list(columns)):
                        yield batch.select(columns)
            except (OSError, pa.ArrowInvalid) as error:
                raise _damaged(path) from error


def source_of_backfill(backfill: Backfill, plan: PipelinePlan) -> Source:
    """The rows of a complete backfill; ``plan`` is that of the pipeline as it is defined now.

    Raises:
        PenstockError: if it has no rows, or its files have different columns.
    """
    manifest = backfill.manifest
    files = [backfill.folder / part.file for part in manifest.parts]
    views = ", ".join(f"{name}@{version.partition(':')[0]}" for name, version in manifest.views.items())
    title = f"a backfill of {iso(manifest.replay.from_ms)} to {iso(manifest.replay.to_ms)}, views {views}"
    now = {view.name: f"{view.version}:{view.hash}" for view in plan.views}
    if other := [name for name, version in manifest.views.items() if now.get(name) != version]:
        title += f"; what is said of {', '.join(other)} is of another version than the backfill's"
    return _source(backfill.folder, files, title)


def source_of_training_set(folder: Path, pipeline: str) -> Source:
    """The rows of a training set.

    Raises:
        PenstockError: if the folder has none or an unfinished one, it is of another pipeline, or a file is damaged.
    """
    found = open_training_set(folder)
    if found.manifest.pipeline != pipeline:
        raise PenstockError(
            f"the training set is of pipeline {found.manifest.pipeline}, not of {pipeline}",
            where=str(folder),
            next="name the pipeline that it is of",
        )
    return _source(folder, found.files, f"a training set, data {found.manifest.data_hash[:16]}")


def epoch_ms(times: pa.Array) -> pa.Array:
    """Times as int64, epoch milliseconds."""
    return pc.cast(
        pc.cast(times, pa.timestamp("ms", tz="UTC")) if pa.types.is_timestamp(times.type) else times, "int64"
    )


def _source(folder: Path, files: Sequence[Path], title: str) -> Source:
    schemas, rows = [], 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schemas.append(file.schema_arrow.remove_metadata())
                rows += file.metadata.num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(path) from error
        if schemas[-1] != schemas[0]:
            raise PenstockError(
                f"{path.name} has other columns than {files[0].name}: the folder holds files of two definitions",
                where=str(folder),
                safe="nothing was written",
                next="make the folder again, and give each definition a folder of its own",
            )
    if not rows:
        raise PenstockError("there are no rows to profile", where=str(folder), next="give a longer range of time")
    return Source(tuple(files), schemas[0], rows, title)


def _damaged(path: Path) -> PenstockError:
    return PenstockError(
        f"{path.name} is missing or damaged",
        where=str(path.parent),
        safe="nothing was written",
        next="delete the folder and make it again",
    )
