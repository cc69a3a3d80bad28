"""The layout of an archive, as docs/reference/records.md describes it: names, commit records, and which of them count.

A batch is the range of offsets [begin, end) of one partition. Its rows are in one file for each hour of their Kafka
timestamps. Its commit record is written after its files, under a name that has the range's begin and not its end. Two
writers that go on from the same place therefore want the same name, and only one of them gets it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import PenstockError

COMMITS = "_commits"
HOUR_MS = 3_600_000
# Later timestamps have no date of four digits, and some readers fail on a whole file for one of them.
_LAST_MS = 253_402_300_799_999
_FILE = re.compile(
    r"topic=(?P<topic>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/"
    r"(?P<partition>\d{5,})-(?P<begin>\d{20})-(?P<end>\d{20})(?:-[0-9a-f]{12})?\.parquet"  # earlier ones: none
)
_COMMIT = re.compile(rf"{COMMITS}/(?P<topic>[^/]+)/(?P<partition>\d{{5,}})-(?P<begin>\d{{20}})\.json")


class ArchivedFile(BaseModel):
    """One file of a batch; ``path`` is relative to the archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    rows: int
    bytes: int
    sha256: str


class CommitRecord(BaseModel):
    """What makes a batch part of the archive.

    Args:
        topic: The topic.
        partition: The partition.
        begin: The first offset of the range.
        end: The offset after its last. Transaction markers and aborted records have offsets in it, and no row.
        after: The end of the batch from which its writer went on; None if there was none. It is less than ``begin`` if
            Kafka had deleted what lay between.
        files: Its files. None are needed for a range without records.
        columns: Which decoded columns the files have: the contract and its version, or the record and its schema.
        topic_id: Kafka's id of the topic, which a topic that was made anew does not have; None if it was not known.
        merged: Whether a compaction made it: records of ranges within this one then do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    topic: str
    partition: int
    begin: int
    end: int
    after: int | None
    files: tuple[ArchivedFile, ...]
    columns: str
    topic_id: str | None = None
    merged: bool = False

    @property
    def path(self) -> str:
        """Where it is in the archive."""
        return commit_path(self.topic, self.partition, self.begin)

    @property
    def rows(self) -> int:
        """How many records it has."""
        return sum(file.rows for file in self.files)

    @property
    def where(self) -> str:
        """The range as messages name it."""
        return f"{self.topic}[{self.partition}]@{self.begin} to {self.end}"

    def encode(self) -> bytes:
        """Its bytes; the same record has always the same."""
        return self.model_dump_json(indent=1).encode() + b"\n"


class FileName(NamedTuple):
    """What the path of a file says; ``hour_ms`` is the beginning of its hour, epoch ms."""

    topic: str
    hour_ms: int
    partition: int
    begin: int
    end: int


class CommitName(NamedTuple):
    """What the path of a commit record says."""

    topic: str
    partition: int
    begin: int


def topic_folder(topic: str) -> str:
    """The folder of a topic's files."""
    return f"topic={topic}"


def commit_folder(topic: str) -> str:
    """The folder of a topic's commit records."""
    return f"{COMMITS}/{topic}"


def file_path(topic: str, hour_ms: int, partition: int, begin: int, end: int, sha256: str) -> str:
    """The path of a file of a batch, by its range and its bytes.

    Two writers of one range whose libraries write other bytes thus write two files, and neither overwrites the other's.
    """
    hour = datetime.fromtimestamp(hour_ms / 1000, UTC)
    folder = f"{topic_folder(topic)}/date={hour:%Y-%m-%d}/hour={hour:%H}"
    return f"{folder}/{partition:05}-{begin:020}-{end:020}-{sha256[:12]}.parquet"


def commit_path(topic: str, partition: int, begin: int) -> str:
    """The path of a commit record."""
    return f"{commit_folder(topic)}/{partition:05}-{begin:020}.json"


def parse_file_path(path: str) -> FileName | None:
    """What a path says if it is that of a file; None if it is not."""
    found = _FILE.fullmatch(path)
    if found is None:
        return None
    try:
        hour = datetime.fromisoformat(f"{found['date']}T{found['hour']}:00:00+00:00")
    except ValueError:
        return None
    numbers = (int(found[name]) for name in ("partition", "begin", "end"))
    return FileName(found["topic"], round(hour.timestamp()) * 1000, *numbers)


def parse_commit_path(path: str) -> CommitName | None:
    """What a path says if it is that of a commit record; None if it is not."""
    found = _COMMIT.fullmatch(path)
    return found and CommitName(found["topic"], int(found["partition"]), int(found["begin"]))


def parse_commit(path: str, data: bytes) -> CommitRecord:
    """The commit record at a path.

    Raises:
        PenstockError: if the bytes are none, or one of another path.
    """
    try:
        record = CommitRecord.model_validate_json(data)
    except ValidationError as error:
        what = f"a commit record is damaged: {error.errors(include_url=False, include_input=False)[0]['msg']}"
        raise _damaged(path, what) from None
    if record.path != path:
        raise _damaged(path, f"a commit record has another name than its range: {record.where}")
    return record


def is_dated(timestamp_ms: int) -> bool:
    """Whether a Kafka timestamp is one that the archive keeps: from 1970 to 9999."""
    return 0 <= timestamp_ms <= _LAST_MS


def live(records: Iterable[CommitRecord]) -> list[CommitRecord]:
    """The records of one partition that count, in order: all but those within the range of a merged one."""
    counting: list[CommitRecord] = []
    for record in sorted(records, key=lambda record: record.begin):
        last = counting[-1] if counting else None
        if last is None or not (last.merged and record.end <= last.end):
            counting.append(record)
    return counting


def covered(records: Sequence[CommitRecord]) -> list[tuple[int, int]]:
    """The ranges of offsets that live records cover, without the borders between adjacent ones."""
    ranges: list[tuple[int, int]] = []
    for record in records:
        if ranges and ranges[-1][1] == record.begin:
            ranges[-1] = (ranges[-1][0], record.end)
        else:
            ranges.append((record.begin, record.end))
    return ranges


def _damaged(path: str, what: str) -> PenstockError:
    return PenstockError(
        what,
        where=path,
        safe="the files of the batch, whose names have its range",
        next="penstock archive verify ARCHIVE, which names everything that is damaged",
    )
