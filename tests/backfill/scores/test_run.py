"""Scoring a range into a folder: every event once, with the scorer's score; and again after any interruption."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill import parquet
from backfill.resumable import StoppedError
from backfill.scores import events as events_module
from backfill.scores import rows as rows_module
from backfill.scores.failures import failures
from backfill.scores.rows import Seen
from backfill.scores.run import ModelVersion, score
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from tests.backfill.scores.world import FROM, PREDICTION, PREDICTIONS, TO, FakeTopics, World
from tests.backfills import write_backfill
from tests.scoring.line_ups import ab


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks, and several parts of each partition."""
    monkeypatch.setattr(events_module, "CHUNK", 3)
    monkeypatch.setattr(rows_module, "ROWS_PER_PART", 5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(file).to_pylist()]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_event_of_the_range_has_one_row_with_the_score_that_it_gets_alone(
    world: World, tmp_path: Path, small: None
) -> None:
    outcome = world.run(tmp_path / "out", version=2)
    rows, expected = rows_in(tmp_path / "out"), world.in_range()
    assert len(expected) == world.size - 1
    assert outcome.new_rows == outcome.manifest.rows == len(rows) == len(expected)
    by_id = {row["event_id"]: row for row in rows}
    for one in expected:
        row, vector = by_id[one["event_id"]], np.frombuffer(one["vector"], "<f4")
        value = world.score_of(2, vector)
        assert (row["score"], row["decision"]) == (value, "block" if value >= 0.5 else "pass")
        assert (row["entity"], row["model"], row["model_version"]) == (one["entity"], "taps", "2")
        assert (row["source.partition"], row["source.offset"]) == (one["source"]["partition"], one["source"]["offset"])
        assert (row["error"], row["defaulted"]) == (None, False)
    places = [(row["source.partition"], row["source.offset"]) for row in rows]
    assert places == sorted(places)


def test_under_the_policy_that_served_them_all_events_are_decided_as_they_were_served(
    world: World, tmp_path: Path
) -> None:
    world.run(tmp_path / "out")
    for row in rows_in(tmp_path / "out"):
        now = (row["score"], row["decision"], row["model_version"], row["explored"])
        then = (row["served.score"], row["served.decision"], row["served.model_version"], row["served.explored"])
        assert now == then
        assert row["policy"] == world.policy.version


def test_rows_of_a_policy_have_the_groups_of_their_events(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "out", amount="event.amount")
    countries = {one["event_id"]: one["event"] for one in world.features}
    for row in rows_in(tmp_path / "out"):
        event = countries[row["event_id"]]
        assert (row["group.event.country"], row["amount"]) == (event["country"], event["amount"])


def steps(monkeypatch: pytest.MonkeyPatch, kill_at: int) -> Callable[[], int]:
    """Kill the process before a step: a write of rows, a sync, or a file put in place; tells how many there were."""
    taken = 0

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == kill_at:
                raise Killed
            return call(*arguments, **options)

        return step

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", counting(pq.ParquetWriter.write_batch))
    monkeypatch.setattr(os, "fsync", counting(os.fsync))
    monkeypatch.setattr(Path, "replace", counting(Path.replace))
    return lambda: taken


def run_killed(monkeypatch: pytest.MonkeyPatch, kill_at: int, world: World, out: Path, **changes: Any) -> None:
    """Run, and be killed before a step."""
    with monkeypatch.context() as patch:
        steps(patch, kill_at)
        with pytest.raises(Killed):
            world.run(out, **changes)


def test_a_full_disk_is_explained_and_the_same_command_goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_batch", full)
        with pytest.raises(PenstockError, match=r"the scores cannot be written: .*No space left"):
            world.run(tmp_path / "out")
        assert not [path.name for path in (tmp_path / "out").iterdir() if ".part-" in path.name]
    world.run(tmp_path / "out")
    assert rows_in(tmp_path / "out")


def test_killed_before_any_step_and_run_again_the_folder_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    world = World(tmp_path, size=12)
    with monkeypatch.context() as patch:
        count = steps(patch, kill_at=0)
        world.run(tmp_path / "clean")
        number_of_steps = count()
    clean = content(tmp_path / "clean")
    assert number_of_steps >= 20
    for kill_at in range(1, number_of_steps + 1):
        out = tmp_path / f"killed-{kill_at}"
        run_killed(monkeypatch, kill_at, world, out)
        world.run(out)
        assert content(out) == clean, kill_at


