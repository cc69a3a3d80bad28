"""Scores of the events of two topics, which have the same partitions and offsets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from backfill.resumable import StoppedError
from backfill.scores import rows as rows_module
from backfill.scores.cassandra import scores_table
from backfill.scores.delivered import scores_in
from backfill.scores.failures import failures
from backfill.scores.run import ModelVersion, ScoreRequest, score
from penstock import Source
from penstock.errors import PenstockError
from schemas.codec import Encoder
from schemas.history import record_decoder
from schemas.records import SCORE_SCHEMA
from tests.backfill.scores.world import FROM, PARTITIONS, PIPELINE, PREDICTION, PREDICTIONS, TO, Tap, World
from tests.backfills import write_backfill

APP = "events.taps.app"
SEVERAL = PIPELINE.model_copy(
    update={"additional_sources": (Source(topic=APP, contract=Tap, key="card", partitions=PARTITIONS),)}
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(rows_module, "ROWS_PER_PART", 1)
    monkeypatch.setattr("backfill.scores.events.CHUNK", 6)
    return World(tmp_path, pipeline=SEVERAL)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def places_of(rows: list[dict[str, Any]]) -> set[tuple[str, str, int, int]]:
    return {(r["event_id"], r["source.topic"], r["source.partition"], r["source.offset"]) for r in rows}


def served_places(world: World) -> set[tuple[str, str, int, int]]:
    sources = ((one["event_id"], one["source"]) for one in world.in_range())
    return {(id_, source["topic"], source["partition"], source["offset"]) for id_, source in sources}


def test_each_event_has_one_row_also_after_an_interruption_and_with_two_predictions(
    world: World, tmp_path: Path
) -> None:
    for partition in range(PARTITIONS):
        first = next(record for record in world.topics[PREDICTIONS] if record.partition == partition)
        world.junk(partition, first.value)
    out, request = tmp_path / "out", ScoreRequest(FROM, TO, ModelVersion("taps", 1), None)
    stops_at = out / "part-00000-00000.parquet"
    with pytest.raises(StoppedError):
        score(world.project, world.repository, world.fake(), request, out, lambda _: None, stops_at.exists)
    world.run(out, version=1)
    rows = rows_in(out)
    assert places_of(rows) == served_places(world)
    assert len(rows) == len(world.in_range()) == len({place[1:] for place in places_of(rows)})
    assert len({(row["source.partition"], row["source.offset"]) for row in rows}) < len(rows)


def test_an_event_of_a_topic_that_is_not_scored_is_passed_over(world: World, tmp_path: Path) -> None:
    source = {"topic": "events.elsewhere", "partition": 1, "offset": 99, "timestamp": FROM}
    world.junk(1, PREDICTION.encode(world.served[0] | {"event_id": "odd", "source": source}))
    assert world.run(tmp_path / "out", version=1).manifest.rows == len(world.in_range())


def test_an_event_without_a_score_is_listed_with_its_topic(world: World, tmp_path: Path) -> None:
    vector = np.array([-1, 1, 1], "<f4").tobytes()  # the model has no number for it
    source = {"topic": APP, "partition": 1, "offset": 99, "timestamp": FROM}
    world.junk(1, PREDICTION.encode(world.served[0] | {"event_id": "odd", "source": source, "vector": vector}))
    manifest = world.run(tmp_path / "out", version=1).manifest
    assert [*failures(tmp_path / "out", manifest)] == [("odd", 1, 99, "penstock.NotANumber", APP)]


def test_scores_are_delivered_with_their_topic_which_is_part_of_their_key_in_cassandra(
    world: World, tmp_path: Path
) -> None:
    manifest = world.run(tmp_path / "out").manifest
    scores = [one for part in manifest.parts for one in scores_in(tmp_path / "out", manifest, part)]
    table, encoder, decoder = scores_table("taps", has_topic=True), Encoder(SCORE_SCHEMA), record_decoder("score")
    assert table.name != scores_table("taps").name
    assert set(table.columns) == {*scores_table("taps").columns, "source_topic"}
    assert "source_topic" in table.key
    topics = {one["event_id"]: one["source"]["topic"] for one in world.in_range()}
    read = [decoder.decode(encoder.encode(one)) for one in scores]
    assert {one["event_id"]: one["source_topic"] for one in read} == topics


def test_the_events_of_a_backfill_are_compared_with_what_was_served_for_them(world: World, tmp_path: Path) -> None:
    first = [one for one in world.features if one["source"]["partition"] == 0]
    backfill = write_backfill(SEVERAL, tmp_path / "features", first)
    world.run(tmp_path / "out", backfill=backfill)
    rows = {row["event_id"]: row for row in rows_in(tmp_path / "out")}
    served = {one["event_id"]: one for one in world.in_range() if one["source"]["partition"] == 0}
    assert rows.keys() == served.keys()
    for name, one in served.items():
        assert (rows[name]["served.score"], rows[name]["source.topic"]) == (one["score"], one["source"]["topic"])
        assert rows[name]["score"] == one["score"]


def test_scores_and_backfills_of_one_topic_are_others(world: World, tmp_path: Path) -> None:
    alone = World(tmp_path / "alone")
    manifest = alone.run(tmp_path / "out", version=1).manifest
    assert "topics" not in manifest.model_dump()
    with pytest.raises(PenstockError, match="the folder holds other scores"):
        world.run(tmp_path / "out", version=1)
    backfill = write_backfill(PIPELINE, tmp_path / "features", alone.features[:1])
    with pytest.raises(PenstockError, match=r"the backfill"):
        world.run(tmp_path / "other", version=1, backfill=backfill)
    assert not (tmp_path / "other").exists()
