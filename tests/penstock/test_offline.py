"""Training sets that a notebook builds of an archive, without Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.offline import build_training_set
from tests.archives import archive_records
from tests.backfill.training_sets.worlds import TO_MS, Event, Label, World

PIPELINE = "from tests.backfill.training_sets.worlds import pipeline\n\npipeline = pipeline()\n"


@pytest.fixture
def world() -> World:
    events = [Event(f"e{number}", 10 * number, 10 * number) for number in range(1, 9)]
    labels = [Label(event.id, event.time + 5, event.time % 20 == 0) for event in events]
    return World(events, labels)


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    path = tmp_path / "pipeline.py"
    path.write_text(PIPELINE, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("served", [True, False])
def test_a_set_of_an_archive_is_that_of_the_same_topics(
    tmp_path: Path, world: World, pipeline: str, *, served: bool
) -> None:
    topics = {topic: list(world.records(topic)) for topic in ("labels.taps", "predictions.taps")}
    archive = archive_records(tmp_path / "archive", world.project(), topics)
    backfill = None if served else world.backfill(tmp_path / "backfill")
    request = {"archive": archive, "backfill": backfill, "from_ms": 0, "to_ms": TO_MS, "until_ms": 80}
    built = build_training_set(pipeline, tmp_path / "built", **request)  # type: ignore[arg-type]
    expected = world.build(tmp_path / "expected", served=served, until_ms=80, split=("0.7", "0.15", "0.15"), probe=True)
    assert built.manifest == expected.manifest
    assert built.manifest.rows == 7
    again = build_training_set(pipeline, tmp_path / "built", **request)  # type: ignore[arg-type]
    assert again.manifest == built.manifest


def test_an_archive_without_labels_is_refused(tmp_path: Path, world: World, pipeline: str) -> None:
    backfill = world.backfill(tmp_path / "backfill")
    with pytest.raises(PenstockError, match=r"no topic labels\.taps"):
        build_training_set(pipeline, tmp_path / "set", archive=str(tmp_path), backfill=backfill, from_ms=0, to_ms=TO_MS)
    assert not (tmp_path / "set").exists()
