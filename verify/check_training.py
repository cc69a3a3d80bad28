"""Checks what models were trained on: the backfill's vectors, and the labels that were known by then.

The manifest of a version has a hash of its training set (docs/guides/models.md). Here the set is built a second time,
from the backfill and the raw labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.kafka.reading import Record
from schemas.constraints import INT64_MAX
from streams.plan.model import PipelinePlan
from verify.findings import Findings
from verify.labels import LabelHistory
from verify.run_data import BackfillData
from verify.training_sets import Rule, has_columns, labelled_vectors, oldest, views_of


@dataclass
class TrainingFindings(Findings):
    """Result of the check: ``checked`` training sets of the models' ``versions`` could be built a second time."""

    versions: int = 0
    checked: int = 0


def check_training(
    plan: PipelinePlan,
    folders: Iterable[Path],
    backfills: Sequence[BackfillData],
    labels: Sequence[Sequence[Record]],
    read_labels: Callable[[Sequence[Sequence[Record]]], LabelHistory],
) -> TrainingFindings:
    """Check every version that was trained on a backfill with as many rows as one of these.

    Labels may have come after the training. The oldest of the topics are then taken for those that it read; if they do
    not give its training set, that is no finding, as topics do not tell in which order their partitions grew.

    Args:
        plan: The pipeline's plan.
        folders: The folders of the pipeline's models in the repository.
        backfills: The backfills.
        labels: The topics of labels, in the order of the definition.
        read_labels: Gives the labels of each event, from these records.
    """
    findings = TrainingFindings()
    total = sum(map(len, labels))
    for path in (path for folder in folders for path in sorted(folder.glob("*/manifest.json"))):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("kind") == "imported":
            continue  # trained elsewhere
        inputs, read = tuple(manifest["inputs"]), manifest["read"]
        count = read["labels_read"] + read["labels_refused"]
        findings.versions += 1
        categories = manifest.get("categories", ())
        fitting = [
            one for one in backfills if has_columns(plan, one, inputs) and one.rows.num_rows == read["features_read"]
        ]
        if manifest["views"] != views_of(plan, inputs) or not fitting or count > total:
            continue
        until_ms = INT64_MAX if manifest["until_ms"] is None else manifest["until_ms"]
        rule = Rule(until_ms, manifest.get("horizon_ms"), manifest.get("absent"))
        known = read_labels(oldest(labels, count))
        found = [labelled_vectors(plan, one, inputs, categories, known, rule) for one in fitting]
        task, positive = manifest.get("task", "binary"), manifest.get("positive")
        is_equal = manifest["data_hash"] in [one.data_hash(task, positive) for one in found]
        findings.checked += is_equal or count == total
        if not is_equal and count == total:
            findings.mismatch(
                f"{path.parents[1].name} version {manifest['version']}: its training set is not that of the backfill's "
                f"events until {manifest['until_ms']} and the labels known by then"
            )
    return findings
