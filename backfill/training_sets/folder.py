"""Reads the folder of a training set, for notebooks: with Arrow, pandas, Polars, DuckDB or PyTorch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backfill.training_sets.manifest import TrainingSetManifest, load_set_manifest
from backfill.training_sets.parts import file_hash, matrix_of
from penstock.errors import PenstockError

_BATCH = 50_000


@dataclass(frozen=True)
class TrainingSetFolder:
    """A finished training set; ``manifest`` says what it was made of and what its leak check says.

    ``split`` of the methods names a part: ``train``, ``validation`` or ``test``; by default all rows.
    """

    folder: Path
    manifest: TrainingSetManifest

    @property
    def files(self) -> list[Path]:
        """Its Parquet files, in order; any reader of Parquet takes them."""
        return [self.folder / part.file for part in self.manifest.parts]

    def batches(self, columns: Sequence[str] | None = None, split: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order of event time and id, a batch at a time."""
        wanted = None if columns is None else list(dict.fromkeys([*columns, "split"]))
        for path in self.files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH, columns=wanted):
                    part = batch if split is None else batch.filter(pa.compute.equal(batch.column("split"), split))
                    yield part if columns is None else part.select(columns)

    def arrow(self, columns: Sequence[str] | None = None, split: str | None = None) -> pa.Table:
        """The rows as one Arrow table."""
        schema = pq.read_schema(self.files[0])
        chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        return pa.Table.from_batches(self.batches(columns, split), schema=chosen)

    def pandas(self, columns: Sequence[str] | None = None, split: str | None = None) -> Any:
        """The rows as a pandas DataFrame; needs pandas."""
        return self.arrow(columns, split).to_pandas()

    def polars(self) -> Any:
        """All rows as a Polars LazyFrame, of which only what is asked for is read; needs Polars."""
        import polars as pl  # noqa: PLC0415 - optional

        return pl.scan_parquet(self.files)

    def duckdb(self, connection: Any = None) -> Any:
        """All rows as a DuckDB relation, of which only what is asked for is read."""
        import duckdb  # noqa: PLC0415 - slow to import

        return (connection or duckdb).read_parquet([str(path) for path in self.files])

    def arrays(self, split: str | None = None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Vectors float32 [N, inputs], null as NaN, and labels [N]; of several classes the place among ``classes``."""
        table = self.arrow([*self.manifest.inputs, "label"], split)
        labels = table["label"].to_numpy()
        if self.manifest.classes:
            places = {name: place for place, name in enumerate(self.manifest.classes)}
            labels = np.array([places[name] for name in labels], dtype=np.int64)
        return matrix_of(table, self.manifest.inputs), labels

    def torch(self, split: str | None = None) -> Any:
        """Vectors and labels as a PyTorch TensorDataset; needs PyTorch."""
        import torch  # noqa: PLC0415 - optional

        vectors, labels = self.arrays(split)
        return torch.utils.data.TensorDataset(torch.from_numpy(vectors), torch.from_numpy(labels.copy()))

    def verify(self) -> None:
        """Check that the files have the bytes that were written.

        Raises:
            PenstockError: for the first that has not.
        """
        for part in self.manifest.parts:
            path = self.folder / part.file
            if not path.exists() or file_hash(path) != part.sha256:
                raise _damaged(path)


def open_training_set(folder: Path) -> TrainingSetFolder:
    """Open the training set in a folder.

    Raises:
        PenstockError: if it has none, it is not complete, or a file is missing or damaged.
    """
    manifest = load_set_manifest(folder)
    if manifest is None:
        raise PenstockError(
            "the folder has no complete training set",
            where=str(folder),
            next="penstock training-set build PIPELINE --from TIME --to TIME --features served "
            f"--out {shlex.quote(str(folder))}; if one was killed, run the same command again",
        )
    for part in manifest.parts:
        try:
            row_count = pq.read_metadata(folder / part.file).num_rows
        except (OSError, pa.ArrowInvalid):
            row_count = -1
        if row_count != part.rows:
            raise _damaged(folder / part.file)
    return TrainingSetFolder(folder, manifest)


def _damaged(path: Path) -> PenstockError:
    return PenstockError(
        f"file {path.name} of the training set is missing or damaged",
        where=str(path.parent),
        next="delete the folder and build the set again: the same inputs give the same bytes",
    )
