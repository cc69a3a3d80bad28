"""`penstock model train` leaves a line in the registry whatever comes of it, and `model trainings` shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from backfill.parquet import read_backfill
from penstock.cli import cli
from penstock.commands.model import making
from penstock.errors import PenstockError
from scoring.trained_model import OnnxModel
from scoring.training_set import Counts, TrainingSet, view_versions
from streams.plan.project import open_project
from tests.scoring.scorer_bench import define, onnx_bytes

N = 400


def good(_table: pa.Table, _seed: int) -> OnnxModel:
    return OnnxModel(onnx_bytes())


def bad(table: pa.Table, _seed: int) -> OnnxModel:
    raise ValueError(f"cannot convert {table['event_id'][0]}")


class World:
    """A pipeline, whose training set is made up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(folder / "models"))
        self.file, pipeline = define(folder, "trainings", partitions=1)
        self.folder, inputs = folder, pipeline.model.inputs
        rng = np.random.default_rng(1)
        matrix = rng.random((N, len(inputs))).astype(np.float32)
        truth = (matrix[:, 0] + rng.normal(0, 0.2, N) > 0.5).astype(np.int8)
        ids, times = tuple(f"person-{number}" for number in range(N)), np.arange(N, dtype=np.int64) * 60_000
        views = view_versions(open_project(self.file).plan, inputs)
        data = TrainingSet(inputs, ids, times, times * 0, matrix, truth, views, None, Counts(), "00ff")
        monkeypatch.setattr(making, "read_backfill", lambda _: None)
        monkeypatch.setattr(making, "read_training_set", lambda *_, **__: self.data)
        self.data = data

    def train(self, function: str, *options: str) -> Result:
        trainer = ("--with", f"tests.penstock.commands.test_model_trainings:{function}")
        return self.run("train", "--backfill", str(self.folder), *trainer, *options)

    def run(self, command: str, *options: str) -> Result:
        return CliRunner().invoke(cli, ["model", command, self.file, *options])

    def trainings(self) -> Any:
        return json.loads(self.run("trainings", "--json").output)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_training_that_made_a_version_names_it_and_what_went_into_it(world: World) -> None:
    done = world.train("good", "--seed", "7", "--until", "2026-03-01", "--author", "ada", "--incident", "[drift] 9")
    assert done.exit_code == 0, done.output
    (one,) = world.trainings()
    manifest = json.loads(world.run("show", "1", "--json").output)["manifest"]
    assert (one["outcome"], one["version"], one["error"]) == ("made a version", 1, None)
    assert (one["seed"], one["until_ms"], one["backfill"]) == (7, 1_772_323_200_000, str(world.folder))
    assert (one["validation"], one["data_hash"]) == (manifest["validation"], manifest["data_hash"])
    for field in ("author", "incident", "penstock", "environment"):
        assert one["provenance"][field] == manifest["provenance"][field]
    shown = world.run("trainings").output
    assert "version 1" in shown
    assert "AUC 0." in shown
    assert "answers [drift] 9" in shown


def test_a_training_whose_function_failed_is_kept_without_the_values_in_its_error(world: World) -> None:
    failed = world.train("bad")
    assert isinstance(failed.exception, PenstockError)
    assert "person-0" in failed.exception.what
    (one,) = world.trainings()
    assert (one["outcome"], one["version"]) == ("failed", None)
    assert (one["error"], one["data_hash"]) == ("the training function failed: ValueError", "00ff")
    assert "failed: the training function failed: ValueError" in world.run("trainings").output
    assert "person-0" not in world.run("trainings", "--json").output


def test_a_training_without_labels_is_kept_and_the_newest_comes_first(world: World) -> None:
    whole = world.data
    world.data = whole.rows(np.zeros(N, bool))
    assert world.train("good").exit_code == 1
    world.data = replace(whole, data_hash="other")
    assert world.train("good").exit_code == 0
    assert [(one["error"], one["version"]) for one in world.trainings()] == [
        (None, 1),
        ("no event has a label yet", None),
    ]


def test_a_model_that_was_never_trained_has_no_trainings(world: World) -> None:
    assert "no training of taps_trainings is recorded" in world.run("trainings").output
    assert world.trainings() == []


def test_a_folder_without_a_backfill_is_refused_before_any_server_is_asked(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("registry_schemas", "topics_of"):
        monkeypatch.setattr(making, name, None)
    monkeypatch.setattr(making, "read_backfill", read_backfill)
    assert "the folder has no backfill" in str(world.train("good").exception)
