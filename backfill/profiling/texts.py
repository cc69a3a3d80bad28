"""The values of texts and categories, counted exactly by DuckDB, which spills to disk what does not fit into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penstock.errors import PenstockError

_TOP = 20
_MEMORY = "512MB"


@dataclass(frozen=True)
class Texts:
    """The texts of one feature: how many there are, and the most common ones with their rows, most common first.

    Codes are 0 for null, 1 + place for a common text, and the last for all others.
    """

    distinct: int
    top: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.top) + 2

    def codes(self, texts: pa.Array) -> NDArray[np.int64]:
        """The code of each text."""
        texts = _as_texts(texts)
        places = pc.index_in(texts, value_set=pa.array([text for text, _ in self.top], type=pa.string()))
        found: NDArray[np.int64] = places.fill_null(len(self.top)).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        found[texts.is_null().to_numpy(zero_copy_only=False)] = 0
        return found


def count_texts(files: Sequence[Path], columns: Sequence[str], spill: Path) -> Mapping[str, Texts]:
    """Count the texts of these columns, and whole numbers by their digits.

    Args:
        files: Parquet files of one schema.
        columns: Columns of texts or numbers.
        spill: An empty folder for what does not fit into memory.

    Raises:
        PenstockError: if DuckDB cannot count them, for instance because the disk is full.
    """
    try:
        return _counted(files, columns, spill) if columns else {}
    except duckdb.Error as error:
        raise PenstockError(
            f"texts cannot be counted: {error}",
            where=f"{files[0].parent}, temporary files in {spill.parent}",
            safe="nothing was written",
            next="make room, or set TMPDIR to a folder that has some",
        ) from error


def _counted(files: Sequence[Path], columns: Sequence[str], spill: Path) -> dict[str, Texts]:
    found: dict[str, Texts] = {}
    paths = [str(file) for file in files]
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET preserve_insertion_order = false")
        connection.execute("SET temp_directory = ?", [str(spill)])
        for name in columns:
            column = '"' + name.replace('"', '""') + '"'
            (kind,) = connection.read_parquet(paths).select(column).types
            value = column if kind == "VARCHAR" else f"TRY_CAST({column} AS BIGINT)::VARCHAR"
            rows = connection.execute(
                f"WITH texts AS (SELECT {value} AS text, count(*) AS rows FROM read_parquet(?) "  # noqa: S608 - quoted
                f"WHERE {value} IS NOT NULL GROUP BY 1) "
                "SELECT text, rows, (SELECT count(*) FROM texts) FROM texts ORDER BY rows DESC, text LIMIT ?",
                [paths, _TOP],
            ).fetchall()
            found[name] = Texts(rows[0][2] if rows else 0, tuple((text, count) for text, count, _ in rows))
    return found


def _as_texts(values: pa.Array) -> pa.Array:
    """Texts as they are, whole numbers as their digits; NaN is null, as in a vector."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, None)
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    return pc.cast(values if is_text else pc.cast(values, pa.int64()), pa.string())
