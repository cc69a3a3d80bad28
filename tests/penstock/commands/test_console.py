"""In a pipe, tables have every name whole; on a terminal, they are as wide as that."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.table import Table

from penstock.cli import cli
from penstock.commands.console import console_on
from penstock.paths import ROOT

NAME = "a_name_" * 40


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO) -> str:
    table = Table(box=None)
    for title in ("name", "type"):
        table.add_column(title, no_wrap=True)
    table.add_row(NAME, "long")
    console_on(stream).print(table)
    return stream.getvalue()


def test_a_pipe_gets_whole_names_one_row_a_line() -> None:
    header, row = printed(io.StringIO()).splitlines()
    assert header.split() == ["name", "type"]
    assert row.split() == [NAME, "long"]


def test_no_line_in_a_pipe_ends_with_spaces() -> None:
    stream = io.StringIO()
    table = Table("part", "why", box=None)
    table.add_row("scorer", NAME)
    table.add_row("drift", "")
    console_on(stream).print(table)
    lines = stream.getvalue().splitlines()
    assert [len(line) for line in lines] == [len(line.rstrip()) for line in lines]
    assert len(lines) == 3


def test_a_terminal_gets_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert "_name" in printed(Terminal())
    assert NAME not in printed(Terminal())


def test_describe_cuts_no_name_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    for pipeline in ("fraud", "flights"):
        shown = CliRunner().invoke(cli, ["features", "describe", pipeline])
        assert shown.exit_code == 0, shown.output
        assert "…" not in shown.output
        assert f"features_{pipeline}_" in shown.output


@pytest.mark.parametrize("file", sorted((ROOT / "penstock" / "commands").rglob("*.py")), ids=lambda file: file.stem)
def test_no_command_makes_a_console_of_its_own_for_tables(file: Path) -> None:
    if file.name in (
        "console.py",
        "backfill.py",
        "backfill_live.py",
        "rebuilding.py",
    ):  # a progress bar is for terminals
        return
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Console"]
