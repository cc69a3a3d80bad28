"""Reads backfills, and training sets made of them, for analysts.

::

    from penstock.offline import read_backfill, read_training_set

    backfill = read_backfill("march")  # a folder written by `penstock backfill run`
    for batch in backfill.batches(["event_id", "card_spend.amount_sum_1h"]):
        batch.to_pandas()
    data = read_training_set("ads/pipeline.py", backfill)
    data.X, data.y

    march = training_set("march-set")  # a folder written by `penstock training-set build`
    march.pandas(["event_time", "label"], split="train")
"""

from __future__ import annotations

from pathlib import Path

from backfill.parquet import Backfill
from backfill.parquet import read_backfill as _read_backfill
from backfill.topic_reading import topics_of
from backfill.training_parquet import read_training_set as _read_training_set
from backfill.training_sets.folder import TrainingSetFolder, open_training_set
from penstock.settings import Settings
from schemas.registry import registry_schemas
from scoring.trained_model import OnnxModel
from scoring.training_set import TrainingSet
from streams.plan.project import open_project

__all__ = [
    "Backfill",
    "OnnxModel",
    "TrainingSet",
    "TrainingSetFolder",
    "read_backfill",
    "read_training_set",
    "training_set",
]


def read_backfill(folder: str | Path) -> Backfill:
    """Open a complete backfill. Rows are read only when its batches are.

    Raises:
        PenstockError: if the folder has no complete backfill.
    """
    return _read_backfill(Path(folder))


def read_training_set(
    pipeline: str,
    backfill: Backfill,
    until_ms: int | None = None,
    settings: Settings | None = None,
    source: str = "kafka",
) -> TrainingSet:
    """The labelled events of a backfill, with their vectors as served.

    Args:
        pipeline: The pipeline's file, folder, or the name of its folder, as on the command line.
        backfill: The features.
        until_ms: Ignore what became known after this event time, in epoch ms (default: no limit).
        settings: The addresses of Kafka, which has the labels, and of the schema registry, if there is one; by default
            from the environment.
        source: ``kafka``, or the folder or URL of an archive, which has also the labels that Kafka has deleted.

    Raises:
        PenstockError: if the backfill is not of this pipeline, the pipeline has no labels, or Kafka or the
            archive cannot be read.
    """
    settings = settings or Settings()
    registry = registry_schemas(settings.schema_registry_url)
    topics = topics_of(settings.kafka.access, None if source == "kafka" else source)
    return _read_training_set(open_project(pipeline), topics.read, backfill, until_ms, registry)


def training_set(folder: str | Path) -> TrainingSetFolder:
    """Open a training set. Rows are read only when they are asked for.

    Raises:
        PenstockError: if the folder has no complete training set, or a file is missing or damaged.
    """
    return open_training_set(Path(folder))
