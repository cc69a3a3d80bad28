"""Backfills: by a job, and as files without one, for tests of what reads them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from backfill.manifest import BackfillManifest, plan_hash, selected_views
from backfill.parquet import Backfill, read_backfill
from backfill.parts import PartsWriter
from backfill.progress_bar import ProgressBar
from backfill.run import BackfillRequest, run_backfill
from penstock.settings import Settings
from schemas.codec import Encoder
from streams.definitions.pipeline import Pipeline
from streams.flink.submission import Offsets, Replay
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.project import Project


def run_quietly(project: Project, settings: Settings, request: BackfillRequest, folder: Path) -> BackfillManifest:
    """A backfill by a job, from its beginning to its end."""
    with ProgressBar(Console(file=StringIO())) as progress:
        return run_backfill(project, settings, request, folder, progress, threading.Event())


def write_backfill(
    pipeline: Pipeline, folder: Path, records: Sequence[dict[str, Any]], views: tuple[str, ...] = ()
) -> Backfill:
    """A complete backfill of feature records, all from partition 0 and in the order of their source offsets.

    Those of each topic whose events are scored are in that order.
    """
    plan = compile_plan(pipeline)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(features_schema(plan))
    others = tuple(Offsets(start={0: 0}, end={0: len(records)}) for _ in plan.additional_sources)
    manifest = BackfillManifest(
        state="complete",
        pipeline=pipeline.name,
        views=selected_views(plan, views, "p"),
        plan=plan_hash(plan),
        run="0000000a",
        replay=Replay(
            topic="backfill.test",
            start={0: 0},
            end={0: len(records)},
            additional_sources=others,
            from_ms=0,
            to_ms=2**40,
            max_ahead_ms=1_000,
        ),
    )
    with PartsWriter(plan, manifest, folder) as writer:
        writer.add(0, list(range(len(records))), [encoder.encode(record) for record in records])
        writer.finish()
    return read_backfill(folder)
