"""What the commands for models say of a cascade."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backfill import band_choice, judging
from backfill.band_choice import Choice
from penstock.cli import cli
from penstock.commands.model import cascade, promotion, serving
from scoring.bands import keep_band, read_bands
from scoring.cascade import Band, CertifiedBand
from scoring.gates.report import Basis, Report
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.version_files import identity
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes
from tests.scoring.test_bands import CHOSEN


class World:
    """A pipeline with a cascade, whose models have two versions each; the first ones are current."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.pipeline = define(folder, "cascade", 1, 'strong="big"')
        self.repository = ModelRepository(folder / "models")
        for name in (*self.pipeline.model.names,) * 2:
            self.repository.add(name, TrainedModel(onnx_bytes(), None, manifest_of(self.pipeline)))
        monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(self.repository.root))
        monkeypatch.setattr(cascade, "read_backfill", lambda _: None)
        for module in (promotion, serving):
            monkeypatch.setattr(module, "open_server", lambda *_: FakeServer())

    def choose(self, fast: int, strong: int) -> None:
        """Keep a band for these versions."""
        band = CHOSEN.model_copy(update={"fast": fast, "strong_version": strong})
        keep_band(self.repository, self.pipeline.model.name, band)

    def run(self, command: str, *arguments: str, strong: bool = False) -> Result:
        reference = f"{self.file}:strong" if strong else self.file
        done = CliRunner().invoke(cli, ["model", command, reference, *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_band_on_events_that_a_model_may_have_seen_is_kept_with_a_warning(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    certified = CertifiedBand(Band(0.2, 0.7), events=9_000, strong=900, differing=1, bound=0.0009, alpha=0.05)
    choice = Choice(CHOSEN, certified, 18_000, 0.001, 0.01, unknown=() if is_known else (("big", 3),))
    monkeypatch.setattr(band_choice, "choose", lambda *_: choice)
    done = world.run("band", "--backfill", str(tmp_path))
    assert read_bands(world.repository, world.pipeline.model.name) == [CHOSEN]
    assert ("it is not known which events big version 3 was trained on" in done.output) is not is_known
    assert (f"next:  penstock model import {world.file}:strong --onnx FILE" in done.output) is not is_known


@pytest.mark.parametrize(("strong", "pair"), [(False, "2 and big version 1"), (True, "1 and big version 2")])
def test_a_version_that_is_loaded_without_a_band_is_served_with_a_warning(
    world: World, *, strong: bool, pair: str
) -> None:
    name = world.pipeline.model.name
    world.choose(1, 1)
    done = world.run("load", "--version", "2", strong=strong)
    assert done.exit_code == 0
    assert world.repository.current("big" if strong else name) == 2
    assert f"warning: no band was chosen for {name} version {pair}: no scorer starts with them" in done.output
    assert done.output.splitlines()[-1] == f"  next:  penstock model band {world.file} --backfill FOLDER"


def test_a_version_with_a_band_is_loaded_without_a_warning(world: World) -> None:
    world.choose(2, 1)
    assert "warning" not in world.run("load", "--version", "2").output


def test_the_first_model_of_a_cascade_is_loaded_without_a_warning(world: World) -> None:
    shutil.rmtree(world.repository.root / "big")
    assert "warning" not in world.run("load").output


def test_a_version_that_is_promoted_without_a_band_is_served_with_a_warning(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = identity(world.repository.folder("big", 2))
    report = Report("big", 2, 1, 9, [], basis=Basis(own, None, "l", "b", "h", 0.5, 0, "1"))
    monkeypatch.setattr(judging, "check_version", lambda *_: report)
    monkeypatch.setattr(promotion, "read_backfill", lambda _: None)
    done = world.run("promote", "2", "--backfill", str(tmp_path), "--override", "in a hurry", strong=True)
    assert done.exit_code == 0
    assert "no band was chosen for" in done.output
