"""The command lines on the pages are ones that the real programs take. Nothing is run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

import click
import pytest

from penstock.cli import cli
from penstock.paths import ROOT
from tests.deploy.commands import parse
from tests.docs.pages import PAGES, blocks, page, spans
from tests.docs.shell import Command, commands, penstock_arguments

# What stands for a value of the reader's own.
_PLACEHOLDERS = {
    "PIPELINE": "fraud",
    "VIEW": "card_spend",
    "ENTITY": "e-1",
    "FOLDER": "docs",
    "NAME": "kafka",
    "T": "2026-01-01",
    "N": "1",
    "...": "fraud",
}
# A row of the command line's reference: the command, its arguments, its options.
_ROW = re.compile(r"^\| `penstock ([a-z -]+?)(?: [A-Z\[].*?)?` \|.*$", re.MULTILINE)
_TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
_ALL = [command for of in PAGES for block in blocks(of, "bash") for command in commands(block)]
_PENSTOCK = [(command, words) for command in _ALL if (words := penstock_arguments(command)) is not None]


def test_there_are_commands_to_check() -> None:
    assert len(_PENSTOCK) > 20


@pytest.mark.parametrize(
    ("command", "arguments"), _PENSTOCK, ids=lambda given: given.place if isinstance(given, Command) else ""
)
def test_the_command_line_takes_every_penstock_command(command: Command, arguments: tuple[str, ...]) -> None:
    assert _refusal([_PLACEHOLDERS.get(word, word) for word in arguments]) is None, command.place


def test_every_command_in_the_text_and_each_of_its_options_exist() -> None:
    wrong = [
        f"{span.place}: {span.text}"
        for of in PAGES
        for span in spans(of)
        if span.text.startswith("penstock ") and not _exists(span.text.split()[1:])
    ]
    assert wrong == []


def test_every_make_target_exists() -> None:
    named = [(c.place, word) for c in _ALL if c.words[0] == "make" for word in c.words[1:] if "=" not in word]
    named += [
        (s.place, word)
        for of in PAGES
        for s in spans(of)
        if s.text.startswith("make ")
        for word in s.text.split()[1:]
        if re.fullmatch(r"[a-z-]+", word)
    ]
    assert named
    assert [(place, target) for place, target in named if target not in _TARGETS] == []


def test_every_module_that_a_command_runs_exists() -> None:
    modules = [(c.place, c.words[c.words.index("-m") + 1]) for c in _ALL if "python" in c.words[0] and "-m" in c.words]
    assert [found for found in modules if found[1] != "pytest" and importlib.util.find_spec(found[1]) is None] == []


def test_the_reference_lists_every_command_with_all_of_its_options() -> None:
    text = page("reference/command-line.md").read_text(encoding="utf-8")
    rows = {tuple(row[1].split()): row[0] for row in _ROW.finditer(text)}
    for names, command in _leaves(cli, ()):
        assert names in rows, f"docs/reference/command-line.md lacks penstock {' '.join(names)}"
        for option in (p for p in command.params if isinstance(p, click.Option)):
            if "--help" not in option.opts:
                assert f"`{option.opts[0]}" in rows[names], f"{' '.join(names)}: {option.opts[0]}"


def _refusal(arguments: list[str]) -> str | None:
    """Why the command line does not take these arguments; a file that the reader is to make need not exist."""
    try:
        parse(arguments)
    except click.BadParameter as error:
        is_path = error.param is not None and isinstance(error.param.type, click.Path)
        return None if is_path else error.format_message()
    except click.ClickException as error:
        return error.format_message()
    return None


def _leaves(command: click.Command, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield names, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _leaves(found, (*names, name))


def _exists(words: list[str]) -> bool:
    """Whether there is such a command, up to its first argument, and it has each of the options."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return False
        command, words = found, words[1:]
    options = {opt for parameter in command.params for opt in (*parameter.opts, *parameter.secondary_opts)}
    options |= {"-h", "--help"}
    return all(word.partition("=")[0] in options for word in words if re.match(r"--?[a-z]", word))
