"""The command lines on the pages are ones that the real programs take. Nothing is run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from deploy.local.paths import ROOT
from penstock.cli import cli
from tests.deploy.commands import parse
from tests.docs.pages import PAGES, Snippet, blocks, page, spans
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
_TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
_LANGUAGES = {"python", "bash", "json", "toml", "yaml", "text"}


def _shell(of: Path) -> Iterator[Command]:
    for block in blocks(of, "bash"):
        yield from commands(block)


_ALL = [command for of in PAGES for command in _shell(of)]
_PENSTOCK = [(command, words) for command in _ALL if (words := penstock_arguments(command)) is not None]


@pytest.mark.parametrize("of", PAGES, ids=lambda of: str(of.relative_to(ROOT)))
def test_every_code_block_names_its_language(of: Path) -> None:
    assert [block.place for block in blocks(of) if block.language not in _LANGUAGES] == []


def test_there_are_commands_to_check() -> None:
    assert len(_PENSTOCK) > 20


@pytest.mark.parametrize(
    ("command", "arguments"), _PENSTOCK, ids=lambda given: given.place if isinstance(given, Command) else ""
)
def test_the_command_line_takes_every_penstock_command(command: Command, arguments: tuple[str, ...]) -> None:
    words = [_PLACEHOLDERS.get(word, word) for word in arguments]
    try:
        parse(words)
    except click.BadParameter as error:
        # A file that the reader is to make; that paths of the repository exist is another test.
        assert error.param is not None, (command, error)
        assert isinstance(error.param.type, click.Path), (command, error.format_message())
    except click.exceptions.Exit:
        pass  # --help


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


def test_every_python_program_in_a_command_compiles() -> None:
    for command in _ALL:
        if "python" in command.words[0] and "-c" in command.words:
            compile(command.words[command.words.index("-c") + 1], command.place, "exec")


def test_the_reference_lists_every_command_with_all_of_its_options() -> None:
    text = page("reference/command-line.md").read_text(encoding="utf-8")
    rows = {tuple(row[1].split()): row[0] for row in re.finditer(r"^\| `penstock ([a-z -]+?)(?: [A-Z\[].*?)?` \|.*$", text, re.M)}
    for names, command in _leaves(cli, ()):
        assert names in rows, f"docs/reference/command-line.md lacks penstock {' '.join(names)}"
        for option in (p for p in command.params if isinstance(p, click.Option)):
            if "--help" not in option.opts:
                assert f"`{option.opts[0]}" in rows[names], f"{' '.join(names)}: {option.opts[0]}"


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


_PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)+/?")
_TOP = {entry.name for entry in ROOT.iterdir() if entry.is_dir()} - {"build", ".venv", ".git"}


def _repository_path(word: str) -> bool:
    return bool(_PATH.fullmatch(word)) and word.partition("/")[0] in _TOP


def test_every_path_of_the_repository_that_a_page_names_exists() -> None:
    named = [(c.place, word) for c in _ALL for word in c.words if _repository_path(word)]
    named += [(s.place, s.text) for of in PAGES for s in spans(of) if _repository_path(s.text)]
    assert named
    missing = [(place, path) for place, path in named if not any(ROOT.glob(path.rstrip("/")))]
    assert missing == []


def test_data_blocks_are_well_formed() -> None:
    for of in PAGES:
        for block in blocks(of):
            _load(block)


def _load(block: Snippet) -> None:
    import json
    import tomllib

    import yaml

    loaders = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
    if block.language in loaders:
        loaders[block.language](block.text)
