"""The command line: finds commands, which live with what they command, and imports one when it is used."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import click

from penstock.errors import PenstockError


@dataclass(frozen=True)
class _Entry:
    """A command that is imported when it is used."""

    target: str
    section: str
    summary: str

    def load(self) -> click.Command:
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is not a click command")
        return command


_STACK, _PIPELINE, _CHECK = "Local stack", "Run a pipeline", "Look and verify"

_COMMANDS = {
    "demo": _Entry("examples.cli:demo", _STACK, "Run both example pipelines on a local stack and verify them."),
    "up": _Entry("deploy.local.cli:up", _STACK, "Start the local stack and wait until it is well."),
    "down": _Entry("deploy.local.cli:down", _STACK, "Stop the local stack; data stays unless --wipe."),
    "status": _Entry("deploy.local.cli:status", _STACK, "Show every part's state, pid, ports and health."),
    "logs": _Entry("deploy.local.cli:logs", _STACK, "Print the log of one part."),
    "topics": _Entry("streams.topics_cli:topics", _PIPELINE, "Create a pipeline's topics, or show them."),
    "job": _Entry("streams.cli:job", _PIPELINE, "Start, stop (with savepoint) or show a feature job."),
    "sink": _Entry("sinks.cli:sink", _PIPELINE, "Carry features and predictions to Redis and Cassandra."),
    "scorer": _Entry("scoring.cli:scorer", _PIPELINE, "Score features through Triton, exactly once."),
    "drift": _Entry("streams.drift.cli:drift", _PIPELINE, "Watch features and scores for drift."),
    "model": _Entry("scoring.model_cli:model", _PIPELINE, "Train, load and show a pipeline's model."),
    "backfill": _Entry("backfill.run_cli:backfill", _PIPELINE, "Replay history into Parquet, as it was served."),
    "schemas": _Entry("schemas.cli:schemas", _CHECK, "Export contracts and check their compatibility."),
    "features": _Entry("sinks.features_cli:features", _CHECK, "Describe, test and explain features."),
    "verify": _Entry("backfill.cli:verify", _CHECK, "Check a run against the naive oracle, end to end."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use, listed in sections."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Imports a command."""
        entry = _COMMANDS.get(cmd_name)
        return entry.load() if entry is not None else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section per purpose, without importing any command."""
        names = self.list_commands(ctx)
        for section in (_STACK, _PIPELINE, _CHECK):
            rows = [(name, _COMMANDS[name].summary) for name in names if _COMMANDS[name].section == section]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


# The line with \b keeps click from filling the lines that follow it.
_HELP = """Penstock: streaming features and exactly-once inference.

Raw events on Kafka become windowed features in Flink, are served from Redis, kept in Cassandra, scored by Triton and
published as predictions.

\b
First steps:
  make demo           see all of it run
  penstock up         start the local stack
  penstock status     see that it is well
"""


@click.group(
    cls=LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="penstock")
def cli() -> None:
    """Penstock's command line."""


def main() -> None:
    """Runs the command line; an error that a person can act upon is printed without a traceback."""
    try:
        cli(prog_name="penstock")
    except PenstockError as error:
        _print(error)
        sys.exit(1)


def _print(error: PenstockError) -> None:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(error.what, err=True)
    for label, text in (("where", error.where), ("safe", error.safe), ("next", error.next)):
        if text:
            click.secho(f"  {label + ':':<7}", dim=True, nl=False, err=True)
            click.echo(text, err=True)
