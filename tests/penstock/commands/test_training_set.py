"""`penstock training-set build` on the command line: what it prints, refuses, and exits with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backfill import topic_reading
from penstock.cli import cli
from penstock.commands import training_set as commands
from penstock.offline import training_set
from tests.archives import archive_records
from tests.backfill.training_sets.worlds import OPINIONS, Event, Label, World

WORLD = World(
    [Event(f"e{n}", n, n, card=f"c{n % 3}", timestamp=n, scored_at=n) for n in range(100)],
    [Label(f"e{n}", n, n % 2 == 0) for n in range(100)],
    {"horizon": 10, "absent": "negative"},
)
RANGE = ("--from", "1970-01-01T00:00:00", "--to", "1970-01-01T00:00:01")
Build = Callable[..., Result]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Runs the command on the world's records, in the place of Kafka's, into the folder ``set``."""

    def run(*options: str, world: World = WORLD) -> Result:
        monkeypatch.setattr(commands, "open_project", lambda _: world.project())
        monkeypatch.setattr(topic_reading, "read_topic", lambda _, topic, **__: world.records(topic))
        return CliRunner().invoke(
            cli, ["training-set", "build", "taps", *RANGE, "--out", str(tmp_path / "set"), *options]
        )

    return run


def test_a_set_of_the_log_is_told_in_words(build: Build) -> None:
    done = build()
    assert done.exit_code == 0, done.output
    assert "90 rows (63 train, 13 validation, 14 test) written to" in done.output
    assert "left out      10 events immature" in done.output


def test_the_json_is_the_manifest_of_the_folder(build: Build, tmp_path: Path) -> None:
    done = build("--json", "--no-probe")
    *_, printed = done.output.splitlines()
    assert json.loads(printed) == json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert training_set(tmp_path / "set").manifest.rows == 90


def test_the_same_command_again_has_nothing_to_do(build: Build) -> None:
    assert [build().exit_code for _ in range(2)] == [0, 99]


def test_a_range_that_ends_in_the_future_is_warned_of(build: Build) -> None:
    assert "the range ends in the future" in build("--no-probe", "--to", "2990-01-01T00:00:00").output


def test_a_set_that_saw_its_future_exits_with_3(build: Build, tmp_path: Path) -> None:
    done = build(world=World([Event("e", 5, 500, scored_at=5)], [Label("e", 600, True)]))
    assert done.exit_code == 3
    assert "e of 1970-01-01T00:00:00.005Z is as of 1970-01-01T00:00:00.500Z" in done.output
    assert training_set(tmp_path / "set").manifest.leak_check.verdict == "failed"


def test_a_set_of_an_archive_is_that_of_kafka(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opinions = [Label(f"e{n}", n, True, source=1) for n in (1, 5, 98)]
    world = World(WORLD.events, [*WORLD.labels[6:], *opinions], WORLD.declared | {"otherwise": (OPINIONS,)})
    done = build("--no-probe", world=world)
    assert "labels        94 of labels.taps, which 84 rows have" in done.output
    assert "labels        3 of labels.opinions, which 2 rows have" in done.output
    of_kafka = (tmp_path / "set" / "manifest.json").read_bytes()
    shutil.rmtree(tmp_path / "set")
    records = {topic: list(world.records(topic)) for topic in ("labels.taps", "labels.opinions", "predictions.taps")}
    archive = archive_records(tmp_path / "archive", world.project(), records)
    monkeypatch.setattr(topic_reading.KafkaTopics, "names", lambda _: set())
    assert build("--no-probe", "--source", archive, world=world).exit_code == 0
    assert (tmp_path / "set" / "manifest.json").read_bytes() == of_kafka


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--features", "recomputed"), "--features recomputed needs --backfill FOLDER"),
        (("--split", "0.7,0.3"), "is not three shares that sum to 1"),
        (("--split", "0.7,0.2,0.2"), "is not three shares that sum to 1"),
        (("--split", "0.7,0.2,x"), "is not three shares that sum to 1"),
        (("--memory-limit", "much"), "is no amount of memory"),
        (("--to", "1970-01-01"), "--from is not before --to"),
    ],
)
def test_wrong_usage_is_refused(build: Build, options: tuple[str, ...], says: str) -> None:
    done = build(*options)
    assert done.exit_code == 2
    assert says in done.output


def test_readers_of_the_folder_agree(build: Build, tmp_path: Path) -> None:
    build("--no-probe")
    found = training_set(tmp_path / "set")
    frame: Any = found.pandas(["event_id", "label"], split="test")
    assert list(frame.columns) == ["event_id", "label"]
    assert len(frame) == 14
    sum_of = found.duckdb().aggregate("sum(label)").fetchone()
    vectors, labels = found.arrays()
    assert sum_of == (labels.sum(),)
    assert vectors.shape == (90, 3)
