"""The manifest: saving and loading it, and a folder with another backfill."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from backfill.manifest import BackfillManifest, Part, load_manifest, plan_hash, require_same_backfill, selected_views
from penstock.errors import PenstockError
from streams.flink.submission import Offsets, Replay
from tests.plans import make_plan, view_of

FEATURE: dict[str, Any] = {
    "name": "n",
    "operation": "count",
    "column": None,
    "column_type": None,
    "where": None,
    "window_ms": 1_000,
    "hop_ms": 10,
    "type": "long",
}
PLAN = make_plan(fields=[], views=[view_of(FEATURE, name="a"), view_of(FEATURE, name="b")])


def manifest(**changes: Any) -> BackfillManifest:
    replay = Replay(topic="backfill.p.r", start={0: 3, 1: 5}, end={0: 10, 1: 6}, from_ms=7, to_ms=9, max_ahead_ms=1)
    found = BackfillManifest(pipeline="p", views={"a": "1:h"}, plan=plan_hash(PLAN), run="r", replay=replay)
    return found.model_copy(update=changes)


def test_a_saved_manifest_is_loaded_unchanged(tmp_path: Path) -> None:
    part = Part(file="part-00000-00000.parquet", partition=0, rows=4, next_offset=6)
    saved = manifest(job="j", checkpoint="file:/chk-3", parts=[part])
    saved.save(tmp_path)
    assert load_manifest(tmp_path) == saved
    assert (saved.rows, saved.events, saved.job_name) == (4, 8, "penstock-p-backfill-r")


def test_a_folder_without_a_manifest_loads_as_none(tmp_path: Path) -> None:
    assert load_manifest(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "{}", '{"format": 2}', "é: no UTF-8"])
def test_an_unreadable_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(PenstockError, match="cannot be read"):
        load_manifest(tmp_path)


def test_an_interrupted_save_keeps_the_previous_manifest(tmp_path: Path) -> None:
    manifest().save(tmp_path)
    (tmp_path / ".manifest.json").write_text('{"format": 1, "sta')
    assert load_manifest(tmp_path) == manifest()


def test_a_full_disk_is_explained_and_the_manifest_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    manifest().save(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(PenstockError, match="No space left"):
            manifest(job="j").save(tmp_path)
    assert load_manifest(tmp_path) == manifest()


def test_selected_views_are_the_named_ones_in_record_order_or_all() -> None:
    assert selected_views(PLAN, ("b", "a"), "p") == {"a": "1:h", "b": "1:h"}
    assert selected_views(PLAN, ("b",), "p") == {"b": "1:h"}
    assert selected_views(PLAN, (), "p") == {"a": "1:h", "b": "1:h"}


def test_an_unknown_view_is_refused_with_those_that_exist_and_the_command_that_shows_them() -> None:
    with pytest.raises(PenstockError, match=r"no view 'c'; it has a, b") as refused:
        selected_views(PLAN, ("a", "c"), "p")
    assert refused.value.next == "penstock features describe p"


def test_the_same_arguments_are_accepted(tmp_path: Path) -> None:
    require_same_backfill(manifest(), PLAN, {"a": "1:h"}, 7, 9, tmp_path)


@pytest.mark.parametrize(
    ("existing", "views", "to_ms", "says"),
    [
        (manifest(pipeline="other"), {"a": "1:h"}, 9, "it is of pipeline other"),
        (manifest(), {"b": "1:h"}, 9, "its views are a@1:h, not b@1:h"),
        (manifest(), {"a": "2:h"}, 9, "its views are a@1:h, not a@2:h"),
        (manifest(), {"a": "1:h"}, 8, "its range is 1970-01-01T00:00:00.007Z to 1970-01-01T00:00:00.009Z"),
        (manifest(plan="another"), {"a": "1:h"}, 9, "definition has changed since it began"),
    ],
)
def test_another_backfill_in_the_folder_is_refused_with_the_difference(
    tmp_path: Path, existing: BackfillManifest, views: dict[str, str], to_ms: int, says: str
) -> None:
    with pytest.raises(PenstockError, match=says) as refused:
        require_same_backfill(existing, PLAN, views, 7, to_ms, tmp_path)
    assert refused.value.next == "give another folder with --out, or delete this one"


def test_a_complete_backfill_stays_valid_if_its_views_are_unchanged(tmp_path: Path) -> None:
    require_same_backfill(manifest(plan="another", state="complete"), PLAN, {"a": "1:h"}, 7, 9, tmp_path)


def test_backfills_of_the_same_rows_have_one_identity_whatever_wrote_them() -> None:
    same = manifest(run="0000000b", job="j", archive="/archive", delivered={"k": ["a"]}, state="complete")
    slower = same.model_copy(update={"replay": same.replay.model_copy(update={"topic": "t", "max_per_s": 5})})
    assert manifest().identity == same.identity == slower.identity


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": "another"},
        {"views": {"b": "1:h"}},
        {"pipeline": "q"},
        *(
            {"replay": manifest().replay.model_copy(update=replay)}
            for replay in (
                {"from_ms": 6},
                {"to_ms": 10},
                {"end": {0: 11, 1: 6}},
                {"start": {0: 2, 1: 5}},
                {"additional_sources": (Offsets(start={0: 0}, end={0: 1}),)},
            )
        ),
    ],
)
def test_a_backfill_of_other_rows_has_another_identity(changes: dict[str, Any]) -> None:
    assert manifest(**changes).identity != manifest().identity


def test_the_epoch_in_cassandra_is_negative_and_of_the_run_alone() -> None:
    epochs = [manifest(run=run).epoch for run in ("00000000", "0000000a", "ffffffff")]
    assert epochs == [-(2**32), 10 - 2**32, -1]
