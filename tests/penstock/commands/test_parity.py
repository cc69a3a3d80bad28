"""What `penstock parity` prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backfill.parity.check import Parity
from penstock.commands import parity as module
from penstock.errors import PenstockError
from tests.backfill.parity.test_check import interleaved, payments
from tests.backfill.parity.worlds import World, predictions_of, run

RANGE = ("--from", "2026-03-01", "--to", "2026-03-02")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """What the command compares, whatever the pipeline."""
    world = run(interleaved(payments()), tmp_path)
    monkeypatch.setattr(module, "open_project", lambda _: world.project)

    def compare(*_: Any) -> Parity:
        return world.check()

    monkeypatch.setattr(module, "_compare", compare)
    return world


def parity(*arguments: str) -> Result:
    return CliRunner().invoke(module.parity, ["ads/pipeline.py", *arguments])


def test_explained_differences_are_a_success(world: World) -> None:
    shown = parity(*RANGE)
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[-1].endswith("explained, 0 unexplained")
    assert "interleaving: risk@1" in shown.output


def test_an_unexplained_difference_exits_with_3_and_names_the_places(world: World) -> None:
    world.feature("e20")["spend"]["amount_sum_10m"] += 1
    world.predictions = predictions_of(world.project, world.features)
    shown = parity(*RANGE)
    assert shown.exit_code == 3
    assert "unexplained: spend@1 amount_sum_10m of c" in shown.output
    assert "at event events.parity[" in shown.output


def test_json_is_one_object_and_html_a_file(world: World, tmp_path: Path) -> None:
    file = tmp_path / "parity.html"
    shown = parity(*RANGE, "--json", "--html", str(file))
    assert json.loads(shown.output)["pipeline"] == "parity"
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_comparison_of_nothing_is_an_error(world: World) -> None:
    world.features, world.predictions, world.raw = [], [], {}
    shown = parity(*RANGE)
    assert isinstance(shown.exception, PenstockError)
    assert "nothing could be compared" in str(shown.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--from and --to, or --last, or --backfill"),
        (("--from", "2026-03-01"), "together"),
        ((*RANGE, "--last", "1h"), "either"),
        ((*RANGE, "--every", "15m"), "--every needs --last"),
        (("--last", "1h", "--every", "15m", "--json"), "leave --json and --html out"),
        (("--last", "soon"), "soon"),
        (("--last", "1h", "--sample", "1/x"), "such as 1/64"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: tuple[str, ...], message: str) -> None:
    shown = parity(*arguments)
    assert shown.exit_code == 2
    assert message in shown.output