def test_what_comes_after_the_beginning_does_not_count(tmp_path: Path, small: None) -> None:
    clean, world = World(tmp_path / "a", size=26), World(tmp_path / "b", size=26)
    clean.run(tmp_path / "clean")

    def stop_after_the_first() -> bool:
        return (tmp_path / "out" / "part-00000-00000.parquet").exists()

    with pytest.raises(StoppedError):
        _run_until(world, tmp_path / "out", stop_after_the_first)
    world.add(26, 1.0, 1.0, 1)
    assert world.run(tmp_path / "out").manifest.rows == 25
    names = [name for name in content(tmp_path / "clean") if name.startswith("part")]
    assert {name: content(tmp_path / "out")[name] for name in names} == {
        name: content(tmp_path / "clean")[name] for name in names
    }


def _run_until(world: World, out: Path, is_stopping: Callable[[], bool]) -> None:
    from backfill.scores.run import ScoreRequest  # noqa: PLC0415

    request = ScoreRequest(FROM, TO, None, world.policy)
    score(world.project, world.repository, world.fake(), request, out, lambda _: None, is_stopping)


def test_complete_scores_are_left_as_they_are(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "out")
    before = content(tmp_path / "out")
    world.topics[PREDICTIONS].clear()
    assert world.run(tmp_path / "out").new_rows == 0
    assert content(tmp_path / "out") == before


def test_an_event_with_two_predictions_has_one_row_also_across_parts(world: World, tmp_path: Path, small: None) -> None:
    first = next(record for record in world.topics[PREDICTIONS] if record.partition == 0)
    world.junk(0, first.value)
    assert world.run(tmp_path / "out", version=1).manifest.rows == len(world.in_range())


@pytest.mark.parametrize("value", [None, b"", b"junk"])
def test_what_is_no_prediction_is_passed_over(world: World, tmp_path: Path, value: bytes | None) -> None:
    world.junk(1, value)
    assert world.run(tmp_path / "out", version=1).manifest.rows == len(world.in_range())


