"""Checks what models were trained on: the backfill's vectors, and the labels that were known by then.

The manifest of a version has a hash of its training set (docs/guides/models.md). Here the set is built a second time,
from the backfill and the raw labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.kafka.reading import Record
from streams.plan.model import PipelinePlan
from verify.categories import codes
from verify.findings import Findings
from verify.labels import Label
from verify.run_data import BackfillData

_PLACE = ("source.timestamp", "source.partition", "source.offset")
# Of a training without a limit: every event time is before it.
_END = 2**63 - 1


@dataclass
class TrainingFindings(Findings):
    """Result of the check: ``checked`` training sets of the models' ``versions`` could be built a second time."""

    versions: int = 0
    checked: int = 0


def check_training(
    plan: PipelinePlan,
    folders: Iterable[Path],
    backfill: BackfillData,
    labels: Sequence[Record],
    labels_until: Callable[[Sequence[Record], int], Mapping[str, Label]],
) -> TrainingFindings:
    """Check every version that was trained on a backfill with as many rows as this one.

    Labels may have come after the training. The oldest of the topic are then taken for those that it read; if they do
    not give its training set, that is no finding, as the topic does not tell in which order its partitions grew.

    Args:
        plan: The pipeline's plan.
        folders: The folders of the pipeline's models in the repository.
        backfill: The backfill.
        labels: The labels topic.
        labels_until: Gives the label of each event as known at an event time, from these records.
    """
    findings = TrainingFindings()
    by_age = sorted(labels, key=lambda record: (record.timestamp, record.partition, record.offset))
    for path in (path for folder in folders for path in sorted(folder.glob("*/manifest.json"))):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("kind") == "imported":
            continue  # trained elsewhere
        inputs, read = tuple(manifest["inputs"]), manifest["read"]
        count = read["labels_read"] + read["labels_refused"]
        findings.versions += 1
        if manifest["views"] != _views(plan, inputs) or not _needed(plan, inputs) <= {*backfill.rows.column_names}:
            continue
        if read["features_read"] != backfill.rows.num_rows or count > len(by_age):
            continue
        until_ms = _END if manifest["until_ms"] is None else manifest["until_ms"]
        known = labels_until(by_age[:count], until_ms)
        is_equal = _data_hash(plan, backfill, manifest, known, until_ms) == manifest["data_hash"]
        findings.checked += is_equal or count == len(by_age)
        if not is_equal and count == len(by_age):
            findings.mismatch(
                f"{path.parents[1].name} version {manifest['version']}: its training set is not that of the backfill's "
                f"events until {manifest['until_ms']} and the labels known by then"
            )
    return findings


def _views(plan: PipelinePlan, inputs: Sequence[str]) -> dict[str, str]:
    """The version and hash of each view that the inputs name."""
    names = {name.partition(".")[0] for name in inputs}
    return {view.name: f"{view.version}:{view.hash}" for view in plan.views if view.name in names}


def _needed(plan: PipelinePlan, inputs: Sequence[str]) -> set[str]:
    """The columns of a backfill from which a training set is built."""
    return {"event_id", "event_time", *_PLACE, *inputs, *(f"{view}.as_of" for view in _views(plan, inputs))}


def _data_hash(
    plan: PipelinePlan,
    backfill: BackfillData,
    manifest: Mapping[str, Any],
    labels: Mapping[str, Label],
    until_ms: int,
) -> str:
    """The SHA-256 of a training set's names, ids, event times, vectors and labels."""
    inputs = tuple(manifest["inputs"])
    views = _views(plan, inputs)
    columns = {name: _values(backfill.rows[name]) for name in _needed(plan, inputs)}
    columns |= {name: codes(columns[name]) for name in manifest.get("categories", ())}
    ids, times = columns["event_id"], columns["event_time"]
    places = list(zip(*(columns[name] for name in _PLACE), strict=True))
    first: dict[str, int] = {}
    for number, event_id in enumerate(ids):
        first[event_id] = min(number, first.get(event_id, number), key=places.__getitem__)
    dates = zip(times, *(columns[f"{view}.as_of"] for view in views), strict=True)
    known_at = [max(time for time in of_row if time is not None) for of_row in dates]
    chosen = [number for event_id, number in first.items() if event_id in labels and known_at[number] <= until_ms]
    order = sorted(chosen, key=lambda number: (times[number], ids[number]))
    with np.errstate(over="ignore"):  # beyond float32's range a value becomes an infinity
        cells = [np.array(columns[name], dtype=np.float64)[order].astype("<f4") for name in inputs]
    names = [ids[number] for number in order]
    digest = hashlib.sha256(json.dumps([inputs, views, names], sort_keys=True).encode())
    digest.update(np.array([times[number] for number in order], dtype="<i8").tobytes())
    digest.update(np.stack(cells, axis=1).tobytes())
    digest.update(_label_bytes([labels[event_id] for event_id in names], manifest))
    return digest.hexdigest()


def _label_bytes(labels: Sequence[Label], manifest: Mapping[str, Any]) -> bytes:
    """Labels as the hash has them: 0 or 1, a value, or the place of a class among all, with the classes themselves."""
    task = manifest.get("task", "binary")
    if task == "multiclass":
        classes = sorted(set(map(str, labels)))
        places = np.array([classes.index(str(label)) for label in labels], dtype="<i2")
        return places.tobytes() + json.dumps([classes, manifest["positive"]]).encode()
    return np.array(labels, dtype="<f8" if task == "regression" else np.int8).tobytes()


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, times as epoch milliseconds."""
    values: list[Any] = (column.cast("int64") if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values
