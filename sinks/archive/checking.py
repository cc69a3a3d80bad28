"""Finds what is wrong with an archive: every offset of the covered ranges at most once, in files as they were written.

A file without a commit record, or a record that a merged one replaces, is wrong only when it is old: a writer or a
compaction may be about to need it. Its age is by the clock of the storage, on which this machine's clock has no effect.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.errors import PenstockError
from sinks.archive.batch import hours_of
from sinks.archive.columns import TopicColumns
from sinks.archive.decoding_again import wrong_columns
from sinks.archive.layout import (
    COMMITS,
    ArchivedFile,
    CommitRecord,
    covered,
    live,
    parse_commit,
    parse_commit_path,
    parse_file_path,
)
from sinks.archive.storage import NotThereError, Storage, StoredFile, storage_now_ms

GRACE_MS = 3_600_000
"""A file may be without a commit record for so long: writers and compactions need less, or give up."""

Kind = Literal[
    "damaged record",
    "overlap",
    "gap",
    "deleted by Kafka",
    "missing file",
    "damaged file",
    "wrong rows",
    "wrong columns",
    "left over",
    "recent",
]
HARMLESS: frozenset[Kind] = frozenset({"deleted by Kafka", "recent"})
"""What is reported and not wrong: Kafka had deleted records before they were archived; a writer may be at work."""


class Finding(NamedTuple):
    """One thing that was found, and where."""

    kind: Kind
    where: str
    what: str

    @property
    def is_wrong(self) -> bool:
        """Whether the archive is not as it should be."""
        return self.kind not in HARMLESS


@dataclass
class Checked:
    """What an archive has, and what is wrong with it.

    ``not_decoded`` counts the files whose values could not be decoded again, as other columns wrote them.
    ``only_copies`` are files left over whose commit record may be what is damaged or missing.
    """

    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    files: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    not_decoded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    findings: list[Finding] = field(default_factory=list)
    only_copies: set[str] = field(default_factory=set)

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.is_wrong for finding in self.findings)

    @property
    def removable(self) -> list[str]:
        """The paths that :func:`repair` removes."""
        return [f.where for f in self.findings if f.kind == "left over" and f.where not in self.only_copies]


def check(
    storage: Storage,
    topics: Sequence[str] = (),
    grace_ms: int = GRACE_MS,
    columns: Mapping[str, TopicColumns] | None = None,
) -> Checked:
    """Read all of an archive, or of some topics, and compare it with its commit records.

    Args:
        storage: The archive.
        topics: The topics; by default all.
        grace_ms: How old a file must be to count as left over.
        columns: The columns of each topic, to decode the original bytes again; None: only hashes and offsets count.

    Raises:
        StorageUnavailable: if the storage does not answer.
        PenstockError: if values are decoded, and a schema registry does not answer.
    """
    # Files first: what is committed while they are listed is then seen with its record.
    stored = [file for file in storage.list("") if not topics or _topic_of(file.path) in topics]
    checked, by_partition, names = Checked(), defaultdict(list), set()
    for path in [file.path for file in storage.list(COMMITS)]:
        name = parse_commit_path(path)
        if name is None or (topics and name.topic not in topics):
            continue
        try:
            by_partition[name.topic, name.partition].append(parse_commit(path, storage.read(path)))
        except NotThereError:
            continue  # a compaction has replaced it meanwhile
        except PenstockError as error:
            checked.findings.append(Finding("damaged record", path, error.what))
    live_records = {of: live(records) for of, records in by_partition.items()}
    for counting in live_records.values():
        names |= {record.path for record in counting} | {file.path for record in counting for file in record.files}
        checked.findings += _of_ranges(counting)
        for record in counting:
            checked.findings += _of_rows(storage, record, checked, columns)
    damaged = {finding.where for finding in checked.findings}
    others = [file for file in stored if file.path not in names | damaged and _is_of_archive(file.path)]
    checked.only_copies = set(_only_copies(others, live_records, checked.findings))
    checked.findings += _without_record(storage, others, grace_ms, checked.only_copies)
    return checked


def repair(storage: Storage, checked: Checked) -> list[str]:
    """Remove what is left over, and return the paths.

    Raises:
        StorageUnavailable: if the storage refuses.
    """
    for path in checked.removable:
        storage.delete(path)
    return checked.removable


def _of_ranges(records: Sequence[CommitRecord]) -> Iterator[Finding]:
    """What the chain of records lacks: each says where the one before it ended."""
    before: CommitRecord | None = None
    for record in records:
        reached = None if before is None else before.end
        of = f"{record.topic}[{record.partition}]"
        if reached is not None and record.begin < reached:
            yield Finding("overlap", record.path, f"it begins before the range before it ends, at {reached}")
        elif record.after != reached:
            missing = "its first offset" if reached is None else str(reached)
            yield Finding("gap", record.path, f"{of} from {missing} to {record.begin} is missing")
        elif reached is not None and record.begin > reached:
            yield Finding(
                "deleted by Kafka",
                record.path,
                f"{of} from {reached} to {record.begin} was deleted before it was archived",
            )
        before = record


def _of_rows(
    storage: Storage, record: CommitRecord, checked: Checked, columns: Mapping[str, TopicColumns] | None
) -> Iterator[Finding]:
    """What is wrong with the files of a batch."""
    again = None if columns is None else columns.get(record.topic)
    is_same = again is not None and again.id == record.columns
    needed = None if is_same else ["_partition", "_offset", "_timestamp"]
    offsets = []
    for file in record.files:
        try:
            data = storage.read(file.path)
        except NotThereError:
            if _is_current(storage, record):
                yield Finding("missing file", file.path, f"{record.where} names it")
            else:
                yield Finding("recent", record.path, "a compaction has replaced it meanwhile; verify again")
            continue
        if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            yield Finding("damaged file", file.path, f"it is not as it was written, by {record.where}")
            continue
        checked.files[record.topic] += 1
        try:
            table = pq.read_table(pa.BufferReader(data), columns=needed)
        except (pa.ArrowException, OSError, KeyError) as error:
            yield Finding("damaged file", file.path, str(error))
            continue
        checked.rows[record.topic] += table.num_rows
        offsets.append(table["_offset"].to_numpy())
        if (problem := _problem(record, file, table)) is not None:
            yield Finding("wrong rows", file.path, problem)
        if is_same and again is not None and (problem := wrong_columns(table, again)) is not None:
            yield Finding("wrong columns", file.path, problem)
        checked.not_decoded[record.topic] += columns is not None and not is_same
    together = np.concatenate(offsets) if offsets else np.empty(0, np.int64)
    if len(np.unique(together)) < len(together):
        yield Finding("wrong rows", record.path, "an offset is in several of its files")


def _is_current(storage: Storage, record: CommitRecord) -> bool:
    try:
        return storage.read(record.path) == record.encode()
    except NotThereError:
        return False


def _problem(record: CommitRecord, file: ArchivedFile, table: pa.Table) -> str | None:
    name = parse_file_path(file.path)
    if name is None or (name.topic, name.partition, name.begin, name.end) != (
        record.topic,
        record.partition,
        record.begin,
        record.end,
    ):
        return f"its name is not that of {record.where}"
    if table.num_rows != file.rows:
        return f"it has {table.num_rows} rows, and its record says {file.rows}"
    if table.num_rows and (table["_partition"].to_numpy() != record.partition).any():
        return "it has rows of another partition"
    offsets = table["_offset"].to_numpy()
    if (np.diff(offsets) <= 0).any():
        return "its offsets do not ascend"
    if len(offsets) and (offsets[0] < record.begin or offsets[-1] >= record.end):
        return f"it has offsets outside {record.where}"
    return "it has rows of another hour" if (hours_of(table["_timestamp"]) != name.hour_ms).any() else None


def _only_copies(
    others: Iterable[StoredFile],
    counting: Mapping[tuple[str, int], Sequence[CommitRecord]],
    findings: Sequence[Finding],
) -> Iterator[str]:
    """Files that may be archived: none of the records has them, and some of their partition are damaged or missing."""
    broken = {parse_commit_path(one.where) for one in findings if one.kind in ("damaged record", "gap")}
    unsure = {(name.topic, name.partition) for name in broken if name is not None}
    for file in others:
        if (name := parse_file_path(file.path)) is None:
            continue
        of = name.topic, name.partition
        records = counting.get(of, ())
        is_covered = any(begin <= name.begin and name.end <= end for begin, end in covered(records))
        if not is_covered and (not records or of in unsure):
            yield file.path


def _without_record(
    storage: Storage, others: Iterable[StoredFile], grace_ms: int, only_copies: AbstractSet[str]
) -> Iterator[Finding]:
    others = list(others)
    if not others:
        return
    now_ms = storage_now_ms(storage)
    for file in others:
        if file.path in only_copies and now_ms - file.written_ms >= grace_ms:
            why = "no commit record names it; one may be damaged or lost, so --repair leaves it: restore the record"
            yield Finding("left over", file.path, why)
        elif now_ms - file.written_ms >= grace_ms:
            yield Finding("left over", file.path, "no commit record names it; --repair removes it")
        else:
            yield Finding("recent", file.path, "no commit record names it yet; a writer or a compaction may be at work")


def _is_of_archive(path: str) -> bool:
    """Whether a file is one that writers and compactions write; others in the folder are somebody else's."""
    name = path.rpartition("/")[2]
    is_partial = name.startswith(".") and (name.endswith(".partial") or name.startswith(".probe-"))
    return is_partial or parse_file_path(path) is not None or parse_commit_path(path) is not None


def _topic_of(path: str) -> str:
    head, _, rest = path.partition("/")
    return rest.partition("/")[0] if head == COMMITS else head.removeprefix("topic=")
