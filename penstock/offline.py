"""For analysts: read backfills, and the training sets that are made of them.

::

    from penstock.offline import read_backfill, read_training_set

    backfill = read_backfill("march")  # a folder that `penstock backfill run` has written
    for batch in backfill.batches(["event_id", "card_spend.amount_sum_1h"]):
        batch.to_pandas()
    data = read_training_set("ads/pipeline.py", backfill)
    data.X, data.y
"""

from __future__ import annotations

from pathlib import Path

from backfill.parquet import Backfill
from backfill.parquet import read_backfill as _read_backfill
from backfill.training_parquet import read_training_set as _read_training_set
from penstock.settings import Settings
from scoring.training_set import TrainingSet
from streams.plan.project import open_project

__all__ = ["Backfill", "TrainingSet", "read_backfill", "read_training_set"]


def read_backfill(folder: str | Path) -> Backfill:
    """The rows of a complete backfill; nothing is read before its batches are.

    Raises:
        PenstockError: if the folder holds no complete backfill.
    """
    return _read_backfill(Path(folder))


def read_training_set(
    pipeline: str, backfill: Backfill, until_ms: int | None = None, settings: Settings | None = None
) -> TrainingSet:
    """The labelled events of a backfill, with their vectors as they were served.

    Args:
        pipeline: The pipeline's file, folder, or the name of its folder, as on the command line.
        backfill: The features.
        until_ms: Know nothing later than this event time, in epoch ms (default: all that was read).
        settings: Where Kafka is, which has the labels; by default those of the environment.

    Raises:
        PenstockError: if the backfill does not fit the pipeline, the pipeline has no labels, or Kafka cannot be
            reached.
    """
    return _read_training_set(open_project(pipeline), (settings or Settings()).kafka.access, backfill, until_ms)
