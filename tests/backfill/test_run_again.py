"""The backfill of a version's training is planned for the offsets of then, as one that was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.manifest import load_manifest, require_same_backfill
from backfill.run_again import plan_again
from penstock.errors import PenstockError
from scoring.recipe import DataRecipe
from tests.backfill.test_training_parquet import pipeline, project_of

DATA = DataRecipe(
    data_hash="d",
    events=3,
    columns={},
    from_ms=5,
    to_ms=9,
    views=("taps",),
    max_ahead_ms=1_000,
    offsets={"events.taps": {0: (3, 90), 2: (0, 7)}},
    topics={},
)


def test_it_replays_the_offsets_of_then_and_is_the_backfill_of_its_request(tmp_path: Path) -> None:
    project = project_of(pipeline())
    request = plan_again(project, DATA, tmp_path, "s3://key:secret@bucket/archive")
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    assert (manifest.state, manifest.job) == ("running", None)
    assert (manifest.replay.start, manifest.replay.end) == ({0: 3, 2: 0}, {0: 90, 2: 7})
    assert (manifest.replay.from_ms, manifest.replay.to_ms, manifest.replay.max_ahead_ms) == (5, 9, 1_000)
    assert (manifest.archive, request.archive) == ("s3://bucket/archive", "s3://key:secret@bucket/archive")
    assert (request.views, [*manifest.views]) == (("taps",), ["taps"])
    require_same_backfill(manifest, project.plan, manifest.views, request.from_ms, request.to_ms, tmp_path)


def test_a_pipeline_of_other_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match=r"events\.taps now, and events\.moved when"):
        plan_again(project_of(pipeline()), DATA.model_copy(update={"offsets": {"events.moved": {0: (0, 1)}}}), tmp_path)
