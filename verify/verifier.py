"""Verifies one pipeline: reads what its run left, and judges it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.settings import Settings
from schemas.registry import registry_schemas
from streams.plan.project import Project
from verify.hosted import triton_scorers
from verify.judge import judge
from verify.judged_sources import pii_key
from verify.measured import Measured
from verify.reading import read_run
from verify.report import PipelineReport

_CASSANDRA_SAMPLE = 1_000


def verify(
    project: Project,
    settings: Settings,
    measured: Measured | None = None,
    *,
    seed: int,
    epochs: int = 1,
    backfills: Sequence[Path] = (),
    training_sets: Sequence[Path] = (),
) -> PipelineReport:
    """Check everything that a pipeline published and stored against its raw events.

    ``measured`` and ``epochs`` are as in :func:`verify.judge.judge`. ``backfills`` are folders of complete
    backfills, which are compared with the published features; ``training_sets`` are folders of sets of these or of
    predictions, which are built a second time. ``seed`` draws the rows of Cassandra that are read whole.

    Raises:
        PenstockError: if Kafka, a store, the schema registry a backfill or a training set cannot be read.
    """
    run = read_run(project, settings, backfills, training_sets, sample=_CASSANDRA_SAMPLE, seed=seed)
    with triton_scorers(settings.triton.access, settings.model_repository) as hosted:
        return judge(
            project,
            run,
            measured,
            pii_key=pii_key(project.plan, settings),
            registry=registry_schemas(settings.schema_registry_url),
            epochs=epochs,
            hosted=hosted,
        )