def test_a_prediction_whose_model_version_is_no_number_is_passed_over(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = {"topic": "events.taps", "partition": 1, "offset": 99, "timestamp": FROM}
    world.junk(1, PREDICTION.encode(world.served[0] | {"event_id": "odd", "source": source, "model_version": "latest"}))
    assert world.run(tmp_path / "out", version=1).manifest.rows == len(world.in_range())
    assert "its model version 'latest' is no number" in caplog.text


def test_events_without_a_score_are_rows_and_listed(world: World, tmp_path: Path) -> None:
    vector = np.array([-1, 1, 1], "<f4").tobytes()  # the model has no number for it
    source = {"topic": "events.taps", "partition": 1, "offset": 99, "timestamp": FROM}
    world.junk(1, PREDICTION.encode(world.served[0] | {"event_id": "odd", "source": source, "vector": vector}))
    manifest = world.run(tmp_path / "out", version=1).manifest
    assert [*failures(tmp_path / "out", manifest)] == [("odd", 1, 99, "penstock.NotANumber", None)]
    (row,) = [row for row in rows_in(tmp_path / "out") if row["event_id"] == "odd"]
    assert (row["score"], row["decision"]) == (None, None)


def test_the_features_of_a_backfill_are_scored_and_compared_with_what_was_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    world = World(tmp_path)
    first = [one for one in world.features if one["source"]["partition"] == 0]
    again = [one | {"event": one["event"] | {"amount": one["event"]["amount"] + 1}} for one in first]
    backfill = write_backfill(world.project.pipeline, tmp_path / "features", again)
    world.topics[PREDICTIONS].pop(0)
    world.run(tmp_path / "out", backfill=backfill)
    rows = {row["event_id"]: row for row in rows_in(tmp_path / "out")}
    served = {one["event_id"]: one for one in world.in_range() if one["source"]["partition"] == 0}
    assert rows.keys() == served.keys()
    assert served.pop("tap-0")
    assert rows["tap-0"]["served.decision"] is None
    for name, one in served.items():
        row, vector = rows[name], np.frombuffer(one["vector"], "<f4") + np.array([1, 0, 0], np.float32)
        assert row["score"] == world.score_of(int(row["model_version"]), vector)
        assert (row["served.score"], row["served.decision"]) == (one["score"], one["decision"])


def test_killed_with_a_backfill_the_folder_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_PER_BATCH", 3)
    world = World(tmp_path)
    features = [one for one in world.features if one["source"]["partition"] == 0]
    backfill = write_backfill(world.project.pipeline, tmp_path / "features", features)
    world.run(tmp_path / "clean", version=2, backfill=backfill)
    for kill_at in (3, 9, 14):
        out = tmp_path / f"killed-{kill_at}"
        run_killed(monkeypatch, kill_at, world, out, version=2, backfill=backfill)
        world.run(out, version=2, backfill=backfill)
        assert content(out) == content(tmp_path / "clean")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"from_ms": FROM + 1}, "their range is 2001-09-09T01:46:40.000Z to 2001-09-09T02:03:20.000Z"),
        ({"model": ModelVersion("taps", 2)}, "they are by taps@1; they are not by taps@2"),
        ({"model": None, "policy": ab(1.0)}, "they are by taps@1; they are by another policy"),
        ({"amount": "event.amount"}, "their further columns are none"),
    ],
)
def test_a_folder_with_other_scores_is_refused(
    world: World, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    world.run(tmp_path / "out", version=1)
    before = content(tmp_path / "out")
    with pytest.raises(PenstockError, match=says):
        world.run(tmp_path / "out", version=1, **changes)
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"to_ms": FROM}, "the range is empty"),
        ({"model": ModelVersion("others", 1)}, "pipeline taps has no model others"),
        ({"model": ModelVersion("taps", 9)}, "model taps has no version 9"),
        ({"amount": "event.country"}, "feature records have no number event.country"),
        ({"amount": "event.price"}, "feature records have no number event.price"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_written(
    world: World, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(PenstockError, match=says):
        world.run(tmp_path / "out", version=1, **changes)
    assert not (tmp_path / "out").exists()


def test_a_backfill_that_lacks_what_is_needed_is_refused_before_anything_is_written(
    world: World, tmp_path: Path
) -> None:
    backfill = write_backfill(world.project.pipeline, tmp_path / "features", world.features[:1])
    late = {"from_ms": 2**40 - 1, "to_ms": 2**40 + 1}
    with pytest.raises(PenstockError, match="the backfill has only the events of"):
        world.run(tmp_path / "out", version=1, backfill=backfill, **late)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="the folder has files that are no scores"):
        world.run(tmp_path, version=1)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")])
def test_a_damaged_part_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, damage: Callable[[Path], object]
) -> None:
    world, out = World(tmp_path), tmp_path / "out"
    run_killed(monkeypatch, 15, world, out)
    damage(out / "part-00000-00000.parquet")
    with pytest.raises(PenstockError, match=r"part part-00000-00000.parquet of the scores is missing or damaged"):
        world.run(out)


def test_predictions_with_the_inputs_of_another_definition_are_refused(world: World, tmp_path: Path) -> None:
    world.junk(0, PREDICTION.encode(world.served[0] | {"vector": b"\0" * 8}))
    with pytest.raises(PenstockError, match="the prediction has 2 inputs, and the model takes 3") as caught:
        world.run(tmp_path / "out", version=1)
    assert "--backfill" in (caught.value.next or "")


def test_a_range_before_a_gap_is_refused_before_anything_is_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeTopics, "runs", lambda *_: {0: [(0, 5), (9, 12)]})
    with pytest.raises(PenstockError, match="lie before a gap: offsets 5 to 9 are neither"):
        world.run(tmp_path / "out", version=1, to_ms=FROM + 1)
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(("dated", "cut"), [(FROM - 10**10, []), (TO, [0])])
def test_it_is_told_where_predictions_of_the_range_may_be_deleted(
    world: World, tmp_path: Path, dated: int, cut: list[int]
) -> None:
    records = world.topics[PREDICTIONS]
    for place, record in enumerate(records):
        if record.partition == 0:
            records[place] = Record(0, record.offset + 6, dated, record.key, record.value, ())
        else:
            records[place] = Record(1, record.offset, FROM, record.key, record.value, ())
    assert world.run(tmp_path / "out", version=1).manifest.cut == cut


def test_a_set_of_offsets_knows_each_that_was_added() -> None:
    seen, offsets = Seen(), [0, 1, 65_535, 65_536, 10**12]
    assert [seen.add(offset) for offset in offsets] == [True] * 5
    assert seen.new([1, 2, 10**12, 2]).tolist() == [False, True, False, False]


def test_the_rows_are_read_as_one_table(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "out", version=1)
    assert pa.concat_tables([pq.read_table(file) for file in (tmp_path / "out").glob("*.parquet")]).num_rows > 0
