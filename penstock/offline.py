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

:func:`build_training_set` makes such a folder of an archive, in a notebook without Kafka.
"""

from __future__ import annotations

from pathlib import Path

from backfill.parquet import Backfill
from backfill.parquet import read_backfill as _read_backfill
from backfill.topic_reading import topics_of
from backfill.training_parquet import read_training_set as _read_training_set
from backfill.training_sets.build import Inputs
from backfill.training_sets.build import build_training_set as _build_training_set
from backfill.training_sets.folder import TrainingSetFolder, open_training_set
from backfill.training_sets.manifest import Request
from penstock.settings import Settings
from schemas.registry import registry_schemas
from scoring.trained_model import OnnxModel
from scoring.training_set import TrainingSet
from sinks.archive.reading import Archive
from streams.plan.project import open_project

__all__ = [
    "Backfill",
    "OnnxModel",
    "TrainingSet",
    "TrainingSetFolder",
    "build_training_set",
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


def build_training_set(
    pipeline: str,
    folder: str | Path,
    *,
    archive: str,
    from_ms: int,
    to_ms: int,
    backfill: Backfill | None = None,
    until_ms: int | None = None,
    split: tuple[str, str, str] = ("0.7", "0.15", "0.15"),
    seed: int = 0,
    settings: Settings | None = None,
) -> TrainingSetFolder:
    """Build a training set of what an archive has, and open it. Kafka is not asked.

    ``penstock training-set build`` has further options, and reads also what only Kafka has. A folder that has the set
    already is opened as it is. ``manifest.leak_check`` of the result says whether features saw their future.

    Args:
        pipeline: The pipeline's file, folder, or the name of its folder, as on the command line.
        folder: Where to write it.
        archive: The folder or URL of the archive, which has the labels, and the predictions if they are needed.
        from_ms: Take events from this event time on, epoch ms.
        to_ms: Take events before this event time.
        backfill: The recomputed features; None for the vectors as served, of the archived predictions.
        until_ms: Ignore what became known after this event time (default: no limit).
        split: The shares of training, validation and test, by time; they sum to 1.
        seed: For the probe of the leak check; nothing else is random.
        settings: The address of the schema registry, if there is one; by default from the environment.

    Raises:
        PenstockError: if the pipeline has no labels, or too few; the archive lacks a topic, or the backfill does not
            fit; there is no row; or the folder has other content.
    """
    request = Request(
        from_ms=from_ms,
        to_ms=to_ms,
        until_ms=until_ms,
        features="served" if backfill is None else "recomputed",
        split=split,
        embargo=False,
        seed=seed,
        probe=True,
    )
    registry = registry_schemas((settings or Settings()).schema_registry_url)
    inputs = Inputs(Archive(archive).records, backfill, registry)
    _build_training_set(open_project(pipeline), inputs, request, Path(folder))
    return open_training_set(Path(folder))


def training_set(folder: str | Path) -> TrainingSetFolder:
    """Open a training set. Rows are read only when they are asked for.

    Raises:
        PenstockError: if the folder has no complete training set, or a file is missing or damaged.
    """
    return open_training_set(Path(folder))
