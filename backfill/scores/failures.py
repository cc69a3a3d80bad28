"""The events that got no score."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from backfill.scores.manifest import ScoresManifest
from backfill.scores.places import TOPIC
from backfill.scores.rows import read_part


class Failure(NamedTuple):
    """An event without a score: its id, its place on the source's topic, and why.

    ``topic`` is that topic, where the events of several are scored.
    """

    event_id: str
    partition: int
    offset: int
    error: str
    topic: str | None = None


def failures(folder: Path, manifest: ScoresManifest) -> Iterator[Failure]:
    """All events of the rows that got no score, in the order of the rows.

    Raises:
        PenstockError: if a part is missing or damaged.
    """
    for part in manifest.parts:
        table = read_part(
            folder,
            part,
            ["event_id", "source.partition", "source.offset", "error", *([TOPIC] if manifest.topics else [])],
        )
        for row in table.filter(pc.is_valid(table["error"])).to_pylist():
            yield Failure(*row.values())
