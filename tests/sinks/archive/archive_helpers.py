"""The input of archive tests: records of a small pipeline, a topic in memory, and storage that a test can kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from penstock import CloudEvents, Debezium
from penstock.kafka.reading import Record
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from sinks.archive.avro_columns import AvroColumns
from sinks.archive.columns import TopicColumns
from sinks.archive.event_columns import EventColumns
from sinks.archive.layout import CommitRecord
from sinks.archive.placing import place
from sinks.archive.storage import FolderStorage, Storage, StorageUnavailable, StoredFile
from sinks.archive.writing import ArchiveWriter
from streams.plan.feature_records import FeaturesDecoder, features_schema
from tests.sinks.payments import PLAN, T0, Payment

TOPIC = "events.payments"
KEY = b"secret"
NOTHING_COMMITTED = Path("nothing is committed")
HOUR = 3_600_000


def event_columns(envelope: Debezium | CloudEvents | None = None) -> TopicColumns:
    """The columns of payments."""
    return TopicColumns(EventColumns(Payment, NOTHING_COMMITTED, None, KEY, (1_000, 60_000), envelope))


def feature_columns() -> TopicColumns:
    """The columns of their features."""
    schema = features_schema(PLAN)
    return TopicColumns(AvroColumns("features", schema, FeaturesDecoder(schema)))


def prediction_columns() -> TopicColumns:
    """The columns of their predictions."""
    return TopicColumns(AvroColumns("prediction", PREDICTION_SCHEMA, record_decoder("prediction")))


def payment(number: int, **changes: Any) -> bytes:
    """A raw event."""
    event = {"id": f"e{number}", "time": T0 + number, "card": f"c{number % 3}", "shop": None, "amount": number / 4}
    return json.dumps(event | changes).encode()


def record(offset: int, timestamp: int | None = None, partition: int = 0, **changes: Any) -> Record:
    """A raw record; every seventh is garbage."""
    value = b"garbage" if offset % 7 == 6 else payment(offset, time=T0)
    given = {
        "partition": partition,
        "offset": offset,
        "timestamp": T0 + offset if timestamp is None else timestamp,
        "key": None if offset % 5 == 4 else b"k%d" % offset,
        "value": value,
        "headers": (("h", b"%d" % offset), ("h", None)) if offset % 2 else (),
    }
    return Record(**given | changes)


class Killed(BaseException):
    """The process ends here."""


class KilledStorage:
    """Storage of a process that is killed before or after one of its changes, or whose changes fail.

    Args:
        storage: The storage.
        at: The step at which it happens: two for each change, before and after it; None: never.
        error: What happens.
    """

    def __init__(self, storage: Storage, at: int | None, error: Callable[[], BaseException] = Killed) -> None:
        self.url = storage.url
        self.steps = 0
        self._storage = storage
        self._at = at
        self._error = error

    def read(self, path: str) -> bytes:
        return self._storage.read(path)

    def open(self, path: str) -> Any:
        return self._storage.open(path)

    def list(self, folder: str) -> list[StoredFile]:
        return self._storage.list(folder)

    def size(self, path: str) -> int | None:
        return self._storage.size(path)

    def create(self, path: str, data: bytes) -> bool:
        self._step()
        created = self._storage.create(path, data)
        self._step()
        return created

    def put(self, path: str, data: bytes) -> None:
        self._step()
        self._storage.put(path, data)
        self._step()

    def put_file(self, path: str, source: Path) -> None:
        self._step()
        self._storage.put_file(path, source)
        self._step()

    def delete(self, path: str) -> None:
        self._step()
        self._storage.delete(path)
        self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps - 1 == self._at:
            raise self._error()


def unavailable() -> StorageUnavailable:
    """A full disk."""
    return StorageUnavailable("No space left on device")


def archive_all(
    storage: Storage,
    topic: Sequence[Record],
    end: int | None = None,
    sizes: Sequence[int] = (3,),
    columns: TopicColumns | None = None,
    earliest: int = 0,
) -> list[CommitRecord]:
    """A process that archives what is left of a partition, in batches of these sizes, over and over."""
    writer = ArchiveWriter(storage, {TOPIC: columns or event_columns()})
    latest = writer.take_over(TOPIC).get(0)
    end = topic[-1].offset + 1 if end is None else end
    at, _ = place((TOPIC, 0), latest, earliest, end, None)
    left, written = [found for found in topic if found.offset >= at], []
    while left:
        size = sizes[len(written) % len(sizes)]
        batch = writer.batch(TOPIC, at)
        batch.add(left[:size], 0.0)
        left = left[size:]
        if not left:
            batch.reach(end)
        latest = writer.write(TOPIC, 0, batch, latest)
        at = latest.end
        written.append(latest)
    return written


def folder(path: Path) -> FolderStorage:
    """The storage of a test."""
    return FolderStorage(path / "archive")
