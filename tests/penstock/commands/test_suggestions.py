"""The commands that errors and results suggest are ones that the command line takes, with all that it requires."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import click
import pytest

from penstock.cli import cli
from penstock.paths import ROOT
from tests.deploy.commands import parse

_FOLDERS = ("penstock", "schemas", "streams", "scoring", "sinks", "backfill", "verify", "deploy", "examples")
# What stands in a suggestion for a value of the user's own, in the text or in the code. Of others: a pipeline.
_VALUES = {
    "FOLDER": "docs",
    "PATH": "docs",
    "TIME": "2026-01-01",
    "VERSION": "1",
    "N": "1",
    "iso(replay.from_ms)": "2026-01-01",
    "iso(replay.to_ms)": "2026-02-01",
    "times": "--from 2026-01-01 --to 2026-02-01",
    "iso(manifest.from_ms)": "2026-01-01",
    "iso(manifest.to_ms)": "2026-02-01",
    "views": "--view card_spend",
    "source": "--empty",
    "options": "",
    "files": "--backfill docs",
    "options.arguments()": "",
    "option": "history",
    "days": "9",
    "store": "redis",
    "store.name": "redis",
    "name.lower()": "redis",
    "max(1, model.max_batch_size)": "8",
    "self.epochs": "2",
    "version": "1",
    "report.version": "1",
    "request.version": "1",
    "URL": "http://127.0.0.1:5000",
}
_END = re.compile(r"[;:,.`'\")]+$")


def suggestions() -> Iterator[tuple[str, str]]:
    """Each place in the code with a command, and the text from the command on.

    Between backticks a text names a command, and suggests none.
    """
    for folder in _FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "orchestration" in file.parts:  # templates, which have a test of their own
                continue
            for line, text in _texts(ast.parse(file.read_text(encoding="utf-8"))):
                for found in re.finditer(r"(?<![\w/.`-])penstock (?=[a-z])", text):
                    yield f"{file.relative_to(ROOT)}:{line}", text[found.end() :]


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module with a value for each of their fields, without docstrings."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(_part, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inner | statements):
            yield node.lineno, node.value


def _part(node: ast.expr) -> str:
    if isinstance(node, ast.FormattedValue):
        return _VALUES.get(ast.unparse(node.value), "fraud")
    return str(node.value) if isinstance(node, ast.Constant) else ""


def arguments(text: str) -> list[str] | None:
    """The words of the command at the beginning of a text; None if it is none, but prose about Penstock."""
    command: click.Command = cli
    words: list[str] = []
    wanted = 0  # values of the last option, then of the command's arguments
    for word in re.sub(r"\{(\w+)\}", lambda field: _VALUES[field[1]], text).split():
        bare = _END.sub("", word)
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), bare)
            if found is None:
                return words or None
            command = found
            wanted = sum(isinstance(each, click.Argument) and each.required for each in found.params)
        elif bare.startswith("-"):
            option = next((each for each in command.params if bare in each.opts), None)
            wanted += isinstance(option, click.Option) and not option.is_flag
        elif wanted:
            wanted -= 1
        else:
            break
        words.append(_VALUES.get(bare, "fraud" if bare == "PIPELINE" else bare))
        if bare != word:
            break
    return words


_FOUND = [(place, words) for place, text in suggestions() if (words := arguments(text)) is not None]


def test_there_are_suggestions_to_check() -> None:
    assert len(_FOUND) > 60


@pytest.mark.parametrize(("place", "words"), [pytest.param(*found, id=found[0]) for found in _FOUND])
def test_a_suggested_command_is_one_that_runs_as_typed(place: str, words: list[str]) -> None:
    try:
        parse(words)
    except click.BadParameter as error:
        is_path = error.param is not None and isinstance(error.param.type, click.Path)
        if isinstance(error, click.MissingParameter) or not is_path:
            pytest.fail(f"{place}: penstock {' '.join(words)}: {error.format_message()}")
    except click.ClickException as error:
        pytest.fail(f"{place}: penstock {' '.join(words)}: {error.format_message()}")


def test_a_suggestion_without_a_required_option_is_found() -> None:
    words = arguments("training-set build PIPELINE --out FOLDER")
    assert words == ["training-set", "build", "fraud", "--out", "docs"]
    with pytest.raises(click.MissingParameter):
        parse(words)
