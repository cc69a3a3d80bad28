"""Reads an archive: its records as Kafka had them, or its columns as Arrow. Only what has a commit record counts."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.reading import Record, RecordsGoneError
from sinks.archive.columns import RECORD_SCHEMA
from sinks.archive.layout import (
    COMMITS,
    HOUR_MS,
    ArchivedFile,
    CommitRecord,
    commit_folder,
    covered,
    live,
    parse_commit,
    parse_commit_path,
    parse_file_path,
)
from sinks.archive.storage import NotThereError, Storage, open_storage

_BATCH_ROWS = 20_000
# How often to read commit records again, which a compaction replaces meanwhile.
_ATTEMPTS = 10
_OF_RECORDS = [name for name in RECORD_SCHEMA.names if name != "_error"]


class _FileMissingError(PenstockError):
    """A commit record names a file that is not there."""


class Archive:
    """An archive at a folder or URL. It can be read while it is written.

    While it is compacted, too, :meth:`records` goes on in the merged files. :meth:`batches` may raise an error that a
    file is missing; begin again then.

    Raises:
        PenstockError: if the URL cannot be used. All methods raise it if the storage does not answer.
    """

    def __init__(self, url: str | Storage) -> None:
        self._storage = open_storage(url) if isinstance(url, str) else url
        # Of each topic as they were read last: commit records are many small files, which are slow to read from S3.
        self._known: dict[str, dict[int, list[CommitRecord]]] = {}

    @property
    def url(self) -> str:
        """Where it is, as the user named it, without secrets."""
        return self._storage.url

    def topics(self) -> list[str]:
        """The topics that it has."""
        found = (parse_commit_path(file.path) for file in self._storage.list(COMMITS))
        return sorted({name.topic for name in found if name is not None})

    def commits(self, topic: str) -> dict[int, list[CommitRecord]]:
        """The commit records of each partition that count, in order, as they are now.

        Raises:
            RecordsGoneError: if the archive has no such topic.
            PenstockError: if one of them is damaged.
        """
        found = read_commits(self._storage, topic)
        if not found:
            raise RecordsGoneError(
                f"the archive has no topic {topic}",
                where=self._storage.url,
                next="penstock archive list ARCHIVE, which names its topics",
            )
        self._known[topic] = {partition: live(records) for partition, records in sorted(found.items())}
        return self._known[topic]

    def ranges(self, topic: str) -> dict[int, list[tuple[int, int]]]:
        """The ranges of offsets [begin, end) of each partition that are archived; more than one if some are missing."""
        return {partition: covered(records) for partition, records in self.commits(topic).items()}

    def topic_id(self, topic: str) -> str | None:
        """Kafka's id of the topic that was archived, which one made anew under its name does not have, if known."""
        commits = self._known.get(topic) or self.commits(topic)
        records = (record for of_partition in commits.values() for record in of_partition)
        return next((record.topic_id for record in records if record.topic_id is not None), None)

    def files(self, topic: str) -> list[ArchivedFile]:
        """The files that count, for readers such as DuckDB; in order of partition and offset."""
        return [file for records in self.commits(topic).values() for record in records for file in record.files]

    def records(
        self, topic: str, *, start: Mapping[int, int] | None = None, end: Mapping[int, int] | None = None
    ) -> Iterator[Record]:
        """The records of a topic, one partition after the other, each in the order of its offsets.

        Args:
            topic: The topic's name.
            start: The first offset of each partition to read; other partitions are not read. By default all partitions
                from their beginning.
            end: The offset before which to stop; by default the end of what is archived when the call starts.

        The commit records are not read again for a range that was archived, by those that were read last.

        Raises:
            RecordsGoneError: if the topic or a partition is not in the archive, or a part of the range is not.
            PenstockError: if a file is missing or damaged.
        """
        commits = self._known_to_have(topic, start, end) or self.commits(topic)
        if missing := sorted({*(start or {}), *(end or {})} - commits.keys()):
            raise RecordsGoneError(
                f"the archive of topic {topic} has no partition {missing[0]}, it has "
                f"{counted(len(commits), 'partition')}",
                where=self._storage.url,
                next="penstock archive run PIPELINE --out ARCHIVE",
            )
        starts = dict.fromkeys(commits, -1) if start is None else start
        ends = {partition: of[-1].end for partition, of in commits.items()} | dict(end or {})
        wanted = {p: (max(at, commits[p][0].begin) if at < 0 else at, ends[p]) for p, at in sorted(starts.items())}
        for partition, (first, last) in wanted.items():
            self._require(commits[partition], first, last)
        for partition, (first, last) in wanted.items():
            yield from self._of_partition(commits[partition], first, last)

    def batches(
        self,
        topic: str,
        columns: Sequence[str] | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows whose Kafka timestamp is in [from_ms, to_ms), by partition and, within a file, by offset.

        Files of earlier definitions lack columns, which are null then. Every batch has the same schema.

        Args:
            topic: The topic's name.
            columns: The columns; by default all that any file has.
            from_ms: Epoch ms; None: no bound. A record without a timestamp is in no bounded range.
            to_ms: Epoch ms.

        Raises:
            RecordsGoneError: if the topic is not in the archive.
            PenstockError: if no file has such a column, the types of a column differ too much between files, or a file
                is missing or damaged.
        """
        commits = [record for of_partition in self.commits(topic).values() for record in of_partition]
        schema = self._schema(commits, columns)
        for record in commits:
            for file in record.files:
                if _may_have(file, from_ms, to_ms):
                    for batch in self._stored(record, file, sorted({*schema.names, "_timestamp"}), None):
                        found = _between(batch, from_ms, to_ms)
                        if len(found):
                            yield self._as(found, schema)

    def _known_to_have(
        self, topic: str, start: Mapping[int, int] | None, end: Mapping[int, int] | None
    ) -> dict[int, list[CommitRecord]] | None:
        """The commit records as they were read last, if the range was archived by them."""
        known = self._known.get(topic)
        if known is None or start is None or end is None:
            return None
        has_all = all(n in end and _has(known.get(n, ()), at, end[n]) for n, at in start.items())
        return known if has_all else None

    def _require(self, records: Sequence[CommitRecord], first: int, last: int) -> None:
        """Check that a range is archived without a gap."""
        at, topic, partition = first, records[0].topic, records[0].partition
        for begin, end in covered(records):
            if begin <= at < end:
                at = end
        if at >= last:
            return
        following = next((record.begin for record in records if record.begin > at), None)
        missing = f"{topic}[{partition}]@{at} to {last if following is None else min(last, following)}"
        if following is None:
            how = "penstock archive run PIPELINE --out ARCHIVE --until-caught-up"
        else:
            how = f"read from offset {following} on; penstock archive verify ARCHIVE says why it is missing"
        raise RecordsGoneError(f"the archive does not have {missing}", where=self._storage.url, next=how)

    def _of_partition(self, records: Sequence[CommitRecord], first: int, last: int) -> Iterator[Record]:
        """The records of a partition within [first, last), which is archived without a gap."""
        at = first
        while at < last:
            commit = next(record for record in records if record.begin <= at < record.end)
            try:
                for record in self._rows(commit, at, last):
                    yield record
                    at = record.offset + 1
            except _FileMissingError:
                # A compaction deletes the files that it has merged, while this reads them.
                records = self.commits(commit.topic)[commit.partition]
                if commit in records:
                    raise
            else:
                at = commit.end

    def _rows(self, record: CommitRecord, first: int, last: int) -> Iterator[Record]:
        """The records of one batch within [first, last), in the order of their offsets."""
        of_files = [self._of_file(record, file, first, last) for file in record.files]
        if len(of_files) == 1:
            yield from of_files[0]
        else:
            yield from heapq.merge(*of_files, key=lambda found: found.offset)

    def _of_file(self, record: CommitRecord, file: ArchivedFile, first: int, last: int) -> Iterator[Record]:
        for batch in self._stored(record, file, _OF_RECORDS, (first, last)):
            offsets = batch.column("_offset").to_numpy()
            if offsets[0] < first or offsets[-1] >= last:
                batch = batch.filter(pa.array((offsets >= first) & (offsets < last)))  # noqa: PLW2901 - a part of it
            times = batch.column("_timestamp").cast(pa.int64()).fill_null(-1).to_pylist()
            columns = (batch.column(name).to_pylist() for name in ("_offset", "_key", "_value", "_headers"))
            for time_ms, offset, key, value, headers in zip(times, *columns, strict=True):
                pairs = tuple((header["name"], header["value"]) for header in headers)
                yield Record(record.partition, offset, time_ms, key, value, pairs)

    def _stored(
        self, record: CommitRecord, file: ArchivedFile, columns: Sequence[str], offsets: tuple[int, int] | None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a file, without the row groups that have no offset in the range; checked as they are read."""
        try:
            with self._storage.open(file.path) as source:
                parquet = pq.ParquetFile(source, page_checksum_verification=True)
                if parquet.metadata.num_rows != file.rows:
                    raise self._damaged(file, f"it has {parquet.metadata.num_rows} rows instead of {file.rows}")
                names = [name for name in columns if name in parquet.schema_arrow.names]
                groups = _groups(parquet, offsets)
                wanted = sorted({*names, "_offset"})
                before = record.begin - 1
                for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=wanted) if groups else ():
                    found = batch.column("_offset").to_numpy()
                    if found[0] <= before or found[-1] >= record.end or (np.diff(found) <= 0).any():
                        raise self._damaged(file, f"its offsets are not those of {record.where}")
                    before = found[-1]
                    yield batch.select(names)
        except NotThereError as error:
            raise _FileMissingError(
                f"a file of {record.where} is missing",
                where=f"{self._storage.url}/{file.path}",
                next="penstock archive verify ARCHIVE, which names everything that is missing",
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(file, str(error)) from error

    def _schema(self, commits: Sequence[CommitRecord], columns: Sequence[str] | None) -> pa.Schema:
        """The columns of all files together; of each set of columns, one file is looked at."""
        of_columns = {record.columns: (record, record.files[0]) for record in commits if record.files}
        found = [RECORD_SCHEMA]
        for _, file in of_columns.values():
            try:
                with self._storage.open(file.path) as source:
                    found.append(pq.read_schema(source))
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(file, str(error)) from error
        if columns is not None:
            known = {name for schema in found for name in schema.names}
            if unknown := [name for name in columns if name not in known]:
                raise PenstockError(
                    f"the archive has no column {unknown[0]}",
                    where=self._storage.url,
                    next=f"choose among {', '.join(sorted(known))}",
                )
            found = [pa.schema([schema.field(name) for name in schema.names if name in columns]) for schema in found]
        try:
            united = pa.unify_schemas([schema.remove_metadata() for schema in found], promote_options="permissive")
        except pa.ArrowException as error:
            raise self._other_types(error) from error
        return united if columns is None else pa.schema([united.field(name) for name in columns])

    def _as(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """The batch with the columns of the schema; those that it lacks are null."""
        names = set(batch.schema.names)
        try:
            arrays = [
                batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(len(batch), field.type)
                for field in schema
            ]
        except pa.ArrowException as error:  # an integer that is no exact float
            raise self._other_types(error) from error
        return pa.record_batch(arrays, schema=schema)

    def _other_types(self, error: pa.ArrowException) -> PenstockError:
        return PenstockError(
            f"the types of a column differ between files: {error}",
            where=self._storage.url,
            next="leave the column out, or read the times before and after its change separately",
        )

    def _damaged(self, file: ArchivedFile, why: str) -> PenstockError:
        return PenstockError(
            f"a file of the archive is damaged or cannot be read: {why}",
            where=f"{self._storage.url}/{file.path}",
            safe="all other files",
            next="penstock archive verify ARCHIVE, which names everything that is damaged",
        )


def read_commits(storage: Storage, topic: str) -> dict[int, list[CommitRecord]]:
    """All commit records of a topic by partition, also those that do not count.

    Raises:
        StorageUnavailable: if the storage does not answer.
        PenstockError: if a record is damaged.
    """
    for _ in range(_ATTEMPTS):
        found: dict[int, list[CommitRecord]] = defaultdict(list)
        try:
            for file in storage.list(commit_folder(topic)):
                if (name := parse_commit_path(file.path)) is not None:
                    found[name.partition].append(parse_commit(file.path, storage.read(file.path)))
        except NotThereError:
            continue  # a compaction deletes records, after it has replaced one that may have been read before
        return dict(found)
    raise PenstockError(
        f"the commit records of topic {topic} change all the time",
        where=storage.url,
        next="begin again when the compaction is over",
    )


def _has(records: Sequence[CommitRecord], first: int, last: int) -> bool:
    """Whether a range is archived without a gap."""
    return first >= last or any(begin <= first and last <= end for begin, end in covered(records))


def _groups(parquet: pq.ParquetFile, offsets: tuple[int, int] | None) -> list[int]:
    """The row groups that can have offsets of the range."""
    numbers = range(parquet.metadata.num_row_groups)
    if offsets is None:
        return list(numbers)
    leaves = parquet.metadata.schema
    place = next(leaf for leaf in range(len(leaves)) if leaves.column(leaf).path == "_offset")
    kept = []
    for number in numbers:
        statistics: Any = parquet.metadata.row_group(number).column(place).statistics
        is_outside = (
            statistics is not None
            and statistics.has_min_max
            and (statistics.max < offsets[0] or statistics.min >= offsets[1])
        )
        if not is_outside:
            kept.append(number)
    return kept


def _may_have(file: ArchivedFile, from_ms: int | None, to_ms: int | None) -> bool:
    """Whether the hour of a file overlaps a range of time."""
    name = parse_file_path(file.path)
    assert name is not None, "a commit record names only files of the archive"
    return (from_ms is None or name.hour_ms + HOUR_MS > from_ms) and (to_ms is None or name.hour_ms < to_ms)


def _between(batch: pa.RecordBatch, from_ms: int | None, to_ms: int | None) -> pa.RecordBatch:
    times = batch.column("_timestamp").cast(pa.int64())
    for bound, compare in ((from_ms, pc.greater_equal), (to_ms, pc.less)):
        if bound is not None:
            kept = compare(times, bound)
            batch, times = batch.filter(kept), times.filter(kept)
    return batch
