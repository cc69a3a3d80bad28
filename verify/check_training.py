"""Checks what models were trained on: the backfill's vectors, and the labels that were known by then.

The manifest of a version has a hash of its training set (docs/guides/models.md). Here the set is built a second time,
from the backfill and the raw labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penstock.kafka.reading import Record
from streams.plan.model import PipelinePlan
from verify.findings import Findings
from verify.run_data import BackfillData


@dataclass
class TrainingFindings(Findings):
    """Result of the check of training sets: ``checked`` versions of the model were trained on the backfill."""

    checked: int = 0


def check_training(
    plan: PipelinePlan,
    folder: Path,
    backfill: BackfillData,
    labels: Sequence[Record],
    labels_until: Callable[[Sequence[Record], int], Mapping[str, int]],
) -> TrainingFindings:
    """Check every version that was trained on a backfill with as many rows as this one.

    Labels may have come after the training. The oldest of the topic are then taken for those that it read; if they do
    not give its training set, that is no finding, as the topic does not tell in which order its partitions grew.

    Args:
        plan: The pipeline's plan.
        folder: The model's folder in the repository.
        backfill: The backfill.
        labels: The labels topic.
        labels_until: Gives the label of each event, 0 or 1, as known at an event time, from these records.
    """
    findings = TrainingFindings()
    by_age = sorted(labels, key=lambda record: (record.timestamp, record.partition, record.offset))
    for path in sorted(folder.glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        until_ms, read = manifest.get("until_ms"), manifest.get("read", {})
        count = read.get("labels_read", 0) + read.get("labels_refused", 0)
        if until_ms is None or read.get("features_read") != backfill.rows.num_rows or count > len(by_age):
            continue
        known = labels_until(by_age[:count], until_ms)
        is_equal = _data_hash(plan, backfill, manifest["inputs"], known, until_ms) == manifest["data_hash"]
        findings.checked += is_equal or count == len(by_age)
        if not is_equal and count == len(by_age):
            findings.mismatch(
                f"model version {manifest['version']}: its training set is not that of the backfill's events until "
                f"{until_ms} and the labels known by then"
            )
    return findings


def _data_hash(
    plan: PipelinePlan, backfill: BackfillData, inputs: list[str], labels: Mapping[str, int], until_ms: int
) -> str:
    """The SHA-256 of a training set's names, ids, event times, vectors and labels."""
    columns: dict[str, list[Any]] = {
        name: values.cast("int64").to_pylist() if str(values.type).startswith("timestamp") else values.to_pylist()
        for name, values in zip(backfill.rows.column_names, backfill.rows.columns, strict=True)
    }
    times = [columns["event_time"], *(columns[f"{view}.as_of"] for view in backfill.views)]
    places = list(zip(columns["source.partition"], columns["source.offset"], strict=True))
    first: dict[str, int] = {}
    for number, event_id in enumerate(columns["event_id"]):
        first[event_id] = min(number, first.get(event_id, number), key=places.__getitem__)
    known_at = [max(time for time in of_row if time is not None) for of_row in zip(*times, strict=True)]
    chosen = [number for event_id, number in first.items() if event_id in labels and known_at[number] <= until_ms]
    order = sorted(chosen, key=lambda number: (columns["event_time"][number], columns["event_id"][number]))
    ids = [columns["event_id"][number] for number in order]
    names = {name.partition(".")[0] for name in inputs}
    views = {view.name: f"{view.version}:{view.hash}" for view in plan.views if view.name in names}
    cells = [[_number(columns[name][number]) for name in inputs] for number in order]
    digest = hashlib.sha256(json.dumps([inputs, views, ids], sort_keys=True).encode())
    digest.update(np.array([columns["event_time"][number] for number in order], dtype="<i8").tobytes())
    digest.update(np.array(cells, dtype="<f4").tobytes())
    digest.update(np.array([labels[event_id] for event_id in ids], dtype=np.int8).tobytes())
    return digest.hexdigest()


def _number(value: Any) -> float:
    return np.nan if value is None else value
