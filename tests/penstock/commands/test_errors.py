"""Errors name the pipeline as the user typed it, whatever code raised them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.errors import PenstockError, naming
from penstock.paths import ROOT


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*words, name))


ALL = dict(commands(cli))


def test_the_word_in_the_next_step_becomes_the_reference_quoted_for_a_shell() -> None:
    next_step = "penstock model train PIPELINE, then penstock model load PIPELINE (PENSTOCK_PIPELINES)"
    with pytest.raises(PenstockError) as error, naming("my ads/pipeline.py"):
        raise PenstockError("no model", next=next_step)
    named = "'my ads/pipeline.py'"
    assert error.value.next == f"penstock model train {named}, then penstock model load {named} (PENSTOCK_PIPELINES)"


def test_an_error_without_a_next_step_stays_as_it_is() -> None:
    with pytest.raises(PenstockError) as error, naming("ads"):
        raise PenstockError("PIPELINE")
    assert (error.value.what, error.value.next) == ("PIPELINE", None)


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("penstock model train PIPELINE --backfill FOLDER", "penstock model train ads:strong --backfill FOLDER"),
        ("penstock backfill run PIPELINE --out FOLDER", "penstock backfill run ads --out FOLDER"),
        ("penstock schemas export ads:strong", "penstock schemas export ads"),
        ("penstock model band PIPELINE --backfill FOLDER", "penstock model band ads --backfill FOLDER"),
        (
            "penstock model check PIPELINE; or penstock topics show PIPELINE, then penstock model load PIPELINE",
            "penstock model check ads:strong; or penstock topics show ads, then penstock model load ads:strong",
        ),
        ("leave :strong out", "leave :strong out"),
    ],
)
def test_only_a_command_that_takes_the_strong_model_is_suggested_with_it(said: str, typed: str) -> None:
    with pytest.raises(PenstockError) as error, naming("ads:strong"):
        raise PenstockError("no", next=said)
    assert error.value.next == typed


def test_the_strong_model_is_cut_off_a_reference_that_needs_quotes() -> None:
    with pytest.raises(PenstockError) as error, naming("my ads/pipeline.py:strong"):
        raise PenstockError("no", next="penstock job start PIPELINE --empty")
    assert error.value.next == "penstock job start 'my ads/pipeline.py' --empty"


@pytest.mark.parametrize(
    "words", [name for name, found in ALL.items() if any(p.name == "pipeline" and p.required for p in found.params)]
)
def test_every_command_on_a_pipeline_names_it_in_its_errors(words: str) -> None:
    assert hasattr(ALL[words].callback, "__wrapped__"), "declare the argument with pipeline_argument"


@pytest.mark.parametrize(
    "words",
    [name for name, found in ALL.items() if {p.name for p in found.params} & {"pipeline", "pipelines", "reference"}],
)
def test_the_strong_model_is_refused_by_all_commands_that_are_not_suggested_with_it(words: str) -> None:
    given = {p.name: False if isinstance(p, click.Option) and p.is_flag else None for p in ALL[words].params}
    given |= {name: "ads:strong" for name in ("pipeline", "reference") if name in given}
    given |= {"pipelines": ("fraud", "ads:strong")} if "pipelines" in given else {}
    with pytest.raises(PenstockError) as suggestion, naming("ads:strong"):
        raise PenstockError("no", next=f"penstock {words} PIPELINE")
    with pytest.raises(PenstockError) as error:
        ALL[words].callback(**given)  # type: ignore[misc]
    refused = ":strong names the strong model, for commands of `penstock model` other than band and regret"
    assert (error.value.what == refused) is not ("ads:strong" in str(suggestion.value.next))
    if error.value.what == refused:
        assert (error.value.where, error.value.next) == ("ads:strong", "type ads")


def test_the_help_of_the_commands_for_models_says_how_to_name_the_strong_one() -> None:
    assert "PIPELINE:strong the strong one" in " ".join(CliRunner().invoke(cli, ["model", "--help"]).output.split())


def test_without_a_model_the_next_command_is_the_one_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline is named by a path, which no name of a pipeline would find."""
    shutil.copytree(ROOT / "examples" / "fraud", tmp_path / "ads")
    monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(tmp_path / "models"))
    reference = str(tmp_path / "ads" / "pipeline.py")
    error = CliRunner().invoke(cli, ["model", "list", reference]).exception
    assert isinstance(error, PenstockError)
    assert error.next == f"penstock model train {reference} --backfill FOLDER"
