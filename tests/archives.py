"""Archives of records, written as `penstock archive run` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock.kafka.reading import Record
from penstock.settings import Settings
from sinks.archive.storage import FolderStorage
from sinks.archive.topics import topic_columns
from sinks.archive.writing import ArchiveWriter
from streams.plan.project import Project


def archive_records(folder: Path, project: Project, topics: Mapping[str, Sequence[Record]]) -> str:
    """Archive records of labels, features or predictions, after those that the folder has; returns where."""
    kinds = ("labels", "features", "predictions")
    writer = ArchiveWriter(FolderStorage(folder), topic_columns(project, Settings(), kinds))
    for topic, records in topics.items():
        latest = writer.take_over(topic)
        for partition in sorted({record.partition for record in records}):
            previous = latest.get(partition)
            batch = writer.batch(topic, 0 if previous is None else previous.end)
            batch.add([record for record in records if record.partition == partition], 0.0)
            writer.write(topic, partition, batch, previous)
    return str(folder)
