"""Writes batches: the files first, then the commit record, which makes them part of the archive at once.

How it handles failures:

- *Killed before the commit record*: the files do not count. Whoever takes the partition over writes its records again,
  and then deletes them.
- *Killed after it*: whoever takes the partition over goes on after it, whatever Kafka says is committed.
- *Another writer has the partition*: the record's name is taken, and storage lets one of both create it. This writer
  deletes its files, and looks again.
- *The storage fails in the middle*: the same batch is written again. A commit record that turns out to be there is this
  writer's own if it says the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from penstock.errors import PenstockError
from sinks.archive.batch import OpenBatch
from sinks.archive.columns import TopicColumns
from sinks.archive.layout import (
    CommitRecord,
    commit_folder,
    commit_path,
    parse_commit,
    parse_commit_path,
    parse_file_path,
    topic_folder,
)
from sinks.archive.storage import NotThereError, Storage, StorageUnavailable

_log = logging.getLogger(__name__)

# How often to look for the latest records again, which a compaction replaces meanwhile.
_ATTEMPTS = 10


class TakenOverError(PenstockError):
    """Another writer has archived what this one was about to; nothing is wrong, and its batch is not needed."""

    def __init__(self, where: str) -> None:
        super().__init__(
            "another writer has archived this range",
            where=where,
            safe="what the other one wrote; the batch of this one was dropped",
            next="go on after the latest commit record, as `penstock archive run` does by itself",
        )


class ArchiveWriter:
    """Writes the batches of topics, of any number of partitions.

    Args:
        storage: Where.
        topics: The columns of each topic.
        topic_ids: Kafka's id of each topic that has one.
    """

    def __init__(
        self, storage: Storage, topics: Mapping[str, TopicColumns], topic_ids: Mapping[str, str] | None = None
    ) -> None:
        self._storage = storage
        self._topics = topics
        self._topic_ids = topic_ids or {}
        # Files of killed writers, by partition: each is deleted once its batch can no longer be committed.
        self._orphans: dict[tuple[str, int], list[str]] = {}

    def newest(self, topic: str) -> dict[int, CommitRecord]:
        """The latest commit record of each partition.

        Raises:
            StorageUnavailable: if the storage does not answer, or a compaction replaces records all the time.
            PenstockError: if a record is damaged.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._newest(topic)
            except NotThereError:
                continue  # a compaction has replaced the record since it was listed
        raise StorageUnavailable(f"the commit records of topic {topic} change all the time", where=self._storage.url)

    def _newest(self, topic: str) -> dict[int, CommitRecord]:
        latest: dict[int, int] = {}
        for file in self._storage.list(commit_folder(topic)):
            if (name := parse_commit_path(file.path)) is not None:
                latest[name.partition] = max(name.begin, latest.get(name.partition, 0))
        found = {}
        for partition, begin in latest.items():
            path = commit_path(topic, partition, begin)
            found[partition] = parse_commit(path, self._storage.read(path))
        return found

    def take_over(self, topic: str) -> dict[int, CommitRecord]:
        """The latest commit record of each partition; notes what killed writers have left after it."""
        latest = self.newest(topic)
        for partition in [key for key in self._orphans if key[0] == topic]:
            del self._orphans[partition]
        for file in self._storage.list(topic_folder(topic)):
            name = parse_file_path(file.path)
            if name is not None and name.begin >= (latest[name.partition].end if name.partition in latest else 0):
                self._orphans.setdefault((topic, name.partition), []).append(file.path)
        return latest

    def batch(self, topic: str, begin: int) -> OpenBatch:
        """A new batch of a topic."""
        return OpenBatch(self._topics[topic], begin)

    def write(self, topic: str, partition: int, batch: OpenBatch, previous: CommitRecord | None) -> CommitRecord:
        """Make a batch part of the archive; after an error, the same call may be repeated.

        Args:
            topic: The topic.
            partition: The partition.
            batch: Its records.
            previous: The record from which the batch goes on; None if the partition has none.

        Returns:
            The new record.

        Raises:
            TakenOverError: if another writer has gone on from there.
            StorageUnavailable: if the storage fails.
        """
        files = batch.files(topic, partition)
        record = CommitRecord(
            topic=topic,
            partition=partition,
            begin=batch.begin,
            end=batch.end,
            after=None if previous is None else previous.end,
            files=tuple(file for file, _ in files),
            columns=self._topics[topic].id,
            topic_id=self._topic_ids.get(topic),
        )
        # Before the files, so that those of another writer are not overwritten; and after them, as that takes a while.
        if self._is_next(record, previous):
            for file, data in files:
                self._storage.put(file.path, data)
            if self._is_next(record, previous):
                self._storage.create(record.path, record.encode())
        if not self._is_committed(record):
            self._give_up(record)
            raise TakenOverError(record.where)
        self._delete_orphans(record)
        return record

    def _is_next(self, record: CommitRecord, previous: CommitRecord | None) -> bool:
        """Whether the archive ends where the record goes on.

        The name of the record does not tell by itself: of a writer that stood still for long, a compaction may have
        merged the place away, so that the name is free again.
        """
        latest = self.newest(record.topic).get(record.partition)
        return (latest and latest.end) == (previous and previous.end)

    def _is_committed(self, record: CommitRecord) -> bool:
        """Whether the record is there, written now or by an attempt before whose answer was lost."""
        try:
            return self._storage.read(record.path) == record.encode()
        except NotThereError:
            return False

    def _delete_orphans(self, record: CommitRecord) -> None:
        """Nothing that begins where this record does can be committed from now on."""
        own = {file.path for file in record.files}
        for path in self._orphans.pop((record.topic, record.partition), []):
            if path not in own:
                _log.info("deleted %s, which a killed writer had left without a commit record", path)
                self._storage.delete(path)

    def _give_up(self, record: CommitRecord) -> None:
        """Delete the files of a batch that another writer has archived, unless its record names them."""
        try:
            other = parse_commit(record.path, self._storage.read(record.path))
        except NotThereError:
            named: set[str] = set()
        else:
            named = {file.path for file in other.files}
        for file in record.files:
            if file.path not in named:
                self._storage.delete(file.path)
