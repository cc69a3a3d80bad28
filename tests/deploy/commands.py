"""Checks command lines of deployment files with the real command line, without running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from penstock.cli import cli
from penstock.settings import all_settings

# Commands that need the image of jobs: that of services lacks Flink's client.
JOBS_COMMANDS = {"topics", "job", "backfill"}
# Read by the command line itself, beside the settings.
_OPTIONS = {
    "PENSTOCK_METRICS_PORT",
    "PENSTOCK_CONFIG_FILE",
    "PENSTOCK_PIPELINES",
    "PENSTOCK_CASSANDRA_REPLICATION",
    "PENSTOCK_SCORER_INSTANCE",
}
_NAMES = {setting.variable for setting in all_settings().values()}
_SECRETS = {setting.variable for setting in all_settings().values() if setting.is_secret}


def parse(arguments: Sequence[str]) -> str:
    """Parse ``penstock ARGUMENTS`` down to the last option; returns the command's name, such as ``sink run redis``.

    Raises:
        click.ClickException: there is no such command, option or value.
    """
    command: click.Command = cli
    context, rest, names = None, list(arguments), []
    while True:
        context = command.make_context(command.name or "penstock", rest, parent=context)
        if not isinstance(command, click.Group):
            return " ".join(names)
        name, found, rest = command.resolve_command(context, [*context.protected_args, *context.args])
        assert found is not None
        names.append(name or "")
        command = found


def unknown(environment: Mapping[str, object]) -> set[str]:
    """The PENSTOCK_* variables that no code reads."""
    return {name for name in environment if name.startswith("PENSTOCK_")} - _NAMES - _OPTIONS


def secrets_in(environment: Mapping[str, object]) -> set[str]:
    """The variables that contain a secret, instead of the name of its file."""
    return _SECRETS & set(environment)
