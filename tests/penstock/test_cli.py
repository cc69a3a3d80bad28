"""The command line: help in sections without slow imports, errors without a traceback."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from penstock import cli as module
from penstock.errors import PenstockError


def test_help_lists_the_stack_commands_with_their_summaries() -> None:
    output = CliRunner().invoke(module.cli, ["--help"]).output
    for name in ("up", "down", "status", "logs"):
        assert f"\n  {name} " in output
    assert "Local stack:" in output


def test_every_command_loads_and_has_help() -> None:
    context = click.Context(module.cli)
    for name in module.cli.list_commands(context):
        command = module.cli.get_command(context, name)
        assert command is not None
        assert command.help, name


def test_help_imports_no_client_library() -> None:
    check = (
        "import sys; from click.testing import CliRunner; from penstock.cli import cli;"
        "CliRunner().invoke(cli, ['--help']);"
        "print([m for m in ('cassandra', 'tritonclient', 'confluent_kafka', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_penstock_error_is_printed_with_its_next_step_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise PenstockError("the model is not loaded", where="127.0.0.1:18001", safe="offsets", next="penstock up")

    monkeypatch.setattr(module, "cli", fail)
    with pytest.raises(SystemExit) as exit_:
        module.main()
    assert exit_.value.code == 1
    message = capsys.readouterr().err
    assert message.splitlines() == [
        "error: the model is not loaded",
        "  where: 127.0.0.1:18001",
        "  safe:  offsets",
        "  next:  penstock up",
    ]
