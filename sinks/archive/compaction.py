"""Merges the small files of hours that are over: the same rows in fewer files, under fewer commit records.

The order of the steps makes every moment a good one to be killed at: the merged files; the merged commit record, in the
place of the first of those that it replaces; then the other records and the old files are deleted. A record within the
range of a merged one does not count any more, so what a killed compaction leaves behind is only left over.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.errors import PenstockError
from sinks.archive.batch import ROWS_PER_GROUP, writer
from sinks.archive.checking import GRACE_MS
from sinks.archive.layout import HOUR_MS, ArchivedFile, CommitRecord, file_path, parse_file_path
from sinks.archive.reading import Archive
from sinks.archive.storage import NotThereError, Storage

_log = logging.getLogger(__name__)

CLOSED_AFTER_MS = 3_600_000
"""An hour is over for good so long after its end: producers and writers may be late."""

_MOST_BYTES = 512 * 1024 * 1024
# Half of what others wait before they take a file without a commit record for left over.
_MOST_S = GRACE_MS / 2000


class Compacted(NamedTuple):
    """What a compaction did: how many batches and files became how many."""

    batches_before: int = 0
    batches: int = 0
    files_before: int = 0
    files: int = 0


def groups(records: Sequence[CommitRecord], now_ms: int) -> list[list[CommitRecord]]:
    """The live records of one partition that are merged: adjacent ones with the same latest hour, which is over.

    Only batches with the same columns, of the same topic, are merged, and no more than 512 MB. Pure.
    """
    found: list[list[CommitRecord]] = []
    for record in records:
        group = found[-1] if found else []
        if group and _fits(group, record):
            group.append(record)
        else:
            found.append([record])
    return [group for group in found if len(group) > 1 and _is_over(group, now_ms)]


def compact(storage: Storage, topic: str, now_ms: int, clock: Callable[[], float] = time.monotonic) -> Compacted:
    """Merge what can be merged of a topic.

    Args:
        storage: The archive.
        topic: The topic.
        now_ms: Epoch ms.
        clock: Monotonic seconds.

    Raises:
        StorageUnavailable: if the storage fails; what was merged before stays merged.
        PenstockError: if a file is missing or damaged: nothing is merged from it.
    """
    done = Compacted()
    for partition, records in Archive(storage).commits(topic).items():
        for group in groups(records, now_ms):
            merged = _merge(storage, group, clock)
            before = sum(len(record.files) for record in group)
            done = Compacted(
                done.batches_before + len(group),
                done.batches + 1,
                done.files_before + before,
                done.files + len(merged.files),
            )
            _log.info("%s[%d]: %d files became %d, %s", topic, partition, before, len(merged.files), merged.where)
    return done


def _fits(group: Sequence[CommitRecord], record: CommitRecord) -> bool:
    last = group[-1]
    hours = [_hours(one) for one in (*group, record)]
    latest = {max(found) for found in hours if found}
    size = sum(file.bytes for one in (*group, record) for file in one.files)
    return (
        last.end == record.begin
        and last.columns == record.columns
        and last.topic_id == record.topic_id
        and len(latest) <= 1
        and size <= _MOST_BYTES
    )


def _is_over(group: Sequence[CommitRecord], now_ms: int) -> bool:
    return all(hour + HOUR_MS + CLOSED_AFTER_MS <= now_ms for record in group for hour in _hours(record))


def _hours(record: CommitRecord) -> list[int]:
    return [name.hour_ms for file in record.files if (name := parse_file_path(file.path)) is not None]


def _merge(storage: Storage, group: Sequence[CommitRecord], clock: Callable[[], float]) -> CommitRecord:
    first, last = group[0], group[-1]
    by_hour: dict[int, list[ArchivedFile]] = defaultdict(list)
    for record in group:
        for hour, file in zip(_hours(record), record.files, strict=True):
            by_hour[hour].append(file)
    begin_s, files = clock(), []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for hour, parts in sorted(by_hour.items()):
                path = partial(file_path, first.topic, hour, first.partition, first.begin, last.end)
                local = Path(folder) / "merged.parquet"
                files.append(_merge_files(storage, parts, path, local))
                storage.put_file(files[-1].path, local)
    except OSError as error:  # not the storage's
        raise PenstockError(
            f"the merged file cannot be written here first: {error}",
            where=tempfile.gettempdir(),
            safe="nothing was replaced",
            next="make room there, or set TMPDIR to a folder that has some; then the same command",
        ) from error
    merged = first.model_copy(update={"end": last.end, "files": tuple(files), "merged": True})
    if clock() - begin_s > _MOST_S:
        raise PenstockError(
            f"merging {merged.where} took more than {_MOST_S:.0f} s",
            where=storage.url,
            safe="nothing was replaced",
            next="penstock archive compact ARCHIVE, on a machine nearer to the storage",
        )
    storage.put(merged.path, merged.encode())
    if storage.read(merged.path) != merged.encode() or any(storage.size(file.path) != file.bytes for file in files):
        raise PenstockError(
            f"another process works on {merged.where} at the same time",
            where=storage.url,
            safe="the old files are still there",
            next="let one compaction run at a time; then penstock archive verify ARCHIVE",
        )
    for record in group[1:]:
        storage.delete(record.path)
    for record in group:
        for file in record.files:
            storage.delete(file.path)
    return merged


def _merge_files(
    storage: Storage, parts: Sequence[ArchivedFile], path: Callable[[str], str], local: Path
) -> ArchivedFile:
    """Write the rows of the parts, which follow each other, to a local file; returns its description."""
    rows = 0
    target = None
    try:
        for part in parts:
            table = _table(storage, part)
            target = target or writer(str(local), table.schema)
            target.write_table(table, ROWS_PER_GROUP)
            rows += table.num_rows
    finally:
        if target is not None:
            target.close()
    with local.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ArchivedFile(path=path(digest), rows=rows, bytes=local.stat().st_size, sha256=digest)


def _table(storage: Storage, part: ArchivedFile) -> pa.Table:
    """The rows of a file that is as it was written: damage must not get a new hash."""
    try:
        data = storage.read(part.path)
    except NotThereError:
        data = b""
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise PenstockError(
            "a file of the archive is missing or damaged, so that nothing is merged from it",
            where=f"{storage.url}/{part.path}",
            safe="all other files",
            next="penstock archive verify ARCHIVE, which names everything that is damaged",
        )
    return pq.read_table(pa.BufferReader(data))
