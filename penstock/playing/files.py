"""Reads the rows of a file: JSON lines, CSV, Parquet or Avro; a row that cannot be read is one with a problem."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from penstock.errors import PenstockError

_BATCH_ROWS = 10_000
# A cell as long as a Kafka message may be.
_CSV_CELL = 32 * 1024 * 1024
# What the csv module says at the end of a file within quotes.
_CSV_UNENDED = "unexpected end of data"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What some programs write in place of commas.
_NO_COMMAS = {";": "semicolons", "\t": "tabs", "|": "|"}


class Row(NamedTuple):
    """A row: the number of its line (of its row, where a format has no lines), its fields, or what is wrong with it."""

    number: int
    fields: Mapping[str, Any]
    problem: str | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in their order; its name's ending says which format it has.

    Raises:
        PenstockError: if the format is not known, or the file cannot be read, or not to its end.
    """
    read = FORMATS.get(path.suffix.lower())
    if read is None:
        raise PenstockError(
            "the ending of the file's name says no format that can be read",
            where=str(path),
            safe="nothing was sent",
            next=f"name it by its format: {', '.join(FORMATS)}",
        )
    try:
        yield from read(path)
    except (OSError, ValueError, EOFError) as error:  # ValueError: also of pyarrow, and of a damaged Avro file
        raise PenstockError(
            f"the file cannot be read: {_what(error)}",
            where=str(path),
            safe="nothing was sent",
            next="correct the file, or write it anew; then the same command",
        ) from error


def _what(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8, as iconv -f CHARSET -t UTF-8 makes it of another character set"
    # Said by this module, in its words.
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def has_lines(path: Path) -> bool:
    """Whether the numbers of rows are those of lines."""
    return FORMATS.get(path.suffix.lower()) in (_json_lines, _csv)


def is_text(path: Path) -> bool:
    """Whether all values are texts, whatever they mean."""
    return FORMATS.get(path.suffix.lower()) is _csv


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"))
            except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                yield Row(number, {}, f"not JSON{at}")
                continue
            except ValueError:
                yield Row(number, {}, "an integer has more digits than any field can hold")
                continue
            yield Row(number, fields) if isinstance(fields, dict) else Row(number, {}, "not a JSON object")


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(_CSV_CELL)
    with path.open(encoding="utf-8-sig", newline="", errors="strict") as file:
        lines = csv.reader(file, strict=True)
        names = next(lines, None)
        if names is None:
            return
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two columns have the same name, {twice}")
        if len(names) == 1 and (found := next((mark for mark in _NO_COMMAS if mark in names[0]), None)):
            raise ValueError(f"its cells seem to be separated by {_NO_COMMAS[found]}, and must be by commas")
        while True:
            begins = lines.line_num + 1
            try:
                cells = next(lines, None)
            except csv.Error as error:
                if str(error) == _CSV_UNENDED:
                    raise ValueError(f"line {begins}: a quote begins a cell that does not end") from error
                yield Row(begins, {}, f"not CSV: {error}{_as_one(begins, lines.line_num)}")
                continue
            if cells is None:
                return
            if len(cells) == len(names):
                yield Row(begins, dict(zip(names, cells, strict=True)))
            elif cells:
                counts = f"{len(cells)} cells, and the header has {len(names)}"
                yield Row(begins, {}, f"{counts}{_as_one(begins, lines.line_num)}")


def _as_one(first: int, last: int) -> str:
    """Which lines a bad row takes: a stray quote has those up to the next one taken for a cell."""
    return "" if last <= first else f"; by a quote, lines {first} to {last} are one row"


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - most files are of another format

    number = 0
    with ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            for fields in batch.to_pylist():
                number += 1
                yield Row(number, fields)


def _avro(path: Path) -> Iterator[Row]:
    import fastavro  # noqa: PLC0415

    # fastavro knows the coarser ones, and would give the integer.
    fastavro.read.LOGICAL_READERS["long-timestamp-nanos"] = _of_nanos

    with path.open("rb") as file:
        for number, fields in enumerate(fastavro.reader(file), 1):
            yield Row(number, fields) if isinstance(fields, dict) else Row(number, {}, "not an Avro record")


def _of_nanos(value: int, *_: object) -> datetime:
    return _EPOCH + timedelta(microseconds=value // 1_000)


FORMATS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
    ".avro": _avro,
}
"""How each format is read, by the ending of the file's name."""
