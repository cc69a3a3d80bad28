"""Backfills read back, and folders that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.manifest import load_manifest
from backfill.parquet import read_backfill
from penstock.errors import PenstockError
from penstock.time import iso
from tests.backfills import write_backfill


def test_a_folder_without_a_backfill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="the folder has no backfill") as refused:
        read_backfill(tmp_path)
    assert refused.value.next == f"penstock backfill run PIPELINE --from TIME --to TIME --out {tmp_path}"


def test_a_damaged_or_incomplete_backfill_is_refused(tmp_path: Path) -> None:
    from tests.backfill.test_training_parquet import features, pipeline  # noqa: PLC0415 - reuses its pipeline

    backfill = write_backfill(pipeline(), tmp_path, [features()])
    assert backfill.table(["event_id"]).to_pylist() == [{"event_id": "t1"}]
    (tmp_path / backfill.manifest.parts[0].file).write_bytes(b"cut")
    with pytest.raises(PenstockError, match="missing or damaged"):
        read_backfill(tmp_path)
    manifest = load_manifest(tmp_path)
    assert manifest is not None
    manifest.state = "running"
    manifest.save(tmp_path)
    with pytest.raises(PenstockError, match="not complete") as refused:
        read_backfill(tmp_path)
    replay, views = manifest.replay, " ".join(f"--view {view}" for view in manifest.views)
    assert refused.value.next == (
        f"run the same command again: penstock backfill run {manifest.pipeline} --from {iso(replay.from_ms)} "
        f"--to {iso(replay.to_ms)} {views} --out {tmp_path}"
    )
