"""Rows of scores as values of :data:`schemas.records.SCORE_SCHEMA`: as they are brought on to a topic or Cassandra."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from backfill.scores.manifest import Part, ScoresManifest
from backfill.scores.places import TOPIC
from backfill.scores.rows import read_part

_OUTPUT = "output."


def scores_in(folder: Path, manifest: ScoresManifest, part: Part) -> Iterator[dict[str, Any]]:
    """The scores of a part, in its order.

    Raises:
        PenstockError: if the file is missing or damaged.
    """
    table = read_part(folder, part)
    times = table["event_time"].cast(pa.int64())
    table = table.set_column(table.column_names.index("event_time"), "event_time", times)
    for batch in table.to_batches():
        for row in batch.to_pylist():
            yield {
                "event_id": row["event_id"],
                "pipeline": manifest.pipeline,
                "event_time": row["event_time"],
                "source_partition": row["source.partition"],
                "source_offset": row["source.offset"],
                "source_topic": row.get(TOPIC),
                "entity": row["entity"],
                "model": row["model"],
                "model_version": row["model_version"],
                "score": row["score"],
                "decision": row["decision"],
                "error": row["error"],
                "defaulted": row["defaulted"],
                "policy": row.get("policy"),
                "arm": row.get("arm"),
                "explored": row.get("explored") or False,
                "outputs": [
                    {"name": name.removeprefix(_OUTPUT), "value": math.nan if value is None else value}
                    for name, value in row.items()
                    if name.startswith(_OUTPUT)
                ],
            }


def key_of(score: dict[str, Any]) -> str:
    """What identifies a score: the event, the version, and the policy if one decides."""
    version = f"{score['model']}@{score['model_version']}"
    return "|".join([score["event_id"], version, *([score["policy"]] if score["policy"] else [])])
